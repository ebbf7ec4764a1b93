"""Applications that lay hands on what they share with gwctl: all tasks of the loop, the standard streams."""

from __future__ import annotations

import re
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.support.engine import WORKER_CLASSES
from tests.support.processes import descriptors, look
from tests.support.server import GwctlServer
from tests.support.wait import until

each = pytest.mark.parametrize(
    ("worker", "preload"),
    [(worker, preload) for worker in WORKER_CLASSES for preload in (False, True)],
    ids=[
        f"{worker}{'-preload' if preload else ''}" for worker in WORKER_CLASSES for preload in (False, True)
    ],
)
SERVES = """
import asyncio, os, sys

def wsgi(environ, start_response):
    body = str(os.getpid()).encode()
    print("said in a request")
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]

async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    if scope["path"] == "/cancel":
        for task in asyncio.all_tasks():
            task.cancel()
    body = str(os.getpid()).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    print("said in a request")
    await send({"type": "http.response.body", "body": body})
    await asyncio.sleep(0)

async def lifespan(receive, send):
    await receive()
    if os.environ.get("CANCELS") == "startup":
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})
"""


def serve(folder: Path, worker: str, source: str = "", **settings: object) -> GwctlServer:
    (folder / "shop.py").write_text(SERVES + source)
    app = "shop:asgi" if worker == "asgi" else "shop:wsgi"
    return GwctlServer(app, worker=worker, chdir=folder, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("preload", [False, True])
def test_cancelling_all_tasks_does_not_end_the_worker(tmp_path, preload):
    """Whoever does it cancels its own request along, whose response was complete before."""
    with serve(tmp_path, "asgi", preload=preload) as server:
        pid = httpx.get(server.url).text
        server.allow_errors.append("the request was cancelled")
        for _ in range(3):
            assert httpx.get(server.url + "/cancel").text in {pid, "Internal Server Error"}
            assert httpx.get(server.url).text == pid
        server.signal(signal.SIGTERM)
        assert server.wait_for_exit() == 0
        assert server.log.count("warn") == server.log.count("the lifespan was cancelled") == 1


def test_cancelling_all_others_at_startup_does_not_end_the_boot(tmp_path):
    with serve(tmp_path, "asgi", environ={"CANCELS": "startup"}) as server:
        assert httpx.get(server.url).status_code == 200


@each
def test_standard_streams_that_cannot_be_flushed_are_no_obstacle(tmp_path, worker, preload):
    """Each time for another reason."""
    source = """
import itertools
ERRORS = itertools.cycle([SystemExit, KeyboardInterrupt, ValueError, GeneratorExit, RuntimeError])
class Stream:
    def write(self, text): return len(text)
    def flush(self): raise next(ERRORS)
sys.stdout = sys.stderr = Stream()
"""
    with serve(tmp_path, worker, source, preload=preload) as server:
        assert httpx.get(server.url).status_code == 200
        server.signal(signal.SIGINT)
        assert server.wait_for_exit() == 0
        assert "farewell" not in server.log, "nothing had to be cut"


@pytest.mark.parametrize(("worker", "stream"), [("sync", "None"), ("threads", "object()"), ("asgi", "None")])
def test_standard_streams_may_be_anything(tmp_path, worker, stream):
    source = f"sys.stdout = sys.stderr = {stream}\nprint = lambda *_: None\n"
    with serve(tmp_path, worker, source, preload=True) as server:
        assert httpx.get(server.url).status_code == 200


@each
def test_descriptors_that_the_import_closes_are_not_given_to_anything_else(tmp_path, worker, preload):
    source = "for fd in (0, 1, 2):\n    os.close(fd)\n"
    with serve(tmp_path, worker, source, preload=preload) as server, httpx.Client() as client:
        pid = int(client.get(server.url).text)
        assert {descriptors(pid)[fd] for fd in (0, 1, 2)} == {"/dev/null"}
        assert client.get(server.url).text == str(pid)
        assert server.gwctl("reload").returncode == 0
        until(lambda: int(httpx.get(server.url).text) != pid, "the next generation to serve")
        server.signal(signal.SIGTERM)
        assert server.wait_for_exit() == 0


ENDS_THE_LOOP = """
async def left_behind(why):
    await asyncio.sleep(0)
    if why == "/exit":
        sys.exit("enough")
    raise KeyboardInterrupt

async def hostile(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    path, body = scope["path"], str(os.getpid()).encode()
    loop = asyncio.get_running_loop()
    if path == "/stop":
        loop.stop()
    elif path == "/callback":
        loop.call_soon(sys.exit, 5)
    elif path in ("/exit", "/interrupt"):
        asyncio.ensure_future(left_behind(path))
    elif path == "/slow":
        for _ in range(30):
            await asyncio.sleep(0.01)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})
"""


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@pytest.mark.parametrize("worker", ["asgi", "threads"])
def test_ending_the_loop_from_within_ends_no_worker(tmp_path, worker, loop):
    """By stop(), or by exiting in what no request waits for: other clients' requests are in that loop."""
    allowed = [
        "raised what ends an event loop; it turns on: (SystemExit|KeyboardInterrupt)",
        "never retrieved",
    ]
    (tmp_path / "shop.py").write_text(SERVES + ENDS_THE_LOOP)
    with GwctlServer(
        "shop:hostile", worker=worker, chdir=tmp_path, loop=loop, allow_errors=allowed
    ) as server:
        with ThreadPoolExecutor() as clients, httpx.Client(base_url=server.url) as client:
            pid = client.get("/").text
            slow = clients.submit(httpx.get, server.url + "/slow")
            for path in ("/stop", "/exit", "/callback", "/interrupt", "/stop"):
                assert client.get(path).text == pid
                assert client.get("/").text == pid
            assert slow.result().text == pid
        server.wait_for_log("warn .*the application has stopped the event loop")
        server.wait_for_log("error .*raised what ends an event loop; it turns on: SystemExit: enough")
        server.signal(signal.SIGTERM)
        assert server.wait_for_exit() == 0
        assert "the lifespan" not in server.log


EXITS_IN_A_CHILD = """
async def exits(kind):
    await asyncio.sleep(0)
    raise kind("enough")

async def hostile(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    path = scope["path"].rpartition("/")[2]
    kind = KeyboardInterrupt if "interrupt" in scope["path"] else SystemExit
    body = str(os.getpid()).encode()
    if path == "awaited":
        await asyncio.create_task(exits(kind))
    elif path == "gathered":
        await asyncio.gather(exits(kind), asyncio.sleep(5))
    elif path == "grouped":
        async with asyncio.TaskGroup() as group:
            group.create_task(exits(kind))
            await asyncio.sleep(5)
    elif path == "chained":
        try:
            await asyncio.create_task(exits(kind))
        except BaseException as error:
            raise RuntimeError("wrapped") from error
    elif path == "alone":
        asyncio.create_task(exits(kind))
        await asyncio.sleep(0.01)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})
"""


@pytest.mark.parametrize("worker", ["asgi", "threads"])
def test_an_exit_in_a_child_task_is_one_record(tmp_path, worker):
    """Of the request that awaits it where there is one: that says whose it was."""
    (tmp_path / "shop.py").write_text(SERVES + EXITS_IN_A_CHILD)
    with GwctlServer("shop:hostile", worker=worker, chdir=tmp_path, allow_errors=[".*"]) as server:
        with httpx.Client(base_url=server.url) as client:
            pid = client.get("/").text
            for kind, name in (("exit", "SystemExit"), ("interrupt", "KeyboardInterrupt")):
                for way in ("awaited", "gathered", "grouped", "chained"):
                    assert client.get(f"/{kind}/{way}").status_code == 500
                    what = "RuntimeError: wrapped" if way == "chained" else name
                    server.wait_for_log(f"GET /{kind}/{way}: the application raised: {what}")
            assert client.get("/exit/alone").text == pid
            server.wait_for_log("it turns on: SystemExit: enough")
        server.signal(signal.SIGTERM)
        assert server.wait_for_exit() == 0
        errors = [line for line in server.log.splitlines() if " error " in line]
        assert len(errors) == 9, server.log
        assert "never retrieved" not in server.log


LOWERS = """
import resource

def lowers(environ, start_response):
    path = environ["PATH_INFO"]
    if path != "/":
        number = int(path[1:])
        resource.setrlimit(resource.RLIMIT_NOFILE, (number, number))
    return wsgi(environ, start_response)

async def lowers_async(scope, receive, send):
    if scope["type"] != "lifespan" and scope["path"] != "/":
        number = int(scope["path"][1:])
        resource.setrlimit(resource.RLIMIT_NOFILE, (number, number))
    await asgi(scope, receive, send)
"""


@pytest.mark.parametrize("number", [0, 5])
@pytest.mark.parametrize("worker", WORKER_CLASSES)
@pytest.mark.parametrize("processes", [1, 2])
def test_a_worker_that_can_accept_nobody_any_more_says_so_and_is_replaced(
    tmp_path, worker, number, processes
):
    """Its siblings have room, so that it would leave all clients to them; and they may have done the same."""
    (tmp_path / "shop.py").write_text(SERVES + LOWERS)
    app = "shop:lowers_async" if worker == "asgi" else "shop:lowers"
    with GwctlServer(app, worker=worker, chdir=tmp_path, processes=processes, allow_errors=[".*"]) as server:
        gone: set[str] = set()
        lost = f"RLIMIT_NOFILE. to {number}, for good. This worker drains, to be replaced"

        def replaced() -> bool:
            assert httpx.get(server.url, timeout=20).status_code == 200
            return len(re.findall(lost, server.log)) == len(gone)

        for _ in range(processes):
            gone.add(httpx.get(f"{server.url}/{number}").text)
            until(replaced, "the worker to notice")
        until(lambda: not any(look(pid) for pid in gone), "them to end")
        assert {httpx.get(server.url).text for _ in range(4)}.isdisjoint(gone)
