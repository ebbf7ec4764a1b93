"""Real proxies in front: who the application is told the client is."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest
from websockets.sync.client import connect

from tests.support.engine import WORKER_CLASSES
from tests.support.front import nginx
from tests.support.server import GwctlServer

APPS = {"sync": "who:wsgi", "threads": "who:wsgi", "asgi": "who:asgi"}
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
