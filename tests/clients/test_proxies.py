"""Real proxies in front: who the application is told the client is."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest
from websockets.sync.client import connect

from tests.support.apps import by_class
from tests.support.engine import WORKER_CLASSES
from tests.support.front import haproxy, nginx
from tests.support.server import GwctlServer
from tests.support.status import status_of
from tests.support.wait import until

APPS = by_class("who:wsgi", "who:asgi")
LOCATION = """
    location / {{
        proxy_pass http://{upstream};
        proxy_http_version 1.1;
        proxy_set_header Host shop.example;
        proxy_set_header X-Forwarded-For "198.51.100.7, 127.0.0.1";
        proxy_set_header X-Forwarded-Proto https;
        proxy_set_header X-Forwarded-Host shop.example;
        proxy_set_header X-Forwarded-Prefix /shop;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection $connection_upgrade;
    }}
"""
SEEN = {"client": "198.51.100.7", "scheme": "https", "host": "shop.example", "root": "/shop"}
HEADERS = ["X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Prefix"]


@pytest.mark.parametrize("way", ["tcp", "unix"])
@pytest.mark.parametrize("worker", WORKER_CLASSES)
def test_behind_nginx(worker: str, way: str, tmp_path: Path) -> None:
    """Over TCP and over a Unix socket; asked directly, the same fields of a stranger are not believed."""
    sock = tmp_path / "web.sock"
    bind = f"unix:{sock}" if way == "unix" else "127.0.0.1:0"
    with GwctlServer(APPS[worker], worker=worker, bind=bind, forwarded_headers=HEADERS) as server:
        upstream = f"unix:{sock}:" if way == "unix" else server.url.removeprefix("http://")
        with nginx(LOCATION.format(upstream=upstream), tmp_path) as port:
            spoofed = {"X-Forwarded-For": "6.6.6.6", "Forwarded": "for=6.6.6.6"}
            assert httpx.get(f"http://127.0.0.1:{port}/", headers=spoofed).json() == SEEN
            if worker == "asgi":
                with connect(f"ws://127.0.0.1:{port}/") as websocket:
                    assert json.loads(websocket.recv()) == {**SEEN, "scheme": "wss"}


@pytest.mark.parametrize("worker", WORKER_CLASSES)
def test_a_stranger_is_not_believed(worker: str) -> None:
    settings = {"forwarded_headers": HEADERS, "trusted_proxies": ["192.0.2.0/24"]}
    with GwctlServer(APPS[worker], worker=worker, **settings) as server:
        headers = {"X-Forwarded-For": "6.6.6.6", "X-Forwarded-Proto": "https", "X-Forwarded-Prefix": "/x"}
        seen = httpx.get(server.url, headers=headers).json()
    host = server.url.removeprefix("http://")
    assert seen == {"client": "127.0.0.1", "scheme": "http", "host": host, "root": ""}


@pytest.mark.parametrize("send", ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options unique-id"])
@pytest.mark.parametrize("way", ["tcp", "unix"])
def test_behind_haproxy(send: str, way: str, tmp_path: Path) -> None:
    """The client's own address and port arrive; a request without the header is not served."""
    sock = tmp_path / "web.sock"
    bind = f"unix:{sock}" if way == "unix" else "127.0.0.1:0"
    allow = ["closed a connection"]
    with GwctlServer(
        "who:wsgi", worker="threads", bind=bind, proxy_protocol=True, allow_errors=allow
    ) as server:
        upstream = f"unix@{sock}" if way == "unix" else server.url.removeprefix("http://")
        with haproxy(f"server one {upstream} {send}", tmp_path) as port:
            transport = httpx.HTTPTransport(local_address="127.0.0.7")
            with httpx.Client(transport=transport, base_url=f"http://127.0.0.1:{port}") as client:
                for _ in range(3):
                    assert client.get("/").json()["client"] == "127.0.0.7"
        direct = httpx.HTTPTransport(uds=str(sock)) if way == "unix" else None
        with httpx.Client(transport=direct) as client, pytest.raises(httpx.TransportError):
            client.get(server.url if way == "tcp" else "http://x/")


def test_health_checks_of_haproxy(tmp_path: Path) -> None:
    """haproxy asks in its own name (LOCAL); it takes the server for up and sends clients to it."""
    with GwctlServer("who:wsgi", worker="sync", bind="127.0.0.1:0", proxy_protocol=True) as server:
        upstream = server.url.removeprefix("http://")
        backend = "option httpchk GET /\n    server one " + upstream
        backend += " check inter 50ms fall 20 check-send-proxy send-proxy-v2"
        backend += "\n    timeout check 20s"  # else a check fails that is not answered within those 50 ms
        with haproxy(backend, tmp_path) as port:
            assert httpx.get(f"http://127.0.0.1:{port}/").json()["client"] == "127.0.0.1"
            until(lambda: server_requests(server) > 3, "health checks to be answered")
        assert "closed a connection" not in server.log


def server_requests(server: GwctlServer) -> int:
    status = status_of(server)
    return int(status["pools"][0]["requests"])
