"""Accepting: out of descriptors, and clients that are gone before they are served."""

from __future__ import annotations

import contextlib
import errno
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.engine import WORKER_CLASSES, Engine
from tests.support.engine_apps import application
from tests.support.raw import reset_at_close
from tests.support.tls import Files
from tests.support.wait import until

ROOT = Path(__file__).resolve().parents[4]

# In a process of its own: the limit of open files is the process's.
_EXHAUST = """
import os, resource, socket, sys, time
sys.path.insert(0, sys.argv[1])
from tests.support.engine import Engine
from tests.support.engine_apps import application
from tests.support.wait import until
from gwctl.workers.balancing import eviction

eviction.WAIT_MIN_S = 60.0  # the idle client would yield room for the new one: not what is looked at here
with Engine(application(sys.argv[2]), sys.argv[2]) as engine:
    with engine.connect() as client:
        assert client.get().status == 200
    waiting = [socket.create_connection(("127.0.0.1", engine.port)) for _ in range(3)]
    for sock in waiting:
        sock.close()
    client = engine.connect()
    assert client.get().status == 200
    until(lambda: engine.call(lambda: engine.server.connections) == 1, "the others to be gone")
    spare = socket.socket()
    log = os.open(engine.log_path, os.O_RDONLY)
    used = max(int(name) for name in os.listdir("/proc/self/fd"))
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 1, limits[1]))
    engine.server._acceptor._descriptors._limit = used + 1  # as if it had been so from the beginning
    hoard = []
    try:
        while True:
            hoard.append(os.dup(0))
    except OSError:
        pass
    for _ in range(int(sys.argv[3])):
        os.close(hoard.pop())
    spare.connect(("127.0.0.1", engine.port))
    spare.sendall(b"GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
    until(lambda: b"Too many open files" in os.pread(log, 10000, 0), "the line in the log")
    before = time.process_time()
    seen = engine.server._sweep_at
    until(lambda: engine.server._sweep_at > seen + 1.5, "two sweeps")
    assert time.process_time() - before < 0.5, "accepting spins"
    assert client.get().status == 200
    for fd in hoard:
        os.close(fd)
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    spare.settimeout(20)
    assert spare.recv(100).startswith(b"HTTP/1.1 200 ")
    assert engine.log.count("Too many open files") == 1
    client.sock.close()
print("recovered")
"""


@pytest.mark.parametrize("worker_class", WORKER_CLASSES)
@pytest.mark.parametrize("left", [0, 1])
def test_out_of_descriptors_pauses_and_recovers(worker_class: str, left: int) -> None:
    """One line in the log, no spinning, connections kept meanwhile; the waiting client is served after.

    With one descriptor left a connection can be accepted, but a thread's own dup of it can't be made.
    """
    run = subprocess.run(
        [sys.executable, "-c", _EXHAUST, str(ROOT), worker_class, str(left)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.stdout.strip() == "recovered", run.stderr


@pytest.mark.parametrize("worker_class", WORKER_CLASSES)
def test_clients_that_reset_before_they_are_served(worker_class: str) -> None:
    with Engine(application(worker_class), worker_class) as engine:
        engine.call(engine.server.park)
        for n in range(20):
            client = engine.connect()
            if n % 2:
                client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            reset_at_close(client.sock)
            client.sock.close()
        engine.call(engine.server.serve)
        with engine.connect() as client:
            assert client.get().body == b"hello"
        until(lambda: engine.call(lambda: engine.server.connections) == 0, "the connections to be gone")


@pytest.mark.parametrize("worker_class", WORKER_CLASSES)
def test_many_connections_at_once(worker_class: str) -> None:
    with Engine(application(worker_class), worker_class) as engine:
        clients = [engine.connect() for _ in range(200)]
        for client in clients:
            client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert {client.response().body for client in clients} == {b"hello"}
        for client in clients:
            client.sock.close()
        until(lambda: engine.call(lambda: engine.server.connections) == 0, "the connections to be gone")


def test_an_error_that_is_none_of_the_known_is_logged_and_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    with Engine(application("sync"), "sync") as engine:
        accept = engine.server._acceptor
        failures = iter([OSError(errno.EINVAL, "Invalid argument"), OSError(errno.ECONNABORTED, "aborted")])

        class Failing:
            def __init__(self, sock: socket.socket) -> None:
                self.sock = sock

            def accept(self):
                error = next(failures, None)
                if error is not None:
                    raise error
                return self.sock.accept()

            def fileno(self) -> int:
                return self.sock.fileno()

        class Stub:
            def __init__(self, listener) -> None:
                self.sock = Failing(listener.sock)
                self.url = listener.url

        stub = Stub(engine.assignment.listeners[0])
        assert engine.call(lambda: accept._accept_one(stub)) is False
        assert engine.call(lambda: accept._accept_one(stub)) is True
        engine.wait_for_log("cannot accept on http://test: Invalid argument")
        with engine.connect() as client:
            assert client.get().body == b"hello"


class Struck:
    """A loop in which somebody raises an exception while a connection's transport is made."""

    def __init__(self, loop: Any, where: str) -> None:
        self._loop = loop
        self._where = where
        self.struck = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    def connect_accepted_socket(self, factory: Any, sock: Any) -> Any:
        if self._where == "before":
            self.strike()
        return self._steps(self._loop.connect_accepted_socket(factory, sock))

    def _steps(self, setup: Any) -> Any:
        try:
            if self._where == "at first":
                self.strike()
            while True:
                awaited = setup.send(None)
                yield Future(awaited, self if self._where == "before it waits" else None)
        except StopIteration:
            if self._where == "at the end":
                self.strike()
        finally:
            setup.close()

    def strike(self) -> None:
        self._where = ""  # once
        self.struck += 1
        raise Strike


class Future:
    def __init__(self, awaited: Any, loop: Struck | None) -> None:
        self._awaited = awaited
        self._struck = loop

    def add_done_callback(self, callback: Any) -> None:
        if self._struck is not None:
            self._struck.strike()
        self._awaited.add_done_callback(callback)


class Strike(Exception):
    pass


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("worker_class", WORKER_CLASSES)
@pytest.mark.parametrize("where", ["before", "at first", "before it waits", "at the end"])
def test_a_drain_does_not_wait_for_a_setup_that_an_exception_has_ended(
    worker_class: str, where: str, tls: bool, shop: Files
) -> None:
    context = shop.server() if tls else None
    with Engine(application(worker_class), worker_class, tls=context) as engine:
        acceptor: Any = engine.server._acceptor
        loop = acceptor._loop
        struck = Struck(loop, where)
        engine.call(lambda: setattr(acceptor, "_loop", struck))
        with engine.connect() as client:
            until(lambda: struck.struck, "the exception")
            if where in {"before", "at first"}:
                with contextlib.suppress(ConnectionResetError):
                    assert client.at_end()
        engine.call(lambda: setattr(acceptor, "_loop", loop))
        assert all("Strike" in error for error in engine.loop_errors)
        engine.loop_errors.clear()
        until(lambda: not engine.call(lambda: engine.server.connections), "nobody to be left")
        engine.call(lambda: engine.server.drain(sweep=False))
        assert engine.call(lambda: acceptor.idle and engine.server.drained)
