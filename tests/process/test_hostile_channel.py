"""Whatever an application writes to its worker's sockets, the master serves on, as small as before."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from gwctl.supervisor.children.procfs import resident_bytes
from tests.process.test_shared_memory import a_pool, app_of
from tests.support.processes import descriptors
from tests.support.server import GwctlServer
from tests.support.status import status_of
from tests.support.wait import until

ATTACKS = (
    "no_line",
    "random_bytes",
    "lines_of_any_bytes",
    "a_line_of_great_depth",
    "many_messages",
    "ready_again",
    "many_descriptors",
    "messages_of_others",
    "shut_down_channels",
)
BORNE = ("many_descriptors",)
"""They are closed by the kernel as they come."""
EXPECTED = [
    "broke the protocol of its channel",
    "did not end",
    "died",
    "lost",
    "killed",
    "channel",
    "malformed",
]


def others_worker(server: GwctlServer) -> dict[str, Any]:
    pools = status_of(server)["pools"]
    return next(pool for pool in pools if pool["name"] == "other")["workers"][0]


@pytest.mark.parametrize(
    ("worker", "preload"), [("sync", False), ("asgi", True)], ids=["sync", "asgi-preload"]
)
def test_floods_of_any_kind_cost_a_worker_its_channel_and_nobody_else_anything(gwctl_server, worker, preload):
    """One attack after the other: the worker is replaced, the other pool's is the same, nothing is kept."""
    settings: dict[str, Any] = {
        "timeouts": {"drain_timeout_s": 1, "linger_s": 0},
        "crash": {"backoff_min_s": 0.01, "backoff_max_s": 0.02, "breaker_failures": 0},
    }
    with gwctl_server(
        app_of(worker),
        worker=worker,
        preload=preload,
        bind="127.0.0.1:0",
        pools={"other": a_pool(bind=["127.0.0.2:0"])},
        allow_errors=["."],
        allow_kill=True,
        **settings,
    ) as server:
        other = server.wait_for_log(r"http://127\.0\.0\.2:\d+")[0]
        pid = others_worker(server)["pid"]
        before, memory = len(descriptors(server.pid)), resident_bytes(server.pid)
        for name in ATTACKS:
            victim = until(lambda: serving(server), "the pool to serve")
            with suppress(httpx.TransportError):
                httpx.get(f"{server.url}/attack/{name}", timeout=20)
            assert httpx.get(f"{other}/").text == "hello", name
            if name not in BORNE:
                broke = rf"pid {victim} broke the protocol of its channel; nothing more is read from it"
                if name != "shut_down_channels":
                    server.wait_for_log(rf"error web\.0 g1 +{broke}")
                with suppress(ProcessLookupError):  # it drains, if it still can
                    os.kill(int(victim), signal.SIGKILL)
                until(lambda victim=victim: int(victim) not in server.workers, f"{victim} to be gone")
        assert others_worker(server)["pid"] == pid
        until(lambda: len(descriptors(server.pid)) <= before, "the descriptors of the replaced to be closed")
        assert resident_bytes(server.pid) < memory + (8 << 20)
        assert (Path(server.folder) / "stderr").stat().st_size < 200_000


def serving(server: GwctlServer) -> str:
    """Pid of who answers; empty when nobody does."""
    with suppress(httpx.TransportError):
        return httpx.get(f"{server.url}/pid", timeout=1).text
    return ""


BREAKS = """
import asyncio, os, socket, time

def channel():
    # One of a pair of stream sockets that another process has made.
    for name in os.listdir("/proc/self/fd"):
        try:
            sock = socket.socket(fileno=os.dup(int(name)))
        except OSError:
            continue
        with sock:
            try:
                if sock.family == socket.AF_UNIX and sock.type == socket.SOCK_STREAM:
                    sock.getpeername()
                    if sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED) != os.getpid():
                        yield int(name), sock
            except OSError:
                pass

def breaks(how):
    kept = open("reused", "w")
    for number, sock in channel():
        if how == "writes":
            sock.send(b"no message\\n")
        elif how == "shuts down":
            sock.shutdown(socket.SHUT_RDWR)
        elif how == "closes":
            os.close(number)
        else:
            os.dup2(kept.fileno(), number)

def application(environ, start_response):
    body = b"%d" % os.getpid()
    if environ["PATH_INFO"] == "/break":
        breaks(environ["QUERY_STRING"].replace("%20", " "))
        while not os.path.exists("go"):
            time.sleep(0.01)
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]

async def asgi(scope, receive, send):
    assert scope["type"] == "http"
    if scope["path"] == "/break":
        breaks(scope["query_string"].decode().replace("%20", " "))
        while not os.path.exists("go"):
            await asyncio.sleep(0.01)
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": b"%d" % os.getpid()})
"""


@pytest.mark.parametrize("how", ["writes", "shuts down", "closes", "gives its number to another"])
@pytest.mark.parametrize(
    ("worker", "preload"),
    [("sync", False), ("threads", True), ("asgi", False)],
    ids=["sync", "threads", "asgi"],
)
def test_a_worker_that_broke_its_channel_finishes_what_it_has_and_is_replaced_at_once(
    gwctl_server, tmp_path, worker, preload, how
):
    """It is told by a signal, as it can be told nothing else; what it has is a drain's time, not four seconds."""
    (tmp_path / "breaks.py").write_text(BREAKS)
    app = "breaks:asgi" if worker == "asgi" else "breaks:application"
    with (
        gwctl_server(
            app,
            worker=worker,
            preload=preload,
            chdir=tmp_path,
            allow_errors=["broke the protocol", "lives on without its channel"],
        ) as server,
        ThreadPoolExecutor(1) as clients,
    ):
        first = httpx.get(server.url).text
        slow = clients.submit(httpx.get, f"{server.url}/break?{how}", timeout=30)
        why = "given up" if how == "writes" else "closed"
        if how != "shuts down":  # of which the worker hears itself, and drains without a word
            server.wait_for_log(rf"pid {first} drains, as its channel is {why}. Replaced at once")
        until(lambda: serving(server) not in {"", first}, "another to serve meanwhile")
        (tmp_path / "go").touch()
        assert slow.result().text == first
        assert (tmp_path / "reused").read_bytes() == b""
        until(lambda: first not in map(str, server.workers), "it to end by itself")
