"""Which runner a worker class has."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from gwctl.workers.http1.runner import Runner

if TYPE_CHECKING:
    from gwctl.workers.balancing.parts import Balancing
    from gwctl.workers.http1.service import Service


def runner_class(worker_class: str, interface: str) -> Callable[[Service, Balancing], Runner]:
    """Import the runner that serves ``interface`` in ``worker_class`` workers, which do without the others.

    The class says how many requests are served at once, the interface how the application is called: a WSGI
    application is called in threads also in an asgi worker.
    """
    match "threads" if (worker_class, interface) == ("asgi", "wsgi") else worker_class:
        case "sync":
            from gwctl.workers.runners.sync import SyncRunner  # noqa: PLC0415

            return SyncRunner
        case "threads":
            from gwctl.workers.runners.threads import ThreadsRunner  # noqa: PLC0415

            return ThreadsRunner
        case _:
            from gwctl.workers.runners.asgi import AsgiRunner  # noqa: PLC0415

            return AsgiRunner
