"""What is served: the applications of tests/apps/ by worker class, and those that a test writes itself."""

from __future__ import annotations

from pathlib import Path

from tests.support.engine import WORKER_CLASSES


def by_class(wsgi: str, asgi: str) -> dict[str, str]:
    """What ``app`` is for each worker class, where an application is there for both interfaces."""
    return {worker: asgi if worker == "asgi" else wsgi for worker in WORKER_CLASSES}


BARE = by_class("wsgi_bare:application", "asgi_bare:application")


def write_shop(folder: Path, source: str) -> Path:
    """Write shop.py; return its folder, for ``chdir``."""
    (folder / "shop.py").write_text(source)
    return folder
