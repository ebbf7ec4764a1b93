"""Children that the application forks: they never serve, hold nothing of gwctl's, and no client waits for their end."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from websockets.sync.client import connect

from tests.support.engine import WORKER_CLASSES
from tests.support.processes import children, descriptors, has_ended, look, title
from tests.support.raw import RawClient, request_on, urls
from tests.support.server import APPS, GwctlServer
from tests.support.tls import Files
from tests.support.wait import until

AT_ONCE_S = 15.0
"""The children live four times as long."""
ADDRESS = "127.0.7.1"
"""On which nobody else takes a port that is free for a moment."""
each = pytest.mark.parametrize(
    ("worker", "preload"),
    [(worker, preload) for worker in WORKER_CLASSES for preload in (False, True)],
    ids=[
        f"{worker}{'-preload' if preload else ''}" for worker in WORKER_CLASSES for preload in (False, True)
    ],
)
native = pytest.mark.parametrize("worker", WORKER_CLASSES)
BACK = {
    "sync": ("return", "raise", "exit", "executor", "generator", "write", "close"),
    "asgi": ("return", "raise", "exit", "executor", "generator", "task", "callback", "await"),
}
BACK["threads"] = BACK["sync"]
BACK["sync+asgi"] = BACK["threads+asgi"] = BACK["asgi"]
BACK["asgi+wsgi"] = BACK["sync"]


def serve(worker: str, **settings: object) -> GwctlServer:
    """``sync+asgi``: an ASGI application under sync."""
    worker, _, interface = worker.partition("+")
    app = f"forking:{interface or ('asgi' if worker == 'asgi' else 'wsgi')}"
    return GwctlServer(app, worker=worker, **settings)  # type: ignore[arg-type]


def serve_everywhere(worker: str, folder: Path, **settings: object) -> GwctlServer:
    """With three listeners: TCP, TLS and Unix."""
    files = Files(folder, "shop.example")
    bind = ["127.0.0.1:0", "tls:127.0.0.2:0", f"unix:{folder}/web.sock"]
    tls = {"certificate": str(files.certificate), "key": str(files.key)}
    return serve(worker, bind=bind, tls=tls, **settings)


@contextmanager
def killed_afterwards() -> Iterator[list[int]]:
    pids: list[int] = []
    try:
        yield pids
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in pids:
            until(lambda pid=pid: has_ended(pid), "it to be gone")  # type: ignore[misc]


@pytest.mark.parametrize(
    ("worker", "preload"),
    [
        *((worker, preload) for worker in WORKER_CLASSES for preload in (False, True)),
        ("sync+asgi", False),
        ("threads+asgi", False),
        ("asgi+wsgi", False),
    ],
)
def test_a_child_that_comes_back_is_ended_and_answers_nobody(tmp_path, worker, preload):
    """Each path on each listener: one response, the worker's, and the next ones on the same connection, too."""
    with serve_everywhere(worker, tmp_path, preload=preload) as server:
        for url in urls(server):
            with RawClient(url) as client:
                pid = client.get().body.split()[0]
                for how in BACK[worker]:
                    answer = client.get(f"/{how}")
                    status = b" 1" if how in {"raise", "exit"} else b" 0"
                    assert (answer.status, answer.body) == (200, pid + status), how
                    assert client.get().body == pid + b" none"
                client.sock.settimeout(0.05)
                with pytest.raises(TimeoutError):
                    client.sock.recv(1)
        server.wait_for_log(r"warn .* a child process that the application forked \(pid \d+\) came back")
        (worker_pid,) = [child for child in children(server.pid) if child == int(pid)]
        assert children(worker_pid) == []


@pytest.mark.parametrize(("worker", "app"), [("sync", "asgi"), ("threads", "asgi"), ("asgi", "wsgi")])
def test_a_child_of_an_application_of_the_other_interface_answers_nobody(worker, app):
    with GwctlServer(f"forking:{app}", worker=worker) as server, RawClient(server.url) as client:
        pid = client.get().body.split()[0]
        for how in BACK["sync" if app == "wsgi" else "asgi"]:
            answer = client.get(f"/{how}")
            status = b" 1" if how in {"raise", "exit"} else b" 0"
            assert (answer.status, answer.body) == (200, pid + status), how
            assert client.get().body == pid + b" none"
        client.sock.settimeout(0.05)
        with pytest.raises(TimeoutError):
            client.sock.recv(1)
        (worker_pid,) = [child for child in children(server.pid) if child == int(pid)]
        assert children(worker_pid) == []


@pytest.mark.parametrize("lock", ["JOBS._idle_semaphore._cond", "job._condition"])
def test_a_child_of_an_executor_is_ended_whoever_held_a_lock_of_it(tmp_path, lock):
    """Of the executor, or of the job's result: who submits a job, or waits for it, holds it for a moment."""
    (tmp_path / "shop.py").write_text(
        "import os, threading\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "JOBS = ThreadPoolExecutor(1)\n"
        "def fork(go, forked):\n"
        "    go.wait()\n"
        "    child = os.fork()\n"
        "    if child:\n"
        "        forked.set()\n"
        "        return str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
        "def application(environ, start_response):\n"
        "    go, forked = threading.Event(), threading.Event()\n"
        "    job = JOBS.submit(fork, go, forked)\n"
        f"    with {lock}:\n"
        "        go.set()\n"
        "        forked.wait()\n"
        "    body = job.result().encode()\n"
        "    start_response('200 OK', [('Content-Length', str(len(body)))])\n"
        "    return [body]\n"
    )
    with GwctlServer("shop:application", worker="sync", chdir=tmp_path) as server:
        assert httpx.get(server.url, timeout=AT_ONCE_S).text == "0"


def test_a_child_of_an_anyio_thread_is_ended_when_its_function_returns(tmp_path):
    """As FastAPI calls what is no coroutine function."""
    (tmp_path / "shop.py").write_text(
        "import os\n"
        "from fastapi import FastAPI\n"
        "app = FastAPI()\n"
        "@app.get('/')\n"
        "def view():\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        return 'child'\n"
        "    return [os.getpid(), os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])]\n"
    )
    with GwctlServer("shop:app", worker="asgi", chdir=tmp_path) as server, httpx.Client() as client:
        pids = {tuple(client.get(server.url).json()) for _ in range(3)}
        ((_, status),) = pids
        assert status == 0


@pytest.mark.parametrize("worker", ["sync", "threads"])
@pytest.mark.parametrize("how", ["return", "raise"])
def test_a_child_of_a_job_of_asgirefs_is_ended_when_that_is_over(tmp_path, worker, how):
    """As Django does what an async view under WSGI hands to sync_to_async: in the thread of the call."""
    (tmp_path / "shop.py").write_text(
        "import os\n"
        "from asgiref.sync import async_to_sync, sync_to_async\n"
        "def job():\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        f"        {'return 0' if how == 'return' else 'raise ValueError(1)'}\n"
        "    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])\n"
        "async def view():\n"
        "    return await sync_to_async(job)()\n"
        "def app(environ, start_response):\n"
        "    body = str(async_to_sync(view)()).encode()\n"
        "    start_response('200 OK', [('Content-Length', str(len(body)))])\n"
        "    return [body]\n"
    )
    with GwctlServer("shop:app", worker=worker, chdir=tmp_path) as server, httpx.Client() as client:
        for _ in range(3):
            assert client.get(server.url, timeout=10).text == ("0" if how == "return" else "1")


@pytest.mark.parametrize(
    ("worker", "preload", "at"),
    [
        ("sync", False, "import"),
        ("threads", False, "import"),
        ("asgi", False, "import"),
        ("asgi", False, "lifespan"),
        ("sync", True, "import"),
        ("asgi", True, "lifespan"),
    ],
)
@pytest.mark.parametrize("how", ["return", "exit"])
def test_a_child_that_comes_back_while_the_worker_boots_is_ended(worker, preload, at, how):
    with serve(worker, preload=preload, environ={"FORKS_AT": at, "FORKS": how}) as server:
        status = httpx.get(server.url).text.split()[1]
        assert (
            status == "1" if how != "return" else status in {"0", "1"}
        )  # the latter: receive() failed in the child


@each
def test_a_child_forked_at_import_holds_nothing(worker, preload):
    """It outlives its worker's kill. The port is free all the same, and the next start works."""
    environ = {"FORKS_AT": "import", "FORKS": "stay"}
    with (
        serve(worker, preload=preload, bind=f"{ADDRESS}:0", environ=environ) as server,
        killed_afterwards() as kill,
    ):
        pid, child = map(int, httpx.get(server.url).text.split())
        kill.append(child)
        port = urlsplit(server.url).port
        assert [what for what in descriptors(child).values() if what.startswith("socket:")] == []
        kind = "template web g1" if preload else "worker web.0 g1"
        assert title(child) == f"gwctl: child of {kind} [test]"
        server.expected_status = -signal.SIGKILL
        server.allow_errors, server.allow_kill = ["died: signal 9", "its template has ended"], True
        for victim in [*children(server.pid), server.pid]:
            os.kill(victim, signal.SIGKILL)
        until(lambda: has_ended(pid), "the worker to be gone")
        assert look(child) is not None
        with serve(worker, bind=f"{ADDRESS}:{port}") as next_one:
            assert httpx.get(next_one.url).text.split()[1] == "none"


@native
@pytest.mark.parametrize("how", ["stay", "bare"])
def test_clients_see_the_end_whatever_children_hold(tmp_path, worker, how):
    """Connection: close, HTTP/1.0, the idle limit, a client's own close, and the drain; on each listener."""
    timeouts = {"keepalive_timeout_s": 0.3, "linger_s": 0.05}
    with killed_afterwards() as kill, serve_everywhere(worker, tmp_path, timeouts=timeouts) as server:
        addresses = urls(server)
        for url in addresses:
            with RawClient(url) as idle, RawClient(url) as closing, RawClient(url) as old:
                idle.get()
                answer = closing.send(f"/{how}", headers="Connection: close\r\n").answer()
                kill.append(int(answer.body.split()[1]))
                began = time.monotonic()
                assert closing.ended()
                old.sock.sendall(f"GET /{how} HTTP/1.0\r\n\r\n".encode())
                response = old.begin()
                kill.append(int(response.read().split()[1]))
                assert old.ended()
                assert idle.ended()
                assert time.monotonic() - began < AT_ONCE_S
        if worker == "asgi":
            with connect(server.url.replace("http", "ws", 1)) as socket_:
                socket_.send(how)
                kill.append(int(str(socket_.recv()).split()[1]))
                began = time.monotonic()
                socket_.close()
                socket_.socket.close()
                assert time.monotonic() - began < AT_ONCE_S
        clients = [RawClient(url) for url in addresses]
        for client in clients:
            kill.append(int(client.get(f"/{how}").body.split()[1]))
        began = time.monotonic()
        server.signal(signal.SIGTERM)
        assert all(client.ended() for client in clients)
        assert time.monotonic() - began < AT_ONCE_S
        if how == "bare":
            for pid in kill:
                os.kill(pid, signal.SIGKILL)
            until(lambda: all(map(has_ended, kill)), "the children to be gone")
        assert server.wait_for_exit() == 0


@native
def test_a_reset_reaches_a_client_although_a_child_holds_the_socket(tmp_path, worker):
    """A response that breaks off in its middle."""
    (tmp_path / "breaks.py").write_text(
        "import forking\n"
        "def wsgi(environ, start_response):\n"
        "    start_response('200 OK', [('Content-Length', '100')])\n"
        "    yield forking.stay('bare').encode() + b' '\n"
        "    raise ValueError\n"
        "async def asgi(scope, receive, send):\n"
        "    assert scope['type'] == 'http'\n"
        "    await send({'type': 'http.response.start', 'status': 200, 'headers': [(b'content-length', b'100')]})\n"
        "    body = forking.stay('bare').encode() + b' '\n"
        "    await send({'type': 'http.response.body', 'body': body, 'more_body': True})\n"
        "    raise ValueError\n"
    )
    app = "breaks:asgi" if worker == "asgi" else "breaks:wsgi"
    forked = tmp_path / "forked"
    with (
        GwctlServer(
            app,
            worker=worker,
            chdir=tmp_path,
            pythonpath=[str(APPS)],
            environ={"FORKED": str(forked)},
            allow_errors=["aborted"],
        ) as server,
        killed_afterwards() as kill,
    ):
        with (
            request_on(server.url, "/", timeout_s=AT_ONCE_S) as client,
            pytest.raises(ConnectionResetError),
        ):
            while client.recv(4096):
                pass
        kill.append(int(forked.read_text()))
        assert look(kill[0]) is not None
        server.signal(signal.SIGTERM)
        assert server.wait_for_exit() == 0


@pytest.mark.parametrize(
    ("worker", "loop"),
    [
        ("asgi", "uvloop"),
        ("asgi", "asyncio"),
        ("sync", "uvloop"),
        ("threads", "uvloop"),
        ("threads", "asyncio"),
    ],
)
def test_a_child_that_comes_back_into_the_loop_takes_no_wakeup_of_its_parents(tmp_path, worker, loop):
    """The loop of both waits at the same epoll instance, which tells whichever asks first."""
    (tmp_path / "shop.py").write_text(
        "import asyncio, os\n"
        "async def application(scope, receive, send):\n"
        "    loop = asyncio.get_running_loop()\n"
        "    forked = loop.create_future()\n"
        "    def fork():\n"
        "        reader, writer = os.pipe()\n"
        "        child = os.fork()\n"
        "        if child == 0:\n"
        "            os.read(reader, 1)\n"
        "            return\n"
        "        loop.call_soon_threadsafe(int)\n"
        "        os.write(writer, b'1')\n"
        "        forked.set_result(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
        "    if scope['type'] == 'http':\n"
        "        loop.call_soon(fork)\n"
        "        body = str(await forked).encode()\n"
        "        await loop.run_in_executor(None, int)\n"
        "        await send({'type': 'http.response.start', 'status': 200, 'headers': []})\n"
        "        await send({'type': 'http.response.body', 'body': body})\n"
    )
    with GwctlServer("shop:application", worker=worker, loop=loop, chdir=tmp_path) as server:
        for _ in range(3):
            assert httpx.get(server.url, timeout=AT_ONCE_S).text == "0"


def test_a_child_that_comes_back_into_the_loop_may_have_begun_to_wait_for_its_client(tmp_path):
    """Its connection was not read, and is from this turn of the loop on: the child has no such descriptor."""
    (tmp_path / "shop.py").write_text(
        "import asyncio, os\n"
        "async def application(scope, receive, send):\n"
        "    loop = asyncio.get_running_loop()\n"
        "    forked = loop.create_future()\n"
        "    def fork():\n"
        "        try:\n"
        "            receive().send(None)\n"
        "        except StopIteration:\n"
        "            child = os.fork()\n"
        "        if child:\n"
        "            forked.set_result(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
        "    if scope['type'] == 'http':\n"
        "        await asyncio.sleep(0.5)\n"
        "        loop.call_soon(fork)\n"
        "        body = str(await forked).encode()\n"
        "        while (await receive()).get('more_body'):\n"
        "            pass\n"
        "        await send({'type': 'http.response.start', 'status': 200, 'headers': []})\n"
        "        await send({'type': 'http.response.body', 'body': body})\n"
    )
    with GwctlServer("shop:application", worker="asgi", chdir=tmp_path) as server:
        assert httpx.post(server.url, content=bytes(3_000_000), timeout=AT_ONCE_S).text == "0"
