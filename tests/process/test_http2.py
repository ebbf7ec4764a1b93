"""HTTP/2 with a real master: TLS, prior knowledge, reloads under load, a drain; other people's clients."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.apps import BARE
from tests.support.debian import need
from tests.support.engine import WORKER_CLASSES
from tests.support.http2 import Http2Client
from tests.support.http2_clients import Http2Clients
from tests.support.server import GwctlServer
from tests.support.tls import Files, authority, client_context

RELOADS = 5


def connector(server: GwctlServer, *, tls: bool):
    """What makes a connection that speaks HTTP/2."""
    address = urlsplit(server.url)
    context = client_context()
    context.set_alpn_protocols(["h2"])

    def connect() -> socket.socket:
        sock = socket.create_connection((address.hostname, address.port), 60)
        if not tls:
            return sock
        wrapped = context.wrap_socket(sock, server_hostname="127.0.0.1")
        assert wrapped.selected_alpn_protocol() == "h2"
        return wrapped

    return connect


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path, "127.0.0.1")


@pytest.mark.parametrize("worker", WORKER_CLASSES)
def test_reloads_and_a_stop_drop_no_stream(worker: str) -> None:
    """By prior knowledge: what each client has asked for is answered, or it is told that nobody saw it."""
    settings = {"http": ["h2", "h1"], "reload": {"settle_s": 0.05}, "timeouts": {"linger_s": 1.0}}
    with GwctlServer(BARE[worker], worker=worker, processes=2, **settings) as server:
        with Http2Clients(connector(server, tls=False), 4, b"hello") as load:
            for count in range(1, RELOADS + 1):
                server.signal(signal.SIGHUP)
                server.wait_for_log(rf"adopted generation {count + 1}\b")
                load.wait_for(50)
        assert load.failures == []
        assert load.answered["connections"] > RELOADS  # they were told to go, and came again
        assert load.answered["requests"] > RELOADS * 50


@pytest.mark.parametrize("worker", WORKER_CLASSES)
def test_over_tls_by_the_servers_choice(worker: str, files: Files) -> None:
    tls = {"certificate": str(files.certificate), "key": str(files.key)}
    with GwctlServer(BARE[worker], worker=worker, bind=["tls:127.0.0.1:0"], tls=tls) as server:
        with Http2Client(sock=connector(server, tls=True)()) as client:
            streams = [client.open() for _ in range(20)]
            assert [stream.whole().body for stream in streams] == [b"hello"] * 20
            server.signal(signal.SIGTERM)
            assert client.goaway()[0] == streams[-1].stream_id
        assert server.wait_for_exit() == 0


@pytest.mark.parametrize("worker", WORKER_CLASSES)
def test_other_peoples_clients(worker: str, files: Files, tmp_path: Path) -> None:
    """curl both ways, nghttp and h2load; those that are not here are left out."""
    curl = need("curl", "curl")
    ca = tmp_path / "ca.pem"
    authority().cert_pem.write_to_path(str(ca))
    settings = {
        "bind": ["tls:127.0.0.1:0", "127.0.0.1:0"],
        "http": ["h2", "h1"],
        "tls": {"certificate": str(files.certificate), "key": str(files.key)},
    }
    with GwctlServer(BARE[worker], worker=worker, **settings) as server:
        secure, plain = re.findall(r"https?://127\.0\.0\.1:\d+", server.log)[:2]
        for url, *options in (
            (secure, "--cacert", str(ca), "--http2"),
            (plain, "--http2-prior-knowledge"),
        ):
            command = [curl, "-sS", "--max-time", "60", "-w", " %{http_version} %{http_code}", *options, url]
            told = subprocess.run(command, capture_output=True, text=True, timeout=90)
            assert told.stdout == "hello 2 200", told.stderr
        if h2load := shutil.which("h2load"):
            command = [h2load, "-n", "500", "-c", "4", "-m", "16", plain]
            told = subprocess.run(command, capture_output=True, text=True, timeout=90)
            assert "500 succeeded, 0 failed, 0 errored, 0 timeout" in told.stdout, told.stdout
        if nghttp := shutil.which("nghttp"):
            command = [nghttp, "--no-verify-peer", "-d", str(ca), "-H", ":method: POST", secure]
            told = subprocess.run(command, capture_output=True, text=True, timeout=90)
            assert "hello" in told.stdout, told.stderr
