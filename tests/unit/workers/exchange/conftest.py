"""Engines with a client in memory, for each worker class; what they leave behind is looked at in the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.support import engine_apps
from tests.support.engine import WORKER_CLASSES, Engine
from tests.support.http2 import Http2Client
from tests.support.memory_client import MemoryClient
from tests.support.wait import until


@pytest.fixture(params=WORKER_CLASSES)
def worker_class(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(params=["memory", "http2"])
def protocol(request: pytest.FixtureRequest) -> str:
    """Those that have many exchanges on one connection."""
    name: str = request.param
    return name


@pytest.fixture
def start(worker_class: str, protocol: str) -> Iterator[Callable[..., MemoryClient]]:
    """Serve ``wsgi`` or ``asgi``, whichever the worker class has: ``start(wsgi, asgi, **settings)``."""
    with ExitStack() as stack:

        def begin(
            wsgi: Any = engine_apps.wsgi, asgi: Any = engine_apps.asgi, **settings: Any
        ) -> MemoryClient:
            application = asgi if worker_class == "asgi" else wsgi
            if protocol == "http2":
                settings["http"] = ("h2", "h1")
            engine = stack.enter_context(Engine(application, worker_class, **settings))
            before = engine.server.body_budget.memory_left
            stack.callback(_nothing_is_left, engine, before)
            client: Any = Http2Client(engine) if protocol == "http2" else MemoryClient(engine)
            return stack.enter_context(client)  # type: ignore[no-any-return]

        yield begin


def _nothing_is_left(engine: Engine, memory: int) -> None:
    """No task, no thread at work, no byte of a body that is counted."""
    until(lambda: not engine.call(lambda: engine.server.runner.active), "all requests to be over")
    until(lambda: not engine.under_way, "what goes on behind them to be over")
    until(lambda: engine.server.body_budget.memory_left == memory, "bodies to be given back")
