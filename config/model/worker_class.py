"""The worker classes: what one is, for whoever has to treat it otherwise than another."""

from __future__ import annotations

from enum import Enum
from typing import Final, Literal

from msgspec import Struct

Interface = Literal["wsgi", "asgi"]


class Concurrency(Enum):
    """How a worker serves requests beside one another."""

    ONE = "one request at a time, in the loop's thread"
    THREADS = "as many as it has threads"
    TASKS = "any number, as tasks of the loop"


class WorkerClass(Struct, frozen=True):
    """One of them.

    Attributes:
        name: As the setting ``worker`` has it, and messages and the status.
        interface: Of the applications that it is for. The other one is served too (docs/adr/0015-bridges.md).
        concurrency: Of an application with that interface.
    """

    name: str
    interface: Interface
    concurrency: Concurrency

    @property
    def holds_loop(self) -> bool:
        """Its loop stands still during a call, so that the master judges how long that takes."""
        return self.concurrency is Concurrency.ONE

    @property
    def has_threads(self) -> bool:
        """``threads`` says how many requests it serves at once."""
        return self.concurrency is Concurrency.THREADS

    @property
    def has_websockets(self) -> bool:
        return self.concurrency is Concurrency.TASKS

    def shares_loop(self, interface: str) -> bool:
        """Tell whether an application with ``interface`` runs in the loop that serves."""
        return self.concurrency is Concurrency.TASKS and interface == self.interface

    def __str__(self) -> str:
        return self.name


SYNC: Final = WorkerClass("sync", "wsgi", Concurrency.ONE)
THREADS: Final = WorkerClass("threads", "wsgi", Concurrency.THREADS)
ASGI: Final = WorkerClass("asgi", "asgi", Concurrency.TASKS)
WORKER_CLASSES: Final = {each.name: each for each in (SYNC, THREADS, ASGI)}


def chosen(worker: str) -> tuple[WorkerClass, ...]:
    """Return those that the setting ``worker`` may come to: all, for ``auto``."""
    return tuple(WORKER_CLASSES.values()) if worker == "auto" else (WORKER_CLASSES[worker],)
