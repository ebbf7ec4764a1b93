"""The exchanges of the pools, and their numbers on the scoreboard.

Both last as long as the master knows the pool: over generations, respawns, and the death of
all its workers, so that no connection in the queue is lost with a worker.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from gwctl.ipc.connection_queue import Exchange


class ExchangesSnapshot(msgspec.Struct, frozen=True):
    """As handed over in an upgrade."""

    numbers: dict[str, int] = {}
    fds: dict[str, tuple[int, int]] = {}


class Exchanges:
    def __init__(self, snapshot: ExchangesSnapshot | None = None) -> None:
        snapshot = snapshot or ExchangesSnapshot()
        self._open: dict[str, Exchange | None] = {
            pool: Exchange.resumed(fds) for pool, fds in snapshot.fds.items()
        }
        self._numbers: dict[str, int] = dict(snapshot.numbers)

    def snapshot(self) -> ExchangesSnapshot:
        fds = {pool: exchange.fds for pool, exchange in self._open.items() if exchange is not None}
        return ExchangesSnapshot(dict(self._numbers), fds)

    def number(self, pool: str) -> int:
        """Return what the scoreboard calls ``pool``: from 1, never used for another."""
        return self._numbers.setdefault(pool, len(self._numbers) + 1)

    def get(self, pool: str) -> Exchange | None:
        """Return the exchange of ``pool``, made when there is no whole one; None: its workers have none."""
        exchange = self._open.get(pool)
        if exchange is None or exchange.broken:
            if exchange is not None:
                exchange.close()
            self._open[pool] = exchange = Exchange.open()
        return exchange

    def keep_only(self, pools: Iterable[str]) -> None:
        """Close the others: in the master when pools are removed, in a new worker all but its own."""
        for pool in self._open.keys() - set(pools):
            exchange = self._open.pop(pool)
            if exchange is not None:
                exchange.close()
