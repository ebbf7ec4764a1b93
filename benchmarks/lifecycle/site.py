"""The application that is deployed and the server that runs it, seen from outside.

A release answers with its number and says which process answered. Its import takes
`IMPORT_S`, waiting: so all servers' imports take the same on any machine.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.servers import ServerFailed, kill, last_line, session, spawn
from benchmarks.tools import free_port

if TYPE_CHECKING:
    from benchmarks.lifecycle.contenders import Contender

IMPORT_S: Final = 0.5
START_TIMEOUT_S: Final = 20.0
STOP_TIMEOUT_S: Final = 15.0
POLL_S: Final = 0.02
APP: Final = {
    "sync": "site_under_test:wsgi",
    "threads": "site_under_test:wsgi",
    "asgi": "site_under_test:asgi",
}

RELEASE: Final = """\
import os
import threading
import time

time.sleep({import_s})
{mistake}
BODY = b"release {number}"
LENGTH = str(len(BODY))
never = threading.Event()


def this_call_hangs():
    never.wait()


def wsgi(environ, start_response):
    if environ["PATH_INFO"] == "/hang":
        this_call_hangs()
    headers = [("Content-Type", "text/plain"), ("Content-Length", LENGTH), ("X-Worker", str(os.getpid()))]
    start_response("200 OK", headers)
    return [BODY]


async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({{"type": message["type"] + ".complete"}})
        await send({{"type": "lifespan.shutdown.complete"}})
        return
    if scope["path"] == "/hang":
        this_call_hangs()
    pid = str(os.getpid()).encode()
    headers = [(b"content-type", b"text/plain"), (b"content-length", LENGTH.encode()), (b"x-worker", pid)]
    await send({{"type": "http.response.start", "status": 200, "headers": headers}})
    await send({{"type": "http.response.body", "body": BODY}})
"""
MISTAKE: Final = "import a_module_that_is_not_there"


@dataclass(frozen=True)
class Seen:
    """One answer: what was said, and by which process; both empty when there was none."""

    body: str = ""
    pid: int = 0


@dataclass
class Site:
    """A running server and the folder of its application."""

    contender: Contender
    folder: Path
    port: int
    process: subprocess.Popen[bytes]
    release: int = 1

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def output(self) -> str:
        return (self.folder / "output").read_text("utf-8", "replace")

    @property
    def processes(self) -> list[int]:
        return session(self.pid)

    def deploy(self, *, broken: bool = False) -> None:
        self.release += 1
        deploy(self.folder, self.release, broken=broken)

    def ask(self, timeout_s: float = 2.0) -> Seen:
        """On a connection of its own."""
        return ask(self.port, timeout_s)

    def answering(self) -> int:
        """The pid of a process that answers: never 0, which to kill(2) is all of our own group.

        Raises:
            TimeoutError: None does.
        """
        until = time.monotonic() + START_TIMEOUT_S
        while not (pid := self.ask().pid):
            if time.monotonic() > until:
                raise TimeoutError(f"port {self.port} does not answer")
        return pid

    def all_new(self) -> bool:
        """Twelve answers in a row come from the release that was deployed last."""
        return all(self.ask().body == f"release {self.release}" for _ in range(12))

    @property
    def ended(self) -> bool:
        """Whether the master has."""
        return self.process.poll() is not None

    def stop(self) -> int:
        """SIGTERM; returns how many processes are left after `STOP_TIMEOUT_S`."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)
        wait(lambda: self.ended and not self.processes, STOP_TIMEOUT_S)
        return len(self.processes)


def deploy(folder: Path, number: int, *, broken: bool = False) -> None:
    text = RELEASE.format(import_s=IMPORT_S, number=number, mistake=MISTAKE if broken else "")
    beside = folder / "site_under_test.new"
    beside.write_text(text, "utf-8")
    beside.replace(folder / "site_under_test.py")


def ask(port: int, timeout_s: float) -> Seen:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request("GET", "/", headers={"Connection": "close"})
        response = connection.getresponse()
        return Seen(response.read().decode("latin-1"), int(response.getheader("X-Worker") or 0))
    except (OSError, http.client.HTTPException):
        return Seen()
    finally:
        connection.close()


def wait(condition: Callable[[], bool], timeout_s: float) -> float | None:
    """Seconds until it came true; None when it did not."""
    begun, pause = time.monotonic(), threading.Event()
    while not condition():
        if time.monotonic() - begun > timeout_s:
            return None
        pause.wait(POLL_S)
    return time.monotonic() - begun


def begin(contender: Contender, folder: Path, port: int, output: str) -> subprocess.Popen[bytes]:
    environment = {
        "RUNTIME_DIRECTORY": str(folder),
        "PYTHONPATH": str(folder),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return spawn(contender.command(folder, port), environment, folder / output, cwd=folder)


@contextlib.contextmanager
def running(contender: Contender, folder: Path) -> Iterator[Site]:
    """Start it with the first release; kill all that it left.

    Raises:
        ServerFailed: It ended, or did not answer in time.
    """
    port = free_port()
    deploy(folder, 1)
    site = Site(contender, folder, port, begin(contender, folder, port, "output"))
    try:
        if wait(lambda: bool(site.ask().body) or site.ended, START_TIMEOUT_S) is None:
            raise ServerFailed(f"no answer in {START_TIMEOUT_S:g} s: {last_line(site.output)}")
        if site.ended:
            raise ServerFailed(f"ended with status {site.process.returncode}: {last_line(site.output)}")
        yield site
    finally:
        kill(site.process)
