"""Who may do what. The address at which a request arrived decides, not the one that it comes from.

    what              on Unix sockets     on loopback                    elsewhere
    open              everybody           everybody                      everybody
    page              everybody           Host is an address here        everybody
    read              everybody           Host is an address here,       the token
                                          or the token
    change            the token           the token                      the token

Whoever can connect to a Unix socket or to the loopback is somebody on this machine. So is a browser, which
does for any page what that page says: one whose name was made to lead here (DNS rebinding) may read what
comes, unless its name is looked at. So Host has to be what no page of somebody else's can have. A page can't
know the token either; and what carries it must be JSON by its Content-Type, which no form can send.

What a proxy says (X-Forwarded-Host and others) is believed of nobody: the server that this runs on must not
let it change Host, or the address at which a request arrived.

``page`` is what a browser gets before it can send a token: it has nothing in it that a stranger may not know.
``open`` is for what asks from elsewhere and has no token: Kubernetes, Prometheus.
"""

from __future__ import annotations

from enum import Enum
from hmac import compare_digest
from ipaddress import IPv6Address, ip_address
from typing import Final

from gwctl.admin.http import JSON, RefusedError, Request

_CHALLENGE: Final = (("www-authenticate", 'Bearer realm="gwctl"'),)
_NO_TOKEN: Final = "no token is configured for the admin server"  # noqa: S105 - says that there is none


class Access(Enum):
    """What a route is, in the table above."""

    OPEN = "open"
    PAGE = "page"
    READ = "read"
    CHANGE = "change"


class Place(Enum):
    """Where a request arrived."""

    UNIX = "unix"
    LOOPBACK = "loopback"
    ELSEWHERE = "elsewhere"


class Guard:
    """Judges requests. ``token`` is empty where there is none."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()

    @property
    def has_token(self) -> bool:
        return bool(self._token)

    def accepts(self, request: Request) -> bool:
        """Tell whether the request has the token. How long that takes says nothing about it."""
        scheme, _, given = (request.field("authorization") or "").partition(" ")
        same = compare_digest(given.strip(" \t").encode("latin-1"), self._token)
        return same and self.has_token and scheme.lower() == "bearer"

    def check(self, request: Request, access: Access) -> None:
        """Raises RefusedError: The request may not do that."""
        if access is Access.OPEN:
            return
        place = place_of(request)
        if access is Access.CHANGE:
            self._check_change(request)
        elif place is Place.LOOPBACK:
            self._check_host(request)
        elif place is Place.ELSEWHERE and access is Access.READ:
            self._check_token(request)

    def _check_token(self, request: Request) -> None:
        if self.accepts(request):
            return
        if not self.has_token:
            raise RefusedError(403, "no_token", f"{_NO_TOKEN}: only whoever is on its machine may do this")
        raise RefusedError(401, "unauthorized", "Authorization: Bearer TOKEN is needed", _CHALLENGE)

    def _check_change(self, request: Request) -> None:
        if not self.has_token:
            raise RefusedError(403, "no_token", f"{_NO_TOKEN}: it changes nothing")
        self._check_token(request)
        media = (request.field("content-type") or "").partition(";")[0].strip().lower()
        if media != JSON:
            raise RefusedError(415, "not_json", f"Content-Type must be {JSON}")

    def _check_host(self, request: Request) -> None:
        host = request.field("host") or ""
        if not (_is_address(host) or self.accepts(request)):
            raise RefusedError(
                403,
                "host",
                f"Host must be an address or localhost here, not {host!r}: ask for http://127.0.0.1",
            )


def place_of(request: Request) -> Place:
    """Where the request arrived, as the server's own end of the connection says."""
    server = request.scope.get("server")
    if server is None:
        return Place.ELSEWHERE
    host, port = server
    if port is None:
        return Place.UNIX
    return Place.LOOPBACK if _is_loopback(host) else Place.ELSEWHERE


def client_of(request: Request) -> str:
    """Whom to share with fairly: an address; empty where all come from this machine."""
    client = request.scope.get("client")
    return client[0] if client and place_of(request) is Place.ELSEWHERE else ""


def _is_loopback(host: str) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return False  # a name is no place
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_loopback


def _is_address(host: str) -> bool:
    """Tell whether a Host is one that no name server had a say in."""
    name, _, port = host.rpartition(":") if not host.endswith("]") else (host, "", "")
    if not name:
        name, port = port, ""
    if port and not (port.isascii() and port.isdigit()):
        return False
    if name.lower() == "localhost":
        return True
    try:
        if name.startswith("[") and name.endswith("]"):
            return ip_address(name[1:-1]).version == 6
        return ip_address(name).version == 4
    except ValueError:
        return False
