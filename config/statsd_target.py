"""Where ``statsd.to`` leads: parsed and nothing else, no name is looked up."""

from __future__ import annotations

import re
from typing import Final

from msgspec import Struct

_UDP: Final = "udp://"
_UNIX: Final = "unix:"
_HOST_PORT: Final = re.compile(r"(?:\[([0-9A-Fa-f:.%\w]+)\]|([^\s:/\[\]@?#]+)):([0-9]{1,5})")
_PATH_BYTES_MAX: Final = 107
TAG: Final = re.compile(r"[A-Za-z][\w./-]*(?::[^\s,|#]+)?", re.ASCII)
NAME: Final = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*")


class TargetError(ValueError):
    """It is none."""


class Target(Struct, frozen=True):
    """A host and port, or the path of a socket."""

    host: str = ""
    port: int = 0
    path: str = ""


def parse(text: str) -> Target:
    """Raises TargetError."""
    if text.startswith(_UNIX):
        path = text.removeprefix(_UNIX)
        path = "/" + path.lstrip("/") if path.startswith("/") else path
        if not path.startswith("/"):
            raise TargetError("the path of a socket begins with /")
        if len(path.encode()) > _PATH_BYTES_MAX:
            raise TargetError(f"a socket's path has {_PATH_BYTES_MAX} bytes at most")
        return Target(path=path)
    found = _HOST_PORT.fullmatch(text.removeprefix(_UDP)) if text.startswith(_UDP) else None
    if found is None or not 0 < int(found[3]) < 65_536:
        raise TargetError("expected udp://HOST:PORT or unix:PATH")
    host = found[1] or found[2]
    try:
        host.encode("idna")  # as it is before it is looked up
    except UnicodeError:
        raise TargetError(f"{host} cannot be the name of a host") from None
    return Target(host, int(found[3]))
