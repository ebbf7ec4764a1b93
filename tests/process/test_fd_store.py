"""Listeners outlive the master in the service manager's store: restarts and kills refuse nobody."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import httpx
import pytest

from tests.support import started, toml_text
from tests.support.processes import session_of
from tests.support.raw import refuses
from tests.support.server import ROOT
from tests.support.service_manager import ServiceManager
from tests.support.wait import until

APP = """
import time
from pathlib import Path

def application(environ, start_response):
    body = b"hello"
    if environ["PATH_INFO"] == "/slow":
        Path(environ["QUERY_STRING"]).touch()
        time.sleep(1)
        body = b"slow"
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


THINK_S = 0.01


class Service:
    """gwctl as a unit of the stand-in for systemd."""

    def __init__(self, folder: Path, bind: list[str]) -> None:
        self.folder = folder
        self.manager = ServiceManager(str(folder / "notify"))
        self.log_path = folder / "log"
        self.master: dict[str, str] = {}
        (folder / "shop.py").write_text(APP, "utf-8")
        self.web = {"app": "shop:application", "worker": "sync", "chdir": str(folder), "processes": 2}
        self.write(bind)
        self.process: started.Started | None = None
        self._began = 0
        self.sessions: list[int] = []

    def write(self, bind: list[str]) -> None:
        web = self.web | {"bind": bind, "reload": {"settle_s": 0.05}}
        tables = {"master": {"name": "kept", **self.master}, "pool": {"web": web}}
        (self.folder / "gw.toml").write_text(toml_text.dumps(tables), "utf-8")

    @property
    def log(self) -> str:
        """Since the last start."""
        return self.log_path.read_text("utf-8")[self._began :] if self.log_path.exists() else ""

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        self._began = self.log_path.stat().st_size if self.log_path.exists() else 0
        environ = {"PYTHONPATH": str(ROOT), "RUNTIME_DIRECTORY": str(self.folder)}
        with self.log_path.open("ab") as output:
            self.process = self.manager.start(["start", "-c", "gw.toml"], environ, self.folder, output)
        self.sessions.append(self.process.pid)

    def wait_until_serving(self) -> None:
        until(lambda: "serving:" in self.log, lambda: f"it to serve:\n{self.log}")
        self.manager.received()

    def end(self, number: signal.Signals) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        status = self.process.wait(60)
        self.manager.received()
        return status

    def url(self) -> str:
        found = re.search(r"http://[\d.]+:\d+", self.log)
        assert found, self.log
        return found[0]

    def gwctl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environ = os.environ | {"PYTHONPATH": str(ROOT), "RUNTIME_DIRECTORY": str(self.folder)}
        return started.run([*arguments, "-c", "gw.toml"], cwd=self.folder, environ=environ)

    def destroy(self) -> None:
        for session in self.sessions:
            for process in session_of(session):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)
        if self.process is not None:
            self.process.wait()
        self.manager.close()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    service = Service(tmp_path, ["127.0.0.1:0"])
    yield service
    service.destroy()


class Asking(threading.Thread):
    """Asks on a new connection each time, and thinks in between; what was refused, reset or cut is in ``failures``."""

    def __init__(self, url: str) -> None:
        super().__init__()
        parts = urlsplit(url)
        assert parts.hostname
        assert parts.port
        self._address = (parts.hostname, parts.port)
        self.over = threading.Event()
        self.failures: list[str] = []
        self.answers = 0

    def run(self) -> None:
        while not self.over.wait(THINK_S):
            try:
                with socket.create_connection(self._address, timeout=60) as sock:
                    sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                    received = b""
                    while block := sock.recv(65536):
                        received += block
            except OSError as error:
                self.failures.append(repr(error))
                continue
            if received.startswith(b"HTTP/1.1 200") and received.endswith(b"hello"):
                self.answers += 1
            else:
                self.failures.append(repr(received))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.over.set()
        self.join()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_restarts_and_kills_refuse_nobody(service: Service, number: signal.Signals) -> None:
    """Some of each under load, on a port that only the first start has chosen; what was in hand is finished."""
    service.start()
    service.wait_until_serving()
    url = service.url()
    with Asking(url) as one, Asking(url) as another:
        for turn in range(3):
            answered, started, slow = one.answers, service.folder / f"started.{turn}", list[str]()

            def ask(path: str = f"{url}/slow?{started.name}", into: list[str] = slow) -> None:
                into.append(httpx.get(path, timeout=60).text)

            client = threading.Thread(target=ask)
            client.start()
            until(lambda at=answered: one.answers > at, "answers before the end")
            until(started.exists, "the slow request to be served")
            service.end(number)
            service.start()
            service.wait_until_serving()
            assert service.url() == url
            client.join()
            assert slow == ["slow"]
    assert one.failures + another.failures == []
    assert service.end(signal.SIGTERM) == 0


def test_what_the_settings_drop_is_dropped(service: Service) -> None:
    """By a reload, and by a start with other settings."""
    service.write(["127.0.0.1:0", "127.0.0.1:00", "@".join(["unix:", f"gwctl-test-{os.getpid()}"])])
    service.start()
    service.wait_until_serving()
    names = sorted(name for name, _ in service.manager.store)
    assert names == sorted(
        ["gwctl;127.0.0.1%3A0", "gwctl;127.0.0.1%3A00", f"gwctl;unix%3A@gwctl-test-{os.getpid()}"]
    )
    service.write(["127.0.0.1:0", "127.0.0.1:00"])
    assert service.gwctl("reload").returncode == 0
    until(
        lambda: service.manager.received() is not None and len(service.manager.store) == 2,
        "one to be dropped",
    )
    service.end(signal.SIGTERM)
    service.write(["127.0.0.1:0"])
    service.start()
    service.wait_until_serving()
    assert [name for name, _ in service.manager.store] == ["gwctl;127.0.0.1%3A0"]


def test_a_unix_socket_keeps_its_file_and_is_bound_anew_if_that_is_gone(service: Service) -> None:
    path = service.folder / "web.sock"
    service.write([f"unix:{path}"])
    service.start()
    service.wait_until_serving()
    inode = path.stat().st_ino
    assert service.end(signal.SIGTERM) == 0
    assert path.stat().st_ino == inode, "clients wait there"
    waiting = socket.socket(socket.AF_UNIX)
    waiting.connect(str(path))
    waiting.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    service.start()
    service.wait_until_serving()
    assert waiting.makefile("rb").read().endswith(b"hello")
    waiting.close()
    service.end(signal.SIGTERM)
    path.unlink()
    service.start()
    service.wait_until_serving()
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(path))) as client:
        assert client.get("http://localhost/").text == "hello"
    assert len(service.manager.store) == 1


def test_what_is_kept_survives_an_upgrade(service: Service) -> None:
    service.start()
    service.wait_until_serving()
    url = service.url()
    service.write(["127.0.0.1:0", "127.0.0.1:00"])
    assert service.gwctl("upgrade").returncode == 0
    until(
        lambda: service.manager.received() is not None and len(service.manager.store) == 2, "both to be kept"
    )
    service.end(signal.SIGKILL)
    waiting = socket.create_connection((urlsplit(url).hostname, urlsplit(url).port or 0))
    service.start()
    waiting.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert waiting.makefile("rb").read().endswith(b"hello")
    waiting.close()


def test_gwctl_stop_means_it(service: Service) -> None:
    service.start()
    service.wait_until_serving()
    url = service.url()
    assert service.gwctl("stop").returncode == 0
    assert service.process is not None
    assert service.process.wait(60) == 0
    service.manager.received()
    assert service.manager.store == []
    assert refuses(url)


def test_a_start_that_fails_loses_nothing(service: Service) -> None:
    """Neither does the second address, which is taken, cost the first."""
    service.start()
    service.wait_until_serving()
    url = service.url()
    service.end(signal.SIGTERM)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        service.write(["127.0.0.1:0", f"127.0.0.1:{taken.getsockname()[1]}"])
        service.start()
        assert service.process is not None
        assert service.process.wait(60) == 1
    service.write(["127.0.0.1:0"])
    service.start()
    service.wait_until_serving()
    assert service.url() == url
    assert httpx.get(url).text == "hello"


def test_another_address_on_the_same_port(service: Service) -> None:
    """What the settings had before is in the way of what they have now, and gives way."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    service.write([f"127.0.0.1:{port}"])
    service.start()
    service.wait_until_serving()
    service.end(signal.SIGTERM)
    service.write([f"0.0.0.0:{port}"])
    service.start()
    service.wait_until_serving()
    assert httpx.get(f"http://127.0.0.1:{port}").text == "hello"
    assert [name for name, _ in service.manager.store] == [f"gwctl;0.0.0.0%3A{port}"]


def test_a_start_that_fails_late_leaves_clients_waiting(service: Service) -> None:
    """Its listeners are closed when it ends, but not shut: the next start has them, and who waits in them."""
    service.start()
    service.wait_until_serving()
    url = service.url()
    service.end(signal.SIGTERM)
    service.master["pidfile"] = str(service.folder / "no" / "such" / "folder.pid")
    service.write(["127.0.0.1:0"])
    service.start()
    assert service.process is not None
    assert service.process.wait(60) != 0
    with socket.create_connection((urlsplit(url).hostname, urlsplit(url).port or 0), timeout=60) as waiting:
        waiting.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        service.master.clear()
        service.write(["127.0.0.1:0"])
        service.start()
        assert waiting.makefile("rb").read().endswith(b"hello")


def test_a_store_that_has_become_too_small(service: Service) -> None:
    """Nothing is kept any more, also not what was: and the starts after it can be reached."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    service.write([f"127.0.0.1:{port}"])
    service.start()
    service.wait_until_serving()
    service.end(signal.SIGTERM)
    service.manager.room = 1
    service.write([f"127.0.0.1:{port}", "127.0.0.1:0"])
    service.start()
    service.wait_until_serving()
    assert "systemd keeps at most 1 of 2 listeners" in service.log
    assert service.manager.store == []
    service.end(signal.SIGTERM)
    service.start()
    service.wait_until_serving()
    assert httpx.get(f"http://127.0.0.1:{port}").text == "hello"
