"""Fixtures of the unit tests."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.engine import UNDER, WORKER_CLASSES, Engine
from tests.support.tls import Files


@pytest.fixture
def large_bytes() -> int:
    """The size of a large body: 64 MiB, or GWCTL_TEST_LARGE_MIB."""
    return int(os.environ.get("GWCTL_TEST_LARGE_MIB", "64")) << 20


@pytest.fixture(params=WORKER_CLASSES)
def wsgi_under(request: pytest.FixtureRequest) -> str:
    """Run a test of WSGI under each worker class; ``@pytest.mark.not_under(class, reason=)`` leaves one out."""
    name: str = request.param
    return name


@pytest.fixture
def serve(wsgi_under: str) -> Iterator[Callable[..., Engine]]:
    """Start engines for a WSGI application, once under each class: ``serve(application, **settings)``."""
    engines: list[Engine] = []

    def start(application: Callable[..., Any], **settings: Any) -> Engine:
        engine = Engine(application, wsgi_under, interface="wsgi", **settings)
        engine.__enter__()
        engines.append(engine)
        return engine

    yield start
    for engine in engines:
        engine.__exit__(None, None, None)


@pytest.fixture(params=WORKER_CLASSES)
def asgi_under(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run a test of ASGI under each worker class: ``Engine(application, "asgi")`` gets that one.

    Where a class is not meant to be the same, the test says so and why: ``@pytest.mark.not_under(class, reason=)``.
    """
    name: str = request.param
    monkeypatch.setitem(UNDER, "asgi", name)
    return name


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what `not_under` names."""
    left_out = [item for item in items if _is_left_out(item)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        gone = set(left_out)
        items[:] = [item for item in items if item not in gone]


def _is_left_out(item: pytest.Item) -> bool:
    params = getattr(getattr(item, "callspec", None), "params", {})
    return any(
        params.get(fixture) in mark.args
        for mark in item.iter_markers("not_under")
        for fixture in ("asgi_under", "wsgi_under")
    )


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """The certificate of shop.example, and of 127.0.0.1."""
    return Files(tmp_path_factory.mktemp("tls"), "shop.example", "127.0.0.1")


@pytest.fixture(params=[*WORKER_CLASSES, "sync+asgi", "threads+asgi", "asgi+wsgi"])
def worker_class(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name
