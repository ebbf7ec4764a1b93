"""Which runner a worker class has."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from gwctl.config.model.worker_class import Concurrency
from gwctl.workers.exchange.runner import Runner

if TYPE_CHECKING:
    from gwctl.config.model.worker_class import WorkerClass
    from gwctl.workers.balancing.parts import Balancing
    from gwctl.workers.exchange.service import Service


def runner_class(worker_class: WorkerClass, interface: str) -> Callable[[Service, Balancing], Runner]:
    """Import the runner that serves ``interface`` in ``worker_class`` workers, which do without the others.

    The class says how many requests are served at once, the interface how the application is called: a WSGI
    application is called in threads also in an asgi worker.
    """
    in_threads = worker_class.concurrency is Concurrency.TASKS and not worker_class.shares_loop(interface)
    match Concurrency.THREADS if in_threads else worker_class.concurrency:
        case Concurrency.ONE:
            from gwctl.workers.runners.sync import SyncRunner  # noqa: PLC0415

            return SyncRunner
        case Concurrency.THREADS:
            from gwctl.workers.runners.threads import ThreadsRunner  # noqa: PLC0415

            return ThreadsRunner
        case Concurrency.TASKS:
            from gwctl.workers.runners.asgi import AsgiRunner  # noqa: PLC0415

            return AsgiRunner
