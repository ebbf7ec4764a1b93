"""TLS of a whole master: clients from outside, and certificates that change under them."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import ssl
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.apps import by_class
from tests.support.clients import AskingThreads
from tests.support.debian import need
from tests.support.engine import WORKER_CLASSES
from tests.support.raw import connection_to
from tests.support.server import GwctlServer
from tests.support.status import status_of
from tests.support.tls import Files, authority, client_context
from tests.support.wait import until

APPS = by_class("who:wsgi", "who:asgi")
CLIENTS = 8
THINK_S = 0.005


def serve(worker: str, files: Files, **settings: object) -> GwctlServer:
    tls = {"certificate": str(files.certificate), "key": str(files.key)}
    bind = ["tls:127.0.0.1:0", "127.0.0.2:0"]
    return GwctlServer(APPS[worker], worker=worker, bind=bind, tls=tls, reload={"settle_s": 0.1}, **settings)  # type: ignore[arg-type]


def replace(files: Files, folder: Path) -> Files:
    """Put another certificate and key in the place of ``files``."""
    folder.mkdir()
    new = Files(folder, "shop.example", "127.0.0.1")
    shutil.copy(new.certificate, files.certificate)
    shutil.copy(new.key, files.key)
    return new


def shown(server: GwctlServer) -> list[str]:
    """The certificate that a new connection is shown."""
    with connection_to(server.url) as sock:
        assert isinstance(sock, ssl.SSLSocket)
        return ssl.DER_cert_to_PEM_cert(sock.getpeercert(binary_form=True) or b"").split()


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path, "shop.example", "127.0.0.1")


@pytest.mark.parametrize("worker", WORKER_CLASSES)
def test_clients(worker: str, files: Files, tmp_path: Path) -> None:
    """httpx and curl over TLS, plain HTTP on the other listener, and the URLs that a person is told."""
    curl = need("curl", "curl")
    ca = tmp_path / "ca.pem"
    authority().cert_pem.write_to_path(str(ca))
    with serve(worker, files) as server:
        assert server.url.startswith("https://127.0.0.1:")
        assert httpx.get(server.url, verify=client_context()).json()["scheme"] == "https"
        command = [curl, "--silent", "--show-error", "--cacert", str(ca), server.url]
        output = subprocess.run(command, check=True, capture_output=True, timeout=60).stdout
        assert json.loads(output)["scheme"] == "https"
        urls = status_of(server)["pools"][0]["urls"]
        assert urls[0] == server.url
        assert httpx.get(urls[1]).json()["scheme"] == "http"


class Load(AskingThreads):
    """Clients that keep their connections, and count how each request went."""

    def __init__(self, url: str) -> None:
        self._host, port = url.removeprefix("https://").split(":")
        self._port = int(port)
        self.results: Counter[str] = Counter()
        self.connections = 0
        super().__init__(CLIENTS)

    def ask(self) -> None:
        connection: http.client.HTTPSConnection | None = None
        while not self.over.is_set():
            if connection is None:
                self.connections += 1
                connection = http.client.HTTPSConnection(
                    self._host, self._port, timeout=20, context=client_context()
                )
            try:
                connection.request("GET", "/")
                response = connection.getresponse()
                self.results[str(response.status) if response.read() else "empty"] += 1
                if response.will_close:
                    connection.close()
                    connection = None
            except (OSError, http.client.HTTPException) as error:
                self.results[type(error).__name__] += 1
                connection = None
            self.over.wait(THINK_S)
        if connection is not None:
            connection.close()


@contextlib.contextmanager
def kept(server: GwctlServer) -> Iterator[http.client.HTTPSConnection]:
    host, port = server.url.removeprefix("https://").split(":")
    connection = http.client.HTTPSConnection(host, int(port), timeout=20, context=client_context())
    try:
        yield connection
    finally:
        connection.close()


@pytest.mark.parametrize("worker", WORKER_CLASSES)
def test_a_reload_takes_the_new_certificate_and_loses_no_request(
    worker: str, files: Files, tmp_path: Path
) -> None:
    """New connections see it; those that are open go on with the old one."""
    before = files.pem.split()
    with serve(worker, files, processes=2) as server, Load(server.url) as load:
        until(lambda: load.results["200"] > 100, "some load")
        assert shown(server) == before
        new = replace(files, tmp_path / "new")
        for number in (2, 3):
            server.signal(signal.SIGHUP)
            server.wait_for_log(rf"adopted generation {number}\b|generation {number} .*adopted")
            until(lambda: shown(server) == new.pem.split(), "the new certificate")
        count = load.results["200"]
        until(lambda: load.results["200"] > count + 100, "more load")
    assert load.results.keys() == {"200"}, load.results


def test_the_load_sees_connections_that_are_lost(files: Files) -> None:
    """The zero above means something: killed workers show."""
    with serve("asgi", files, allow_errors=["died"], allow_kill=True) as server, Load(server.url) as load:
        until(lambda: load.results["200"] > 100, "some load")
        for pid in server.workers:
            os.kill(pid, signal.SIGKILL)
        until(lambda: load.results.keys() - {"200"}, "failures")


@pytest.mark.parametrize("worker", ["sync", "asgi"])
def test_a_broken_certificate_refuses_the_reload(worker: str, files: Files, tmp_path: Path) -> None:
    """The old one serves on, also from a worker that is started when the files are broken already."""
    before = files.pem.split()
    expected = ["was not adopted", "died"]
    with serve(worker, files, allow_errors=expected, allow_kill=True) as server, kept(server) as connection:
        connection.request("GET", "/")
        assert connection.getresponse().read()
        other = tmp_path / "other"
        other.mkdir()
        shutil.copy(Files(other, "shop.example").key, files.key)
        answer = server.gwctl("reload")
        assert answer.returncode == 1
        assert f"the key in {files.key} does not belong to the certificate in {files.certificate}" in (
            answer.stdout + answer.stderr
        )
        connection.request("GET", "/")
        assert connection.getresponse().read()
        assert shown(server) == before
        worker_pid = server.workers[0]
        os.kill(worker_pid, signal.SIGKILL)
        until(lambda: {*server.workers} - {worker_pid}, "a new worker")
        assert shown(server) == before
        assert httpx.get(server.url, verify=client_context()).json()["scheme"] == "https"


def test_a_certificate_that_ends_soon_is_told_of(tmp_path: Path) -> None:
    import datetime as dt

    now = dt.datetime.now(dt.UTC)
    soon = Files(
        tmp_path,
        "shop.example",
        not_before=now - dt.timedelta(days=1),
        not_after=now + dt.timedelta(days=3, hours=1),
    )
    with serve("sync", soon) as server:
        server.wait_for_log(r"warn .*shop\.example\.pem expires on .*, in 3 days")
        checked = server.gwctl("check", "-c", str(server.config))
        assert checked.returncode == 0
        assert "expires on" in checked.stderr
