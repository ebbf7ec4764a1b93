"""Engines that speak HTTP/2, for each worker class, and what they leave behind: nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.support import engine_apps
from tests.support.engine import WORKER_CLASSES, Engine
from tests.support.http2 import Http2Client
from tests.support.wait import until


@pytest.fixture(params=WORKER_CLASSES)
def worker_class(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def start(worker_class: str) -> Iterator[Callable[..., Http2Client]]:
    """Serve ``wsgi`` or ``asgi``, whichever the worker class has: ``start(wsgi, asgi, client={...}, **settings)``."""
    with ExitStack() as stack:

        def begin(
            wsgi: Any = engine_apps.wsgi,
            asgi: Any = engine_apps.asgi,
            client: dict[str, Any] | None = None,
            **settings: Any,
        ) -> Http2Client:
            application = asgi if worker_class == "asgi" else wsgi
            engine = stack.enter_context(
                Engine(application, worker_class, **{"http": ("h2", "h1"), **settings})
            )
            before = engine.server.body_budget.memory_left
            stack.callback(_nothing_is_left, engine, before)
            return stack.enter_context(Http2Client(engine, **(client or {})))

        yield begin


def _nothing_is_left(engine: Engine, memory: int) -> None:
    until(lambda: not engine.call(lambda: engine.server.runner.active), "all requests to be over")
    until(lambda: engine.server.body_budget.memory_left == memory, "bodies to be given back")
