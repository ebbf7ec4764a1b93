"""A `Server` of one worker class on a real event loop, in a thread of the test's own process.

    with Engine(application, "threads", parser="python") as engine, engine.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.response().status == 200

The client is a blocking socket with a deadline: it sends what the test says, byte for byte,
and reads one response at a time. `Engine.call` runs a function in the loop's thread.
"""

from __future__ import annotations

import asyncio
import atexit
import importlib.util
import os
import shutil
import socket
import ssl
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from gwctl.config.model import worker_class as classes
from gwctl.config.model.settings import Limits, PoolSettings
from gwctl.config.model.timeouts import Timeouts
from gwctl.ipc.assignment import Assignment, Listener
from gwctl.ipc.channel import Channel
from gwctl.ipc.connection_queue import ConnectionQueue
from gwctl.ipc.scoreboard import Record, Scoreboard
from gwctl.log.event_log import Log
from gwctl.log.level import Level
from gwctl.workers.app.event_loop import new_loop
from gwctl.workers.app.loader import LoadedApplication
from gwctl.workers.context import WorkerContext
from gwctl.workers.server import Server
from tests.support.wait import DEADLINE_S, until

WORKER_CLASSES = ("sync", "threads", "asgi")
PARSERS = ("c", "python") if importlib.util.find_spec("gunicorn_h1c") else ("python",)
"""Those installed here; the first one is used where nothing else is said."""
UNDER = {"asgi": "asgi"}
"""Which worker class an engine for ASGI gets: tests that hold for all have another put here (`asgi_under`)."""
APPENDING = os.O_WRONLY | os.O_CREAT | os.O_APPEND
STUBBORN_S = 1.0
"""How long the end of an engine waits for its application's tasks and threads."""


@dataclass(frozen=True)
class Response:
    """``headers`` has lower-case names; a repeated field keeps its last value."""

    status: int
    headers: dict[str, str]
    body: bytes
    chunks: tuple[bytes, ...] = ()


class Truncated(AssertionError):
    """The connection ended before the response did."""


class Client:
    """One raw connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        sock.settimeout(DEADLINE_S)
        self.buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.sock.close()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def get(self, path: str = "/", *headers: str) -> Response:
        lines = [f"GET {path} HTTP/1.1", "Host: test", *headers]
        self.send("".join(f"{line}\r\n" for line in lines).encode() + b"\r\n")
        return self.response()

    def finish_sending(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)

    def receive(self) -> bytes:
        """What comes next, or b"" at the end; a reset raises ConnectionResetError."""
        if self.buffer:
            data, self.buffer = self.buffer, b""
            return data
        return self.sock.recv(65536)

    def read_until(self, mark: bytes) -> bytes:
        while mark not in self.buffer:
            data = self.sock.recv(65536)
            if not data:
                raise Truncated(f"ended after {self.buffer[-200:]!r}, waiting for {mark!r}")
            self.buffer += data
        end = self.buffer.index(mark) + len(mark)
        found, self.buffer = self.buffer[:end], self.buffer[end:]
        return found

    def read_exactly(self, size: int) -> bytes:
        parts = [self.buffer]
        have = len(self.buffer)
        while have < size:
            data = self.sock.recv(1 << 20)
            if not data:
                raise Truncated(f"ended {size - have} bytes early")
            parts.append(data)
            have += len(data)
        whole = b"".join(parts)
        self.buffer = whole[size:]
        return whole[:size]

    def rest(self) -> bytes:
        """Everything up to the end of the connection."""
        parts = [self.buffer]
        self.buffer = b""
        while data := self.sock.recv(1 << 20):
            parts.append(data)
        return b"".join(parts)

    def at_end(self) -> bool:
        """Wait for the end; False if something else comes first."""
        return not self.buffer and not self.sock.recv(1)

    def head(self) -> tuple[int, dict[str, str]]:
        line, *fields = self.read_until(b"\r\n\r\n").decode("latin-1")[:-4].split("\r\n")
        pairs = [field.split(": ", 1) for field in fields]
        return int(line.split(" ")[1]), {name.lower(): value for name, value in pairs}

    def chunk(self) -> bytes:
        size = int(self.read_until(b"\r\n"), 16)
        data = self.read_exactly(size)
        assert self.read_exactly(2) == b"\r\n"
        return data

    def response(self, *, head_only: bool = False) -> Response:
        status, headers = self.head()
        if head_only or status in {204, 304} or status < 200:
            return Response(status, headers, b"")
        if "content-length" in headers:
            return Response(status, headers, self.read_exactly(int(headers["content-length"])))
        if headers.get("transfer-encoding") != "chunked":
            return Response(status, headers, self.rest())
        chunks = tuple(self.chunks())
        return Response(status, headers, b"".join(chunks), chunks)

    def chunks(self) -> Iterator[bytes]:
        """The chunks of the body, after `head`."""
        while data := self.chunk():
            yield data


class Process:
    """What the server takes for its process."""

    def __init__(self) -> None:
        self.given_up_requests: list[str] = []
        self.slow_requests: list[tuple[str, int]] = []
        self.is_unable = False

    def given_up(self, request: str, _age_s: float) -> None:
        self.given_up_requests.append(request)

    def slow_ended(self, request: str, status: int, _seconds: float) -> None:
        self.slow_requests.append((request, status))

    def unable(self) -> None:
        self.is_unable = True


def _resolve(
    worker_class: str, interface: str, settings: dict[str, Any], timeouts: dict[str, float] | None
) -> tuple[str, str, dict[str, Any], dict[str, float] | None]:
    """Return the same as the ASGI cases have it that are played under another class (`UNDER`)."""
    worker_class, _, other = worker_class.partition("+")
    interface = interface or other
    if worker_class == "asgi" and not interface and UNDER["asgi"] != "asgi":
        worker_class, interface = UNDER["asgi"], "asgi"
        settings = {"body_buffering": False, "threads": 32} | settings  # as it is at home
        timeouts = {"request_timeout_s": 0.0} | (timeouts or {})  # the same
    return worker_class, interface, settings, timeouts


def _remove(folder: Path, maker: int, uid: int) -> None:
    """Remove it, whatever a test does at the moment in which its engine is collected.

    Not in a child that it has forked; and at the end if it has become another user for a while.
    """
    if os.getpid() != maker:
        return
    if os.geteuid() == uid:
        shutil.rmtree(folder)
    else:
        atexit.register(_remove, folder, maker, uid)


class Engine:
    """See the module. ``timeouts`` and ``limits`` replace single settings.

    ``sweep_s``: how often the server looks for what is due. A short limit has it look often as well, but
    that holds for every client of the test, and one that is not meant may pause on a busy machine.

    With ``siblings`` others may be put ``beside`` it: they share its listener, scoreboard and
    connection queue, as workers of one pool do.
    """

    server: Server

    def __init__(
        self,
        application: Any,
        worker_class: str = "sync",
        *,
        parser: str = PARSERS[0],
        timeouts: dict[str, float] | None = None,
        limits: dict[str, int] | None = None,
        unix: bool = False,
        processes: int = 1,
        access_log: bool = False,
        state: dict[str, Any] | None = None,
        siblings: bool = False,
        beside: Engine | None = None,
        tls: ssl.SSLContext | None = None,
        interface: str = "",
        sweep_s: float = 0.0,
        **settings: Any,
    ) -> None:
        worker_class, interface, settings, timeouts = _resolve(worker_class, interface, settings, timeouts)
        self.folder = Path(tempfile.mkdtemp(prefix="gwctl-engine-"))
        weakref.finalize(
            self, _remove, self.folder, os.getpid(), os.geteuid()
        )  # not at exit: tests read the log after it
        self.beside = beside
        self.board: Scoreboard = beside.board if beside else Scoreboard(4)
        self.queue: ConnectionQueue | None = beside.queue if beside else ConnectionQueue.open()
        self.record: Record = self.board.allocate()  # type: ignore[assignment]
        self.board.close_descriptor()
        self.log_path = self.folder / "log"
        self.access_path = self.folder / "access"
        self._log_fd = os.open(self.log_path, APPENDING)
        self._listener: socket.socket = beside._listener.dup() if beside else self._listen(unix)
        self._channels = socket.socketpair()
        access_fd = os.open(self.access_path, APPENDING) if access_log else -1
        self.assignment = Assignment(
            worker=0,
            pool="web",
            slot=0,
            generation=1,
            instance="test",
            settings=PoolSettings(
                app="test",
                worker=worker_class,  # type: ignore[arg-type]
                timeouts=msgspec.structs.replace(Timeouts(), **(timeouts or {})),
                limits=msgspec.structs.replace(Limits(), **(limits or {})),
                **settings,
            ),
            processes=processes,
            listeners=(Listener(self._listener.dup(), "test", "http://test", tls is not None),),
            channel=Channel(self._channels[0]),
            record=self.record,
            access_log_fd=access_fd,
            log_level=Level.DEBUG,
            master_pid=os.getpid(),
            board=self.board if siblings or beside else None,
            queue=self.queue if siblings or beside else None,
            tls=tls,
            threads_given="threads" in settings,
        )
        interface = interface or ("asgi" if worker_class == "asgi" else "wsgi")
        kind = classes.WORKER_CLASSES[worker_class]
        self.application = LoadedApplication(application, interface, kind, "test", state or {})  # type: ignore[arg-type]
        self.parser, self.sweep_s = parser, sweep_s
        self.loop = new_loop(self.assignment.settings.loop)
        self.thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self.process = Process()
        self.loop_errors: list[str] = []

    def _listen(self, unix: bool) -> socket.socket:
        if unix:
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(str(self.folder / "socket"))
            listener.listen(128)
        else:
            listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
        listener.setblocking(False)
        return listener

    def __enter__(self) -> Self:
        self.thread.start()
        self.call(self._start)
        return self

    def _start(self) -> None:
        before = os.environ.get("GWCTL_PARSER")
        os.environ["GWCTL_PARSER"] = self.parser
        try:
            log = Log(self._log_fd, Level.DEBUG, "web.0 g1")
            self.server = Server(
                WorkerContext(self.loop, self.assignment, self.application, log, self.process)
            )
        finally:
            if before is None:
                del os.environ["GWCTL_PARSER"]
            else:
                os.environ["GWCTL_PARSER"] = before
        self.server.start()
        if self.sweep_s:
            self.server.sweep_s = self.sweep_s
            self.server._schedule_sweep()
        self.server.serve()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.set_exception_handler(lambda _loop, context: self.loop_errors.append(str(context)))
        self.loop.run_forever()

    def __exit__(self, kind: type[BaseException] | None, _exc: object, _tb: TracebackType | None) -> None:
        self.call(self.server.quit)
        until(lambda: not self.call(lambda: self.server.connections), "the connections to be gone")
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(DEADLINE_S)
        self.server.accounts.flush_due = False  # nobody will, and a sentry waits for it
        self.server.runner.end()
        if all_ended({thread.ident for thread in getattr(self.server.runner, "threads", ())}):
            end_loop(self.loop)
        self.board.release(self.record)
        for sock in (self._listener, *self._channels):
            sock.close()
        if self.queue is not None and self.beside is None:
            self.queue.close()
        os.close(self._log_fd)
        if kind is None:
            assert not self.loop_errors, self.loop_errors

    def call(self, function: Callable[[], Any]) -> Any:
        """Run ``function`` in the loop's thread; return what it returns."""
        future: Future[Any] = Future()

        def run() -> None:
            try:
                future.set_result(function())
            except BaseException as error:
                future.set_exception(error)

        self.loop.call_soon_threadsafe(run)
        return future.result(DEADLINE_S)

    def in_application(self, function: Callable[[], Any]) -> None:
        """Have ``function`` called in the event loop of an ASGI application."""
        loop = self.server.runner.application_loop or self.loop
        loop.call_soon_threadsafe(function)

    @property
    def under_way(self) -> int:
        """How many requests are not over, also behind their response."""
        return len(self.call(self.server.runner.under_way))

    def connect(self, receive_buffer: int = 0) -> Client:
        sock = socket.socket(self._listener.family)
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.settimeout(DEADLINE_S)
        sock.connect(self._listener.getsockname())
        return Client(sock)

    def only_connection(self) -> Any:
        """The one that is open, once it is accepted. Raises ValueError where there are others."""
        (connection,) = until(lambda: self.call(self.server.open_connections), "the connection")
        return connection

    def drain(self, sweep: bool = False) -> threading.Event:
        """Begin to drain; what is returned is set when nothing is left. ``sweep`` is that of `Server.drain`."""
        drained = threading.Event()
        self.call(lambda: self.server.drain(sweep, drained.set))
        return drained

    def ask(self, path: str = "/") -> Response:
        """What a new connection is answered."""
        client, response = self.served(path)
        client.sock.close()
        return response

    def served(self, path: str = "/") -> tuple[Client, Response]:
        """A new connection, and what it was answered; the next one, if this thread paused for too long at it.

        Where ``header_timeout_s`` is short that may be before anything was sent.
        """
        while True:
            began_at = time.monotonic()
            client = self.connect()
            try:
                return client, client.get(path)
            except (OSError, Truncated):
                client.sock.close()
                if time.monotonic() - began_at < self.assignment.settings.timeouts.header_timeout_s:
                    raise

    def sent(self, data: bytes) -> Client:
        """A new connection on which ``data`` was sent; the next one, if this thread paused for too long at it."""
        while True:
            began_at = time.monotonic()
            client = self.connect()
            with suppress(OSError):
                client.send(data)
                if time.monotonic() - began_at < self.assignment.settings.timeouts.header_timeout_s / 2:
                    return client
            client.sock.close()

    @property
    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

    @property
    def log(self) -> str:
        return self.log_path.read_text("utf-8")

    def wait_for_log(self, text: str) -> None:
        until(lambda: text in self.log, lambda: f"{text!r} in the log:\n{self.log}")

    def words(self, index: int) -> int:
        """A counter of the scoreboard, flushed."""
        self.call(self.server.accounts.flush)
        value: int = self.record.words[index]
        return value


def all_ended(threads: set[int]) -> bool:
    """Wait for threads, by their idents; False if an application holds one."""
    for thread in threading.enumerate():
        if thread.ident in threads:
            thread.join(STUBBORN_S)
            if thread.is_alive():
                return False
    return True


def end_loop(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel what still runs in ``loop``, which nobody turns, and close it; it stays open if a task goes on."""
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks and loop.run_until_complete(asyncio.wait(tasks, timeout=STUBBORN_S))[1]:
        return
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
