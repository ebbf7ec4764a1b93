"""What `/metrics` answers: the master's figures, those of this process, and the applications' own.

Where there are any of the last, all that takes more than a moment is done in a thread, so that probes are
answered meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Final, ParamSpec, TypeVar

from gwctl.admin.application.collector import NONE, Collected, Collector
from gwctl.admin.figures.exposition import OPENMETRICS, TEXT, Format, exposition
from gwctl.admin.figures.own import OwnFigures
from gwctl.admin.figures.samples import in_slots
from gwctl.admin.link.master import READ_S, Master
from gwctl.admin.link.shared import Shared
from gwctl.admin.memory import ProportionalMemory
from gwctl.admin.statsd.sender import Sender
from gwctl.control.metrics import MasterMetrics
from gwctl.errors import ControlError

FOLD_EVERY_S: Final = 10.0
"""Also when nobody asks, what dead workers leave behind is folded and removed."""
_PAUSE_S: Final = 0.1
"""Between two expositions: each takes a moment of this process alone."""

P = ParamSpec("P")
T = TypeVar("T")


class Scrape:
    """One of each format for all who ask at about the same time."""

    def __init__(
        self, master: Master, metrics_folder: str, sender: Sender | None, warn: Callable[[str], None]
    ) -> None:
        """``metrics_folder`` is empty where no application's metrics are told; ``sender`` is statsd's."""
        self._sender = sender
        self._master = master
        self._collector = Collector(metrics_folder, warn) if metrics_folder else None
        self._thread = ThreadPoolExecutor(1, "gwctl-metrics")
        self._memory = ProportionalMemory()
        self._measuring = ThreadPoolExecutor(1, "gwctl-memory")
        self._expositions = {
            form: Shared("metrics", partial(self._write, form), _PAUSE_S) for form in (TEXT, OPENMETRICS)
        }
        self._folding: asyncio.Task[None] | None = None

    def begin(self) -> None:
        if self._collector is not None:
            self._folding = asyncio.get_running_loop().create_task(self._fold(self._collector))

    async def end(self) -> None:
        if self._folding is not None:
            self._folding.cancel()
            await asyncio.gather(self._folding, return_exceptions=True)
        await asyncio.gather(*(each.close() for each in self._expositions.values()))
        for thread in (self._thread, self._measuring):
            thread.shutdown(wait=False, cancel_futures=True)

    async def get(self, form: Format) -> bytes:
        """Raises ControlError: The master does not answer."""
        return await self._expositions[form].get(READ_S)

    async def _write(self, form: Format) -> bytes:
        if self._collector is None:
            metrics = await self._master.metrics.get(READ_S)
            return exposition(metrics, form, self._own(metrics, NONE))
        metrics, collected = await self._collect(self._collector)
        own = self._own(metrics, collected)
        return await self._in_thread(exposition, metrics, form, own, collected.metrics)

    def _own(self, metrics: MasterMetrics, collected: Collected) -> OwnFigures:
        workers = {
            (pool.name, slot): worker.pid
            for pool in metrics.pools
            for slot, worker in in_slots(pool.workers).items()
        }
        if self._memory.due:
            self._memory.put_off()
            self._measuring.submit(self._memory.measure, [*workers.values()])
        measured = self._memory.measured
        left_out = {
            pool: {str(reason): count for reason, count in reasons.items()}
            for pool, reasons in collected.left_out.items()
        }
        memory = {place: measured[pid] for place, pid in workers.items() if pid in measured}
        sender = self._sender
        packets = {"sent": sender.sent, "lost": sender.lost} if sender is not None else {}
        return OwnFigures(memory, collected.series, left_out, packets)

    async def _collect(self, collector: Collector) -> tuple[MasterMetrics, Collected]:
        listing = await self._in_thread(collector.listing)
        metrics = await self._master.metrics.get(READ_S)
        living = {pool.name: pool.processes for pool in metrics.pools if pool.processes is not None}
        return metrics, await self._in_thread(collector.collect, listing, living)

    async def _in_thread(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, partial(call, *args, **kwargs))

    async def _fold(self, collector: Collector) -> None:
        while True:
            with suppress(ControlError):
                await self._collect(collector)
            await asyncio.sleep(FOLD_EVERY_S)
