"""Clients cannot take the descriptors that the application needs."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

import httpx
import pytest

from tests.support.engine import WORKER_CLASSES, Client
from tests.support.server import GwctlServer
from tests.support.wait import until

APPLICATION = '''
import os

def opened():
    """Opens eight files at once, as the view of a request may."""
    files = []
    try:
        for _ in range(8):
            files.append(os.open(os.devnull, os.O_RDONLY))
        return b"opened"
    except OSError as error:
        return str(error).encode()
    finally:
        for file in files:
            os.close(file)

def wsgi(environ, start_response):
    start_response("200 OK", [])
    return [opened()]

async def asgi(scope, receive, send):
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": opened()})
'''


@pytest.mark.parametrize("worker", WORKER_CLASSES)
def test_idle_connections_leave_some_for_the_application_and_give_way_to_new_ones(
    worker: str, tmp_path: Path
) -> None:
    (tmp_path / "opener.py").write_text(APPLICATION)
    app = "opener:asgi" if worker == "asgi" else "opener:wsgi"
    with (
        GwctlServer(
            app, worker=worker, chdir=tmp_path, nofile=100, allow_errors=["Too many open files"]
        ) as server,
        contextlib.ExitStack() as stack,
    ):
        port = httpx.URL(server.url).port

        def connect(count: int) -> None:
            for _ in range(count):
                stack.enter_context(socket.create_connection(("127.0.0.1", port or 0)))

        first = Client(stack.enter_context(socket.create_connection(("127.0.0.1", port or 0))))
        assert first.get().body == b"opened"
        (pid,) = server.workers
        descriptors = Path(f"/proc/{pid}/fd")
        before = len(list(descriptors.iterdir()))
        half = 25 if worker == "threads" else 50  # there each takes two descriptors
        connect(half)
        until(lambda: len(list(descriptors.iterdir())) >= before + 50, "half of them to be accepted")
        # If this takes long, those go that have waited longer than it: they are more than find no room below.
        assert first.get().body == b"opened"
        connect(half)
        server.wait_for_log(r"Too many open files, but for \d+ kept for the application")
        assert first.get().body == b"opened"
        assert len(list(descriptors.iterdir())) < 100 - 8
        assert httpx.get(server.url, timeout=30).content == b"opened", (
            "once those before are old enough to go"
        )
        for _ in range(40):
            assert httpx.get(server.url, timeout=5).content == b"opened"
            assert len(list(descriptors.iterdir())) < 100 - 8, "what is kept is not used up bit by bit"
        server.wait_for_log("no room for new connections .* closed the one that has waited longest")


@pytest.mark.parametrize("worker", WORKER_CLASSES)
def test_who_gets_no_descriptor_is_told_503_where_that_is_wanted(worker: str, tmp_path: Path) -> None:
    (tmp_path / "opener.py").write_text(APPLICATION)
    app = "opener:asgi" if worker == "asgi" else "opener:wsgi"
    with (
        GwctlServer(
            app,
            worker=worker,
            chdir=tmp_path,
            nofile=100,
            overload="refuse",
            allow_errors=["Too many open files"],
            limits={"body_rate_min_bytes_per_s": 0},  # else they make room when this takes long
        ) as server,
        contextlib.ExitStack() as stack,
    ):
        port = httpx.URL(server.url).port
        uploads = []
        for _ in range(120):  # none of them idle for a while: that would make room, too
            uploads.append(stack.enter_context(socket.create_connection(("127.0.0.1", port or 0))))
            with contextlib.suppress(OSError):  # one of those that were refused
                uploads[-1].sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n")
        first = Client(uploads[0])
        until(lambda: httpx.get(server.url, timeout=5).status_code == 503, "all that are had to be taken")
        for _ in range(10):
            assert httpx.get(server.url, timeout=5).status_code == 503
        first.send(b"hello")
        assert first.response().body == b"opened"


LOWERS = """
import os, resource

def lower():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (10, hard))

def wsgi(environ, start_response):
    if environ["PATH_INFO"] == "/lower":
        lower()
    start_response("200 OK", [])
    return [str(os.getpid()).encode()]

async def asgi(scope, receive, send):
    if scope["path"] == "/lower":
        lower()
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": str(os.getpid()).encode()})
"""


@pytest.mark.parametrize("worker", WORKER_CLASSES)
def test_an_application_that_lowers_its_limit_does_not_lock_clients_out(worker: str, tmp_path: Path) -> None:
    (tmp_path / "lowers.py").write_text(LOWERS)
    app = "lowers:asgi" if worker == "asgi" else "lowers:wsgi"
    with GwctlServer(app, worker=worker, chdir=tmp_path) as server:
        for _ in range(2):
            pid = httpx.get(server.url + "/lower").text
            assert httpx.get(server.url, timeout=5).text == pid
        server.wait_for_log("warn .*the application had lowered its limit of open files to 10")
