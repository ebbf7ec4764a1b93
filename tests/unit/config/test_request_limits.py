"""How long a request may take, by class and path."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from gwctl.config.model.request_limits import RequestLimits, parse
from gwctl.config.model.timeouts import Timeouts
from gwctl.config.model.worker_class import ASGI, SYNC, THREADS
from tests.support.engine import Engine
from tests.support.mistakes import WEB, mistakes


def test_auto_is_a_minute_under_sync_and_no_limit_elsewhere() -> None:
    assert RequestLimits(Timeouts(), SYNC).of("/") == 60.0
    assert RequestLimits(Timeouts(), ASGI).of("/") == 0.0
    assert RequestLimits(Timeouts(), ASGI).shortest_s == 0.0


def test_the_longest_path_that_fits_counts() -> None:
    timeouts = Timeouts(request_timeout_s=5.0, request_timeout_paths=("/a 10", "/a/live 0", "/b 2.5"))
    limits = RequestLimits(timeouts, THREADS)
    assert [limits.of(target) for target in ("/", "/a/x?y=/b", "/a/live/1", "/b")] == [5.0, 10.0, 0.0, 2.5]
    assert limits.shortest_s == 2.5


@pytest.mark.parametrize("text", ["", "/a", "a 5", "/a five", "/a -1", "/a nan", "/a b 5", "/a 1e9"])
def test_what_is_no_path_and_seconds(text: str, tmp_path) -> None:
    with pytest.raises(ValueError):
        parse(text)
    (mistake,) = mistakes(tmp_path, f"{WEB}[pool.web.timeouts]\nrequest_timeout_paths = ['{text}']\n")[:1]
    assert 'expected PATH SECONDS, as in "/export 600"' in mistake


ALIKE = [
    "/slow",
    "/slow?x=1",
    "/slow/er",
    "/%73low",
    "/%73%6C%6f%77",
    "/sl%6Fw?/fast",
    "http://shop/slow",
    "HTTP://shop:8000/%73low?x",
    "https://[::1]/slow",
    "/api/slow",
    "/api/%73low",
    "/%61pi/slow",
    "http://shop/api/slow",
]
DIFFERENT = [
    "/",
    "/fast?/slow",
    "/Slow",
    "/%2573low",
    "/apislow",
    "http://slow/",
    "http://shop?/slow",
    "*",
    "",
    "/api/",
]


@pytest.mark.parametrize("target", ALIKE)
def test_a_path_is_compared_as_the_application_gets_it(target: str) -> None:
    limits = RequestLimits(Timeouts(request_timeout_s=5.0, request_timeout_paths=("/slow 1",)), SYNC, "/api")
    assert limits.of(target) == 1.0


@pytest.mark.parametrize("target", DIFFERENT)
def test_other_paths_are_other_paths(target: str) -> None:
    limits = RequestLimits(Timeouts(request_timeout_s=5.0, request_timeout_paths=("/slow 1",)), SYNC, "/api")
    assert limits.of(target) == 5.0


def test_settings_may_name_the_whole_path_and_letters_of_any_kind() -> None:
    paths = ("/api/slow 1", "/gr\u00f6\u00dfe 2", "/%C3%A4 3")
    limits = RequestLimits(Timeouts(request_timeout_s=5.0, request_timeout_paths=paths), SYNC, "/api")
    targets = ("/api/slow", "/slow", "/gr%C3%B6%c3%9fe", "/api/gr%C3%B6%C3%9Fe", "/%c3%a4", "/api/%e4")
    assert [limits.of(target) for target in targets] == [1.0, 5.0, 2.0, 2.0, 3.0, 5.0]


class Waits:
    """Under both interfaces, until it is let go."""

    def __init__(self) -> None:
        self.go = threading.Event()

    def wsgi(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/slow":
            self.go.wait(20)
        start_response("200 OK", [("Content-Length", "4")])
        return [b"fast"]

    async def asgi(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["path"] == "/api/slow":
            await asyncio.sleep(20)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
        await send({"type": "http.response.body", "body": b"fast"})


@pytest.mark.parametrize("worker_class", ["threads", "asgi"])
def test_no_spelling_of_a_path_passes_its_limit(worker_class: str) -> None:
    """Those of sync are judged by the master: tests/process/test_timeouts.py."""
    waits = Waits()
    timeouts = {"request_timeout_s": 60.0, "request_timeout_paths": ("/slow 0.2",)}
    application = waits.asgi if worker_class == "asgi" else waits.wsgi
    with Engine(application, worker_class, timeouts=timeouts, root_path="/api") as engine:
        clients = []
        for target in ("/api/slow", "/slow", "/%73low", "http://x/slow", "http://x/api/sl%6fw?a"):
            clients.append(engine.connect())
            clients[-1].send(f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        assert {client.response().status for client in clients} == {504}
        waits.go.set()
