"""The request head parser: the one module that knows the parsers' private names.

Two packages offer the same interface: `gunicorn_h1c.H1CProtocol` (C) and, behind
`gwctl.workers.http1.python_parser`, `gunicorn.asgi.parser.PythonProtocol`. Only the head is given to
them. They are told to skip the body, so that `remaining` returns what follows the head, and the
engine frames bodies itself (`gwctl.workers.http1.body_framing`): the C parser wraps chunk sizes at 2**64,
keeps chunk lines and trailers of any length, and moves its buffer once for each chunk. So both
parsers accept the same bodies too.

Use: `feed` until `is_complete`, read the attributes, `remaining` for the rest, `reset`.

Only the one that is used is imported, when the server is made: with gunicorn's comes half of
gunicorn.

``GWCTL_PARSER=c`` or ``python`` forces one, for tests and measurements.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final, Protocol

from gwctl.config.model.settings import Limits
from gwctl.workers.http1.bounds import SLICE_BYTES

ENVIRONMENT_NAME: Final = "GWCTL_PARSER"

# A built-in that takes nothing and returns True: "skip the body" without a Python frame.
_SKIP_BODY: Final = True.__bool__
_NO_LIMIT: Final = 1 << 30


class HeadParser(Protocol):
    """What the engine uses of either parser."""

    method: bytes
    path: bytes
    http_version: tuple[int, int]
    headers: list[tuple[bytes, bytes]]
    asgi_headers: list[tuple[bytes, bytes]]
    is_complete: bool
    should_keep_alive: bool

    def feed(self, data: bytes) -> None: ...
    def remaining(self) -> bytes: ...
    def reset(self) -> None: ...


def parser_name() -> str:
    """Return ``C`` or ``Python``: the parser that `parser_factory` uses in this process.

    Raises:
        ImportError: ``GWCTL_PARSER=c`` without gunicorn_h1c.
    """
    wanted = os.environ.get(ENVIRONMENT_NAME, "").lower()
    if wanted == "python":
        return "Python"
    try:
        import gunicorn_h1c  # noqa: F401, PLC0415 - see the module
    except ImportError:
        if wanted == "c":
            raise ImportError("GWCTL_PARSER=c needs gunicorn_h1c (pip install 'gwctl[fast]')") from None
        return "Python"
    return "C"


def slice_bytes(limits: Limits) -> int:
    """Return how much may be fed to a parser at once: a head that fits needs no look at its sizes."""
    return min(SLICE_BYTES, limits.request_line_bytes_max, limits.header_bytes_max, limits.head_bytes_max)


def parser_factory(limits: Limits) -> Callable[[], Any]:
    """Return a function that makes one `HeadParser`.

    Sizes are not the parsers' business (`gwctl.workers.http1.head_validator`): they count them differently.
    """
    options: dict[str, Any] = {
        "on_headers_complete": _SKIP_BODY,
        "limit_request_line": _NO_LIMIT,
        "limit_request_fields": limits.headers_max,
        "limit_request_field_size": _NO_LIMIT,
    }
    if parser_name() == "Python":
        from gunicorn.asgi.parser import PythonProtocol  # noqa: PLC0415

        from gwctl.workers.http1.python_parser import PythonParser  # noqa: PLC0415

        return lambda: PythonParser(lambda: PythonProtocol(**options), limits.headers_max)
    import gunicorn_h1c  # noqa: PLC0415

    # 0 keeps the whole tail; by default all but 64 KiB of pipelined input vanishes silently.
    options["limit_remaining"] = 0
    return lambda: gunicorn_h1c.H1CProtocol(**options)
