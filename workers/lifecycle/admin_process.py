"""The admin process, as this side of the fork sees it: a worker whose application is gwctl's own."""

from __future__ import annotations

import os
import signal

from gwctl.config.model.worker_class import ASGI
from gwctl.ipc.assignment import AdminParts
from gwctl.log.event_log import Log
from gwctl.workers.app.loader import LoadedApplication


def admin_application(parts: AdminParts, instance: str, log: Log) -> LoadedApplication:
    """Make what it serves. It ends when the master lets go of its control connection."""
    from gwctl.admin.app import Admin, Besides  # noqa: PLC0415 - no worker needs it

    besides = Besides(parts.metrics_folder, parts.statsd, log.warning)
    admin = Admin(parts.control, parts.token, instance, _end, besides)
    return LoadedApplication(admin, "asgi", ASGI, "gwctl.admin", lifespan=admin)


def _end(_reason: str) -> None:
    """Drain, as when the master says so."""
    os.kill(os.getpid(), signal.SIGTERM)
