"""Whom to believe about a client: ``trusted_proxies``, and what: ``forwarded_headers``.

127.0.0.1, ::1      an address
10.0.0.0/8          a network
unix                whoever may connect to the pool's Unix sockets
*                   everybody: only where nobody but a proxy can reach the listeners

An IPv4 address written as IPv6 (``::ffff:10.0.0.1``) counts as the IPv4 address that it is.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Final

from gwctl.config.addresses import AddressError

FORWARDED: Final = "Forwarded"
FOR: Final = "X-Forwarded-For"
PROTO: Final = "X-Forwarded-Proto"
HOST: Final = "X-Forwarded-Host"
PORT: Final = "X-Forwarded-Port"
PREFIX: Final = "X-Forwarded-Prefix"
HEADERS: Final = (FORWARDED, FOR, PROTO, HOST, PORT, PREFIX)
"""What ``forwarded_headers`` may name, in whatever case."""

UNIX: Final = "unix"
EVERYBODY: Final = "*"

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Ip = ipaddress.IPv4Address | ipaddress.IPv6Address


class Trusted:
    """The peers that ``trusted_proxies`` names.

    Raises:
        AddressError: A text is none of the above.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self._everybody = False
        self._unix = False
        self._networks: list[Network] = []
        for text in texts:
            if text == EVERYBODY:
                self._everybody = self._unix = True
            elif text == UNIX:
                self._unix = True
            else:
                self._networks.append(_network(text))

    def __bool__(self) -> bool:
        """Tell whether there may be a peer that is trusted."""
        return self._unix or self._everybody or bool(self._networks)

    def peer(self, peer: object) -> bool:
        """Tell whether the peer of a connection is trusted: as ``accept()`` returned it, None if unknown."""
        if peer is None:
            return False
        if not isinstance(peer, tuple):
            return self._unix
        host = ip(peer[0].partition("%")[0])
        return host is not None and self.address(host)

    def address(self, address: Ip) -> bool:
        """Tell whether an address is trusted."""
        if self._everybody:
            return True
        return any(address.version == network.version and address in network for network in self._networks)


def ip(text: str) -> Ip | None:
    """Read an IP address; None if it is none."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _network(text: str) -> Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        pass
    try:
        wider = ipaddress.ip_network(text, strict=False)
    except ValueError:
        reason = f'expected an IP address, a network such as "10.0.0.0/8", "{UNIX}" or "{EVERYBODY}"'
        raise AddressError(reason, _hint(text)) from None
    raise AddressError("has bits beyond its prefix", f'Write "{wider}" or "{text.partition("/")[0]}"')


def _hint(text: str) -> str:
    if text.startswith(("unix:", "/")):
        return f'Write "{UNIX}": it is the permissions of the socket that say who may connect'
    if text == "localhost":
        return 'Write "127.0.0.1" and "::1"'
    host, colon, port = text.rpartition(":")
    if colon and port.isdecimal() and ip(host.strip("[]")) is not None:
        return f'Write "{host.strip("[]")}": a proxy may connect from any port'
    return ""
