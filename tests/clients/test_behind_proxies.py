"""The proxies of the examples, with retries off: reloads and rollouts under load fail no request through them."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from websockets.sync.client import unix_connect

from tests.load.runner import Load
from tests.support.debian import need
from tests.support.raw import refuses
from tests.support.server import ROOT, GwctlServer
from tests.support.wait import DEADLINE_S, until

EXAMPLES = ROOT / "examples"
RELOADS = 3
ROLLOUTS = 4
QUICK = {"settle_s": 0.05}
WEB = "/tmp/gwctl-example.sock"
ADMIN = "/tmp/gwctl-example-admin.sock"


def nginx(folder: Path, front: Path) -> tuple[str, list[str]]:
    text = (EXAMPLES / "nginx/nginx.conf").read_text("utf-8")
    user = "user root;\n" if os.geteuid() == 0 else ""  # the test's folder is open to its owner alone
    text = replaced(text, {"/tmp/gwctl-example-nginx.pid": str(folder / "nginx.pid")})
    text = replaced(text, {"listen 127.0.0.1:8080": f"listen unix:{front}"})
    text = replaced(text, {"proxy_pass http://shop;": "proxy_pass http://shop; proxy_next_upstream off;"})
    command = [need("nginx", "nginx-light"), "-p", str(folder), "-c", str(folder / "conf"), "-e", "stderr"]
    return f"daemon off;\n{user}{text}", command


def haproxy(folder: Path, front: Path) -> tuple[str, list[str]]:
    text = (EXAMPLES / "proxies/haproxy.cfg").read_text("utf-8")
    assert "retries 0" in text
    text = replaced(text, {"bind 127.0.0.1:8080": f"bind unix@{front}"})
    return text, [need("haproxy", "haproxy"), "-db", "-f", str(folder / "conf")]


def caddy(folder: Path, front: Path) -> tuple[str, list[str]]:
    """It tries nothing again by itself, but for what Go does on a connection that was closed before it was used."""
    text = (EXAMPLES / "proxies/Caddyfile").read_text("utf-8")
    text = replaced(text, {"http://127.0.0.1:8080 {": f"http:// {{\n\tbind unix/{front}"})
    return text, [need("caddy", "caddy"), "run", "--config", str(folder / "conf"), "--adapter", "caddyfile"]


PROXIES = {"nginx": nginx, "haproxy": haproxy, "caddy": caddy}


def replaced(text: str, what: dict[str, str]) -> str:
    for old, new in what.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


@contextlib.contextmanager
def front_of(folder: Path, name: str) -> Iterator[Path]:
    """An example's proxy before the sockets in ``folder``; yields the socket that it listens on."""
    front = folder / "front.sock"
    text, command = PROXIES[name](folder, front)
    text = text.replace(ADMIN, str(folder / "admin.sock")).replace(WEB, str(folder / "web.sock"))
    (folder / "conf").write_text(text, "utf-8")
    with running(command, folder):
        until(lambda: front.exists() and not refuses(f"unix:{front}"), (folder / "log").read_text)
        yield front


@contextlib.contextmanager
def running(command: list[str], folder: Path) -> Iterator[None]:
    environ = {**os.environ, "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environ, stdout=log, stderr=log)
    try:
        yield
    except BaseException:
        print((folder / "log").read_text("utf-8", "replace"))
        raise
    finally:
        process.terminate()
        process.wait(DEADLINE_S)


def answers(front: Path) -> bool:
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(front))) as client:
        return client.get("http://shop.example/").status_code == 200


@pytest.mark.parametrize("name", PROXIES)
def test_reloads_under_load(name: str, tmp_path: Path) -> None:
    bind, admin = f"unix:{tmp_path / 'web.sock'}", {"bind": [f"unix:{tmp_path / 'admin.sock'}"]}
    settings = {"worker": "asgi", "processes": 2, "reload": QUICK, "health_path": "/healthz"}
    with (
        GwctlServer("who:asgi", bind=bind, admin=admin, **settings) as server,
        front_of(tmp_path, name) as front,
    ):
        until(lambda: answers(front), "the proxy to find that it is healthy")
        with Load(f"unix:{front}:/", connections=16, think_s=0.02) as load:
            for count in range(1, RELOADS + 1):
                server.signal(signal.SIGHUP)
                server.wait_for_log(rf"adopted generation {count + 1}\b")
                load.wait_for_requests(50)
        assert load.result.failures == {}, load.result


@pytest.mark.parametrize("name", PROXIES)
def test_who_the_client_is_and_websockets(name: str, tmp_path: Path) -> None:
    """Fields that a client invents are not passed on as they are."""
    bind, admin = f"unix:{tmp_path / 'web.sock'}", {"bind": [f"unix:{tmp_path / 'admin.sock'}"]}
    with (
        GwctlServer("who:asgi", worker="asgi", bind=bind, admin=admin, health_path="/healthz"),
        front_of(tmp_path, name) as front,
    ):
        until(lambda: answers(front), "the proxy to find that it is healthy")
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(front))) as client:
            headers = {"X-Forwarded-Proto": "https", "X-Forwarded-Prefix": "/x"}
            seen = client.get("http://shop.example/", headers=headers).json()
        assert (seen["scheme"], seen["host"], seen["root"]) == ("http", "shop.example", "")
        with unix_connect(str(front), "ws://shop.example/") as websocket:
            assert json.loads(websocket.recv())["scheme"] == "ws"


def test_a_rollout(tmp_path: Path) -> None:
    """Two instances behind haproxy, which asks /readyz, stopped and started one after the other: what Kubernetes does.

    drain_delay_s is longer than haproxy takes to notice.
    """
    folders = [tmp_path / each for each in ("a", "b")]
    checked = "check inter 100ms fall 1 rise 1"
    lines = [
        f"    server {each.name} unix@{each / 'web.sock'} {checked} addr unix@{each / 'admin.sock'}"
        for each in folders
    ]
    text, command = haproxy(tmp_path, tmp_path / "front.sock")
    text = replaced(text, {"maxconn 4096": f"maxconn 4096\n    stats socket {tmp_path / 'stats.sock'}"})
    kept = [line for line in text.splitlines() if not line.lstrip().startswith("server ")]
    patient = "    timeout check 30s"  # on a busy machine an answer takes longer than the pause between two
    (tmp_path / "conf").write_text("\n".join([*kept, patient, *lines]) + "\n", "utf-8")
    for each in folders:
        each.mkdir()
    with contextlib.ExitStack() as stack:
        serving = [stack.enter_context(instance(each)) for each in folders]
        stack.enter_context(running(command, tmp_path))
        front = tmp_path / "front.sock"
        until(lambda: front.exists() and not refuses(f"unix:{front}") and answers(front), "haproxy to serve")
        with Load(f"unix:{front}:/", connections=16, think_s=0.02) as load:
            for count in range(ROLLOUTS):
                server = serving[count % 2]
                server.stop()
                serving[count % 2] = stack.enter_context(instance(folders[count % 2]))
                until(
                    lambda: states(tmp_path / "stats.sock") == {"a": "UP", "b": "UP"}, "haproxy to find both"
                )
                load.wait_for_requests(50)
        assert load.result.failures == {}, load.result


def states(stats: Path) -> dict[str, str]:
    """Of the servers, as haproxy sees them."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(stats))
        client.sendall(b"show stat\n")
        text = b"".join(iter(lambda: client.recv(65536), b"")).decode()
    rows = csv.DictReader(text.removeprefix("# ").splitlines())
    return {row["svname"]: row["status"] for row in rows if row["svname"] in {"a", "b"}}


def instance(folder: Path) -> GwctlServer:
    return GwctlServer(
        "who:asgi",
        worker="asgi",
        bind=f"unix:{folder / 'web.sock'}",
        admin={"bind": [f"unix:{folder / 'admin.sock'}"]},
        master={"name": folder.name, "drain_delay_s": 5},
        reload=QUICK,
    )
