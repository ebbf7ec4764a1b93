"""A worker's life after its boot: each class serves, signals and orders end it, the master dies."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from gwctl.ipc.assignment import DUMP_SIGNAL
from tests.support import processes
from tests.support.apps import write_shop
from tests.support.processes import signals, wait_until_stopped
from tests.support.raw import refuses
from tests.support.wait import until
from tests.support.worker import StubWorker

WSGI = """
import os, signal, time
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    if environ["PATH_INFO"] == "/wait":
        open("started", "w").close()
        while not os.path.exists("go"):
            time.sleep(0.01)
    return [b"hello"]
"""

ASGI = """
import asyncio, os
async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        scope["state"]["greeting"] = b"hello"
        await send({"type": "lifespan.startup.complete"})
        await receive()
        open("shut-down", "w").close()
        await send({"type": "lifespan.shutdown.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    if scope["path"] == "/wait":
        open("started", "w").close()
        while not os.path.exists("go"):
            await asyncio.sleep(0.01)
    await send({"type": "http.response.body", "body": scope["state"]["greeting"]})
"""

KINDS = [(WSGI, "sync"), (WSGI, "threads"), (WSGI, "asgi"), (ASGI, "asgi"), (ASGI, "sync"), (ASGI, "threads")]
each_class = pytest.mark.parametrize(("source", "worker_class"), KINDS)
native = pytest.mark.parametrize(("source", "worker_class"), [KINDS[0], KINDS[1], KINDS[3]])


class Request(threading.Thread):
    """A request to /wait, under way in a thread of its own."""

    def __init__(self, worker: StubWorker, folder: Path) -> None:
        super().__init__(daemon=True)
        self.worker = worker
        self.answer: object = None
        self.start()
        until((folder / "started").exists, "the request to reach the application")

    def run(self) -> None:
        try:
            self.answer = self.worker.get("/wait")
        except OSError as error:
            self.answer = error


@each_class
def test_each_class_serves_and_drains(tmp_path, source, worker_class):
    with StubWorker(write_shop(tmp_path, source), "shop", worker=worker_class) as worker:
        assert worker.ready()["worker_class"] == worker_class
        worker.send(t="serve")
        assert worker.get() == (200, "hello")
        worker.send(t="drain", timeout_s=10)
        worker.expect("draining")
        assert worker.expect("drained")["cut"] == 0
        assert worker.exit_status() == 0
        assert (tmp_path / "shut-down").exists() == (source is ASGI)
        assert "error" not in worker.stderr


@each_class
def test_term_closes_at_once_and_finishes_what_runs(tmp_path, source, worker_class):
    with StubWorker(write_shop(tmp_path, source), "shop", worker=worker_class).serving() as worker:
        request = Request(worker, tmp_path)
        worker.signal(signal.SIGTERM)
        until(
            lambda: refuses(f"http://127.0.0.1:{worker.port}"),
            "the listener to close in the middle of the request",
        )
        (tmp_path / "go").touch()
        request.join(20)
        assert request.answer == (200, "hello")
        worker.expect("drained")
        assert worker.exit_status() == 0


@native
def test_when_the_master_dies_listeners_close_and_the_request_is_finished(tmp_path, source, worker_class):
    with StubWorker(write_shop(tmp_path, source), "shop", worker=worker_class).serving() as worker:
        request = Request(worker, tmp_path)
        worker.master.kill()
        until(lambda: refuses(f"http://127.0.0.1:{worker.port}"), "the listener to close")
        (tmp_path / "go").touch()
        request.join(20)
        assert request.answer == (200, "hello")
        until(worker.is_gone, "the worker to end")


@native
def test_a_stuck_worker_outlives_its_master_by_the_drain_timeout_only(tmp_path, source, worker_class):
    with StubWorker(
        write_shop(tmp_path, source), "shop", worker=worker_class, timeouts={"drain_timeout_s": 0.5}
    ).serving() as worker:
        Request(worker, tmp_path)
        worker.master.kill()
        until(worker.is_gone, "the worker to end")
        if worker_class == "asgi":  # it cuts the request, and ends in the usual way
            assert "drain_timeout_s (0.5 s) is over: 1 request cut" in worker.stderr
        else:
            assert "Timeout (0:00:03.500000)!" in worker.stderr
        assert 'shop.py"' in worker.stderr


def test_a_main_thread_that_runs_no_bytecode_does_not_escape(tmp_path):
    """A C library that waits for a database is played by sigsuspend with all signals blocked."""
    source = """
import ctypes
def application(environ, start_response):
    open("started", "w").close()
    ctypes.CDLL(None).sigsuspend(ctypes.create_string_buffer(b"\\xff" * 128))
"""
    with StubWorker(
        write_shop(tmp_path, source), "shop", timeouts={"drain_timeout_s": 0.3}
    ).serving() as worker:
        Request(worker, tmp_path)
        worker.master.kill()
        until(worker.is_gone, "the worker to end")


@native
def test_signals_that_are_the_master_s_do_nothing_to_a_worker(tmp_path, source, worker_class):
    source = "import signal\nfor n in (1, 2, 3, 10, 12, 15): signal.signal(n, signal.SIG_DFL)\n" + source
    with StubWorker(write_shop(tmp_path, source), "shop", worker=worker_class).serving() as worker:
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTTIN):
            worker.signal(number)
        assert worker.get() == (200, "hello")
        worker.signal(DUMP_SIGNAL)
        worker.logged("most recent call first")
        assert worker.get() == (200, "hello")
        worker.signal(signal.SIGTERM)
        assert worker.exit_status() == 0


@native
def test_signals_that_come_at_once_harm_nothing(tmp_path, source, worker_class):
    """As when it goes on after a stop: each handler interrupts the one before, on a stack that is small."""
    with StubWorker(write_shop(tmp_path, source), "shop", worker=worker_class).serving() as worker:
        assert worker.get() == (200, "hello")
        worker.signal(signal.SIGSTOP)
        wait_until_stopped(worker.pid)
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, *range(37, 45)):
            if number in signals(worker.pid, "SigCgt"):
                worker.signal(number)
        worker.signal(signal.SIGCONT)
        assert worker.get() == (200, "hello")


@native
def test_quit_ends_at_once_and_counts_what_it_cut(tmp_path, source, worker_class):
    with StubWorker(write_shop(tmp_path, source), "shop", worker=worker_class).serving() as worker:
        Request(worker, tmp_path)
        worker.signal(signal.SIGQUIT)
        assert worker.expect("drained")["cut"] == 1
        assert worker.exit_status() == 0


def test_the_application_s_own_children_have_default_signals(tmp_path):
    source = """
import multiprocessing, time
context = multiprocessing.get_context("fork")
def application(environ, start_response):
    child = context.Process(target=time.sleep, args=(60,))
    child.start()
    child.terminate()
    child.join(20)
    start_response("200 OK", [])
    return [str(child.exitcode).encode()]
"""
    with StubWorker(write_shop(tmp_path, source), "shop", worker="sync").serving() as worker:
        assert worker.get() == (200, str(-signal.SIGTERM))
        assert worker.get() == (200, str(-signal.SIGTERM))


def test_a_child_of_the_application_does_not_hold_the_port(tmp_path):
    source = """
import os, time
def application(environ, start_response):
    pid = os.fork()
    if pid == 0:
        time.sleep(60)
        os._exit(0)
    start_response("200 OK", [])
    return [str(pid).encode()]
"""
    with StubWorker(write_shop(tmp_path, source), "shop", worker="sync").serving() as worker:
        children = [int(worker.get()[1]), int(worker.get()[1])]
        try:
            worker.send(t="drain", timeout_s=10)
            assert worker.exit_status() == 0
            until(lambda: refuses(f"http://127.0.0.1:{worker.port}"), "the port to be free")
        finally:
            assert all(processes.look(child) for child in children), "only then the test means something"
            for child in children:
                os.kill(child, signal.SIGKILL)


def test_drain_during_lifespan_startup_does_not_wait_for_it(tmp_path):
    source = """
import asyncio
async def application(scope, receive, send):
    await receive()
    open("starting", "w").close()
    await asyncio.Event().wait()
"""
    with StubWorker(write_shop(tmp_path, source), "shop", worker="asgi") as worker:
        until((tmp_path / "starting").exists, "startup to begin")
        worker.send(t="drain", timeout_s=10)
        assert worker.exit_status() == 0
        assert not any(message["t"] in {"ready", "failed"} for message in worker.messages)


def test_websockets_are_told_1012_on_drain(tmp_path):
    source = """
async def application(scope, receive, send):
    if scope["type"] != "websocket":
        raise NotImplementedError
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] != "websocket.disconnect":
        await send({"type": "websocket.send", "text": message["text"] + scope["path"]})
    with open("codes", "a") as codes:
        print(message["code"], file=codes)
"""
    timeouts = {"drain_timeout_s": 1.0}
    with (
        StubWorker(
            write_shop(tmp_path, source), "shop", worker="asgi", timeouts=timeouts
        ).serving() as worker,
        contextlib.ExitStack() as closing,
    ):
        clients = [closing.enter_context(connect(f"ws://127.0.0.1:{worker.port}/chat")) for _ in range(5)]
        for client in clients:
            client.send("hello ")
            assert client.recv() == "hello /chat"
        worker.send(t="drain", timeout_s=10)
        assert worker.expect("draining")["connections"] == 5
        for client in clients:
            with pytest.raises(ConnectionClosed) as caught:
                client.recv()
            assert caught.value.rcvd.code == 1012
        assert worker.exit_status() == 0
        assert (tmp_path / "codes").read_text().split() == ["1012"] * 5
        assert "error" not in worker.stderr


def test_park_and_serve_again(tmp_path):
    with StubWorker(write_shop(tmp_path, WSGI), "shop", worker="sync").serving() as worker:
        assert worker.get() == (200, "hello")
        worker.send(t="park")
        until(lambda: worker.title.endswith("parked"), lambda: worker.title)
        with pytest.raises(TimeoutError):
            worker.get(timeout_s=0.3)
        worker.send(t="serve")
        assert worker.get() == (200, "hello")


def test_exit_functions_of_the_application_run_and_output_is_flushed(tmp_path):
    source = "import atexit\natexit.register(print, 'flushed at exit')\n" + WSGI
    with StubWorker(write_shop(tmp_path, source), "shop", worker="sync").serving() as worker:
        worker.send(t="drain", timeout_s=10)
        assert worker.exit_status() == 0
        assert "flushed at exit" in worker.stderr


RAISES = """
async def application(scope, receive, send):
    message = await receive()
    body = message["body"]
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})
"""


@pytest.mark.parametrize("worker_class", ["asgi", "sync", "threads"])
@pytest.mark.parametrize("mode", ["auto", "off"])
def test_an_application_that_raises_in_its_lifespan_is_served_without(tmp_path, worker_class, mode):
    """It takes whatever comes for a request; the specification says to go on."""
    with StubWorker(
        write_shop(tmp_path, RAISES), "shop", worker=worker_class, lifespan=mode
    ).serving() as worker:
        assert worker.get() == (200, "hello")
        said = "the application raised at lifespan startup: KeyError: 'body'. Served without lifespan"
        assert worker.stderr.count(said) == (mode == "auto")
        worker.send(t="drain", timeout_s=10)
        assert worker.exit_status() == 0


@pytest.mark.parametrize("mode", ["auto", "on", "off"])
@pytest.mark.parametrize("worker_class", ["asgi", "sync", "threads"])
def test_a_startup_that_is_said_to_have_failed(tmp_path, worker_class, mode):
    source = (
        "async def application(scope, receive, send):\n"
        "    if scope['type'] == 'lifespan':\n"
        "        await receive()\n"
        "        await send({'type': 'lifespan.startup.failed', 'message': 'no database'})\n"
    )
    with StubWorker(write_shop(tmp_path, source), "shop", worker=worker_class, lifespan=mode) as worker:
        if mode == "off":
            worker.expect("ready")
            worker.send(t="drain", timeout_s=10)
        else:
            assert worker.expect("failed")["message"] == "lifespan startup failed: no database"
        assert worker.exit_status() == (0 if mode == "off" else 3)


@pytest.mark.parametrize("worker_class", ["asgi", "sync", "threads"])
def test_a_lifespan_that_is_wanted_and_fails_fails_the_boot(tmp_path, worker_class):
    source = "async def application(scope, receive, send):\n    await receive()\n    raise OSError('no database')\n"
    with StubWorker(write_shop(tmp_path, source), "shop", worker=worker_class, lifespan="on") as worker:
        failed = worker.expect("failed")
        assert failed["kind"] == "lifespan"
        assert failed["message"] == "lifespan startup failed: OSError: no database"
        assert failed["traceback"].startswith(f'  File "{tmp_path}/shop.py", line 3, in application')
        assert worker.exit_status() == 3


def test_a_master_that_died_before_the_worker_could_ask(tmp_path):
    """master_pid is not the parent: as if the master had died while the worker started."""
    with StubWorker(write_shop(tmp_path, WSGI), "shop", options={"master_pid": os.getpid()}) as worker:
        assert worker.exit_status() == 0
        assert not any(message["t"] in {"ready", "failed"} for message in worker.messages)
