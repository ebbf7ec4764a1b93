"""The admin process, as this side of the fork sees it: a worker whose application is gwctl's own."""

from __future__ import annotations

import importlib
import os
import signal

from gwctl.config.model.worker_class import ASGI
from gwctl.ipc.assignment import AdminParts
from gwctl.workers.app.loader import LoadedApplication


def import_all() -> None:
    """Import what will be needed while this process may read it: Python may be where only root may look."""
    for name in ("uvicorn.lifespan.on", "uvloop", "gwctl.admin.app", "gwctl.workers.server"):
        importlib.import_module(name)


def admin_application(parts: AdminParts, instance: str) -> LoadedApplication:
    """Make what it serves. It ends when the master lets go of its control connection."""
    from gwctl.admin.app import Admin  # noqa: PLC0415 - no worker needs it

    admin = Admin(parts.control, parts.token, instance, _end)
    return LoadedApplication(admin, "asgi", ASGI, "gwctl.admin", lifespan=admin)


def _end() -> None:
    """Drain, as when the master says so."""
    os.kill(os.getpid(), signal.SIGTERM)
