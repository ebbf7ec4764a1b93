r"""JSON of what is said to others: always text, whatever the machine and the application call their things.

Names of files, arguments of programs and messages of exceptions need not be UTF-8: Python has them as
text with surrogates in it, which is no JSON. They are shown as the log shows them, as ``\udcff``.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

_encode: Final = msgspec.json.Encoder().encode


def encode(message: object) -> bytes:
    """One line of JSON, without its end."""
    try:
        return _encode(message)
    except UnicodeEncodeError:
        return _encode(_readable(msgspec.to_builtins(message)))


def readable(text: str) -> str:
    """``text`` as it is encoded."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _readable(value: Any) -> Any:
    match value:
        case str():
            return readable(value)
        case dict():
            return {_readable(key): _readable(each) for key, each in value.items()}
        case list() | tuple():
            return [_readable(each) for each in value]
    return value
