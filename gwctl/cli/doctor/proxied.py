"""A pool as a proxy in front of it sees it, and what its timeouts mean for both."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from gwctl.cli.doctor.finding import Finding, ok, warn
from gwctl.config import addresses
from gwctl.config.addresses import AddressError, TcpAddress, UnixAddress
from gwctl.config.model.request_limits import RequestLimits
from gwctl.config.model.settings import Settings
from gwctl.config.model.worker_class import chosen

_MARGIN_S = 5.0
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


class Proxied(msgspec.Struct, frozen=True):
    """One pool. ``request_s`` is for how long a request may take; 0: for ever."""

    name: str
    addresses: tuple[TcpAddress | UnixAddress, ...]
    keepalive_s: float
    request_s: float

    def is_at(self, text: str) -> bool:
        """``text``, as a proxy writes it, is an address of this pool."""
        try:
            other = addresses.parse(text if not text.startswith("/") else f"unix:{text}")
        except AddressError:
            return False
        if isinstance(other, UnixAddress):
            return other in self.addresses
        if not isinstance(other, TcpAddress):
            return False
        return any(
            each.port == other.port
            and (each.host == other.host or each.host in {"", "0.0.0.0", "::"} or other.host == "")
            for each in self.addresses
            if isinstance(each, TcpAddress)
        )


def proxied(settings: Settings) -> list[Proxied]:
    found = []
    for name, pool in settings.pool.items():
        parsed = (addresses.parse(addresses.bare(each)) for each in pool.bind)
        limits = [RequestLimits(pool.timeouts, each).of("/") for each in chosen(pool.worker)]
        found.append(
            Proxied(
                name,
                tuple(each for each in parsed if isinstance(each, TcpAddress | UnixAddress)),
                pool.timeouts.keepalive_timeout_s,
                0.0 if 0.0 in limits else max(limits),
            )
        )
    return found


def keepalive(about: str, what: str, idle_s: float, pool: Proxied) -> Finding:
    """Who closes an idle connection first must be the proxy: else its next request may meet the end of it."""
    setting = f"pool.{pool.name}.timeouts.keepalive_timeout_s"
    text = f"{about}: {what} is {idle_s:g} s, {setting} = {pool.keepalive_s:g}"
    if idle_s < pool.keepalive_s:
        return ok(about, text)
    return warn(about, f"{text}: resets now and then", f"set {setting} = {idle_s + _MARGIN_S:g}")


def read_timeout(about: str, what: str, reads_s: float, pool: Proxied) -> Iterator[Finding]:
    """A proxy that gives up first answers 504 while the request goes on."""
    if pool.request_s and reads_s >= pool.request_s:
        yield ok(
            about,
            f"{about}: {what} is {reads_s:g} s, one of {pool.name} ends after {pool.request_s:g} s",
        )
    elif pool.request_s:
        yield warn(
            about,
            f"{about}: {what} is {reads_s:g} s, a request of {pool.name} may take {pool.request_s:g} s: "
            "504 for its client, while it goes on",
            f"{what.split(maxsplit=1)[0] if about == 'nginx' else what} {pool.request_s + _MARGIN_S:g}s",
        )
