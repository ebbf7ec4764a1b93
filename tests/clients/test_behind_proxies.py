"""The proxies of the examples, with retries off: reloads and rollouts under load fail no request through them."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.sync.client import connect as plain_connect

from tests.load.runner import Load
from tests.support import started
from tests.support.debian import need
from tests.support.http2_load import Http2Load
from tests.support.pages import from_page
from tests.support.raw import connection_to, refuses
from tests.support.server import ROOT, GwctlServer
from tests.support.tls import Files, client_context
from tests.support.wait import DEADLINE_S, until

EXAMPLES = ROOT / "examples"
RELOADS = 2
ROLLOUTS = 2
QUICK = {"settle_s": 0.05}
WEB = "/tmp/gwctl-example.sock"
ADMIN = "/tmp/gwctl-example-admin.sock"
CONF = "conf.yml"
"""The suffix is for Traefik."""


class Fronts(NamedTuple):
    """Where a proxy listens."""

    folder: Path
    host: str
    knows_unix: bool = True

    @property
    def socket(self) -> Path:
        return self.folder / "front.sock"

    @property
    def plain(self) -> str:
        """As a URL without a path."""
        return f"unix:{self.socket}" if self.knows_unix else f"http://{self.host}:18080"

    @property
    def secure(self) -> str:
        """Host and port. TLS: HTTP/2 for who knows it. (Caddy tells nobody the scheme of what comes by a Unix socket.)"""
        return f"{self.host}:18443"


def fronts_in(folder: Path, *, knows_unix: bool = True) -> Fronts:
    """The address is this process' own: no port that somebody else can take meanwhile."""
    pid = os.getpid()
    return Fronts(folder, f"127.{1 + (pid >> 16)}.{pid >> 8 & 255}.{pid & 255}", knows_unix)


def nginx(folder: Path, fronts: Fronts, shop: Files) -> tuple[str, list[str]]:
    text = (EXAMPLES / "nginx/nginx.conf").read_text("utf-8")
    user = "user root;\n" if os.geteuid() == 0 else ""  # the test's folder is open to its owner alone
    text = replaced(
        text,
        {
            "/tmp/gwctl-example-nginx.pid": str(folder / "nginx.pid"),
            "listen 127.0.0.1:8080": f"listen {fronts.plain}",
            "# listen 443 ssl http2": f"listen {fronts.secure} ssl http2",
            "# ssl_certificate /etc/shop/tls.pem": f"ssl_certificate {shop.certificate}",
            "# ssl_certificate_key /etc/shop/tls.key": f"ssl_certificate_key {shop.key}",
            "proxy_pass http://shop;": "proxy_pass http://shop; proxy_next_upstream off;",
        },
    )
    command = [need("nginx", "nginx-light"), "-p", str(folder), "-c", str(folder / CONF), "-e", "stderr"]
    return f"daemon off;\n{user}{text}", command


def haproxy(folder: Path, fronts: Fronts, shop: Files) -> tuple[str, list[str]]:
    text = (EXAMPLES / "proxies/haproxy.cfg").read_text("utf-8")
    assert "retries 0" in text
    both = folder / "tls-and-key.pem"
    both.write_bytes(shop.certificate.read_bytes() + shop.key.read_bytes())
    text = replaced(
        text,
        {
            "bind 127.0.0.1:8080": f"bind unix@{fronts.socket}",
            "timeout check 5s": "timeout check 30s",  # the machine of a test may be busier
            "# bind :443 ssl crt /etc/shop/tls-and-key.pem": f"bind {fronts.secure} ssl crt {both}",
        },
    )
    return text, [need("haproxy", "haproxy"), "-db", "-f", str(folder / CONF)]


def caddy(folder: Path, fronts: Fronts, shop: Files) -> tuple[str, list[str]]:
    """It tries nothing again by itself, but for what Go does on a connection that was closed before it was used."""
    text = (EXAMPLES / "proxies/Caddyfile").read_text("utf-8")
    text = replaced(
        text,
        {
            "admin off": "admin off\n\tauto_https off",
            "http://127.0.0.1:8080 {": f"http:// {{\n\tbind unix/{fronts.socket}",
            "# shop.example {": f"https://:18443 {{\n\tbind {fronts.host}",
            "#\ttls /etc/shop/tls.pem /etc/shop/tls.key": f"\ttls {shop.certificate} {shop.key}",
            "#\timport shop\n# }": "\timport shop\n}",
        },
    )
    return text, [need("caddy", "caddy"), "run", "--config", str(folder / CONF), "--adapter", "caddyfile"]


def haproxy_by_proxy_protocol(folder: Path, fronts: Fronts, shop: Files) -> tuple[str, list[str]]:
    text, command = haproxy(folder, fronts, shop)
    return replaced(text, {f"server one unix@{WEB} ": f"server one unix@{WEB} send-proxy-v2 "}), command


def traefik(folder: Path, fronts: Fronts, shop: Files) -> tuple[str, list[str]]:
    """It knows no Unix sockets. Like Caddy it tries again only what Go does."""
    static = replaced(
        (EXAMPLES / "proxies/traefik.yml").read_text("utf-8"),
        {
            "127.0.0.1:8080": fronts.plain.removeprefix("http://"),
            "# secure:": "secure:",
            '#   address: ":443"': f"  address: {fronts.secure}",
            "#   http: {tls: {}}": "  http: {tls: {}}",
        },
    )
    services = replaced(
        (EXAMPLES / "proxies/traefik-services.yml").read_text("utf-8"),
        {
            "[web]  # [web, secure]": "[web, secure]",
            "127.0.0.1:8000": over_tcp(fronts),
            "interval: 5s": "interval: 60s",
            "timeout: 3s": "timeout: 30s",  # as above
            "# tls:": "tls:",
            "#   certificates:": "  certificates:",
            "#     - certFile: /etc/shop/tls.pem": f"    - certFile: {shop.certificate}",
            "#       keyFile: /etc/shop/tls.key": f"      keyFile: {shop.key}",
        },
    )
    (folder / "traefik-services.yml").write_text(services, "utf-8")
    return static, [str(TRAEFIK), f"--configFile={CONF}"]


def over_tcp(fronts: Fronts) -> str:
    """Where gwctl listens for a proxy that knows no Unix sockets."""
    return f"{fronts.host}:18000"


TRAEFIK = ROOT / "build/partners/bin/traefik"
PROXIES = {
    "nginx": nginx,
    "haproxy": haproxy,
    "caddy": caddy,
    "haproxy, PROXY": haproxy_by_proxy_protocol,
    "traefik": traefik,
}
NO_UNIX = {"traefik"}
NEEDS_TRAEFIK = pytest.param(
    "traefik",
    marks=pytest.mark.skipif(
        not TRAEFIK.exists(), reason="no Traefik in build/partners: make test-partners gets it"
    ),
)


def replaced(text: str, what: dict[str, str]) -> str:
    for old, new in what.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


@contextlib.contextmanager
def fronts_of(folder: Path, name: str) -> Iterator[Fronts]:
    """An example's proxy before the sockets in ``folder``, with what is a comment there for TLS and HTTP/2."""
    fronts = fronts_in(folder, knows_unix=name not in NO_UNIX)
    text, command = PROXIES[name](folder, fronts, Files(folder, "shop.example"))
    text = text.replace(ADMIN, str(folder / "admin.sock")).replace(WEB, str(folder / "web.sock"))
    (folder / CONF).write_text(text, "utf-8")
    with running(command, folder):
        until(lambda: listens(fronts), (folder / "log").read_text)
        yield fronts


def listens(fronts: Fronts) -> bool:
    try:
        return not any(refuses(each) for each in (fronts.plain, f"https://{fronts.secure}"))
    except ssl.SSLError:
        return False  # Traefik listens before it has read its services, with a certificate of its own


@contextlib.contextmanager
def running(command: list[str], folder: Path) -> Iterator[None]:
    environ = {**os.environ, "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(command, cwd=folder, env=environ, stdout=log, stderr=log)
    try:
        yield
    except BaseException:
        print((folder / "log").read_text("utf-8", "replace"))
        raise
    finally:
        process.terminate()
        process.wait(DEADLINE_S)


def asked(fronts: Fronts, headers: dict[str, str]) -> httpx.Response:
    """For shop.example, by HTTP/1.1 without TLS."""
    transport = httpx.HTTPTransport(uds=str(fronts.socket)) if fronts.knows_unix else None
    url = "http://shop.example/" if fronts.knows_unix else f"{fronts.plain}/"
    with httpx.Client(transport=transport) as client:
        return client.get(url, headers={"Host": "shop.example", **headers})


def answers(fronts: Fronts) -> bool:
    return asked(fronts, {}).status_code == 200


def load_url(fronts: Fronts) -> str:
    return f"{fronts.plain}:/" if fronts.knows_unix else f"{fronts.plain}/"


def binds(folder: Path, name: str) -> list[str]:
    tcp = [over_tcp(fronts_in(folder))] if name in NO_UNIX else []
    return [f"unix:{folder / 'web.sock'}", *tcp]


@pytest.mark.parametrize("name", [*(each for each in PROXIES if each not in NO_UNIX), NEEDS_TRAEFIK])
def test_reloads_under_load(name: str, tmp_path: Path) -> None:
    """Of clients that speak HTTP/1.1, and of some that speak HTTP/2 inside TLS; the proxy speaks HTTP/1.1 to gwctl."""
    bind, admin = binds(tmp_path, name), {"bind": [f"unix:{tmp_path / 'admin.sock'}"]}
    settings = {"worker": "asgi", "processes": 2, "reload": QUICK, "health_path": "/healthz"}
    settings["proxy_protocol"] = "PROXY" in name
    with (
        GwctlServer("who:asgi", bind=bind, admin=admin, **settings) as server,
        fronts_of(tmp_path, name) as fronts,
    ):
        until(lambda: answers(fronts), "the proxy to find that it is healthy")
        with (
            Http2Load(f"https://{fronts.secure}/") as http2,
            Load(load_url(fronts), connections=16, think_s=0.02) as load,
        ):
            for count in range(1, RELOADS + 1):
                server.signal(signal.SIGHUP)
                server.wait_for_log(rf"adopted generation {count + 1}\b")
                load.wait_for_requests(50)
            http2.wait_for_runs(1)
        assert load.result.failures == {}, load.result
        assert http2.failures == []


@pytest.mark.parametrize("name", ["nginx", "haproxy", "caddy", NEEDS_TRAEFIK])
def test_who_the_client_is_and_websockets(name: str, tmp_path: Path) -> None:
    """Fields that a client invents are not passed on as they are."""
    bind, admin = binds(tmp_path, name), {"bind": [f"unix:{tmp_path / 'admin.sock'}"]}
    with (
        GwctlServer("who:asgi", worker="asgi", bind=bind, admin=admin, health_path="/healthz"),
        fronts_of(tmp_path, name) as fronts,
    ):
        until(lambda: answers(fronts), "the proxy to find that it is healthy")
        seen = asked(fronts, {"X-Forwarded-Proto": "https", "X-Forwarded-Prefix": "/x"}).json()
        assert (seen["scheme"], seen["host"], seen["root"]) == ("http", "shop.example", "")
        version, text = by_curl(fronts.secure, "--http2", "--header", "X-Forwarded-Proto: http")
        seen = json.loads(text)
        assert (version, seen["scheme"], seen["host"]) == ("2", "https", "shop.example")
        with plain_connect("ws://shop.example/", sock=connection_to(fronts.plain)) as websocket:
            assert json.loads(websocket.recv())["scheme"] == "ws"
        assert json.loads(asyncio.run(first_message(fronts.secure)))["scheme"] == "wss"


async def first_message(address: str) -> str | bytes:
    """Over a WebSocket in TLS. (Of websockets, this is the client that uses it in one thread, as OpenSSL wants.)"""
    host, _, port = address.partition(":")
    async with connect("wss://shop.example/", host=host, port=int(port), ssl=client_context()) as websocket:
        return await websocket.recv()


def by_curl(secure: str, *options: str) -> tuple[str, str]:
    """The version of HTTP that was spoken, and the response's body."""
    how = ["--silent", "--show-error", "--insecure", "--connect-to", f"::{secure}", *options]
    command = [need("curl", "curl"), *how, "--write-out", "\n%{http_version}", "https://shop.example/"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.returncode == 0, done.stderr
    text, _, version = done.stdout.rpartition("\n")
    return version, text


def test_the_commands_of_the_page(tmp_path: Path) -> None:
    """docs/deploy-proxies.md, on other addresses: the example's own settings and application, by programs of their own."""
    for name in ("proxies", "wsgi"):
        shutil.copytree(EXAMPLES / name, tmp_path / "examples" / name)
    folder = tmp_path / from_page("deploy-proxies.md", "cd examples/proxies").split()[1]
    host = fronts_in(tmp_path).host
    for file in ("gw.toml", "haproxy.cfg"):
        text = replaced((folder / file).read_text("utf-8"), {"/tmp/gwctl-example": f"{tmp_path}/e"})
        (folder / file).write_text(text.replace("127.0.0.1", host), "utf-8")
    gwctl = from_page("deploy-proxies.md", "gwctl start -c gw.toml &").removesuffix(" &").split()
    haproxy = from_page("deploy-proxies.md", "haproxy -f haproxy.cfg &").removesuffix(" &").split()
    curl = from_page("deploy-proxies.md", "curl http://127.0.0.1:8080/").replace("127.0.0.1", host).split()
    haproxy[0], curl[:1] = need("haproxy", "haproxy"), [need("curl", "curl"), "--silent"]
    sockets = [tmp_path / "e.sock", tmp_path / "e-admin.sock"]
    with running([*started.GWCTL, *gwctl[1:]], folder):
        until(
            lambda: all(each.exists() and not refuses(f"unix:{each}") for each in sockets), "gwctl to listen"
        )
        with running(haproxy, folder):
            until(lambda: printed(curl) == "hello\n", "haproxy to listen, and to find that gwctl is ready")


def printed(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    return done.stdout


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
    fronts = fronts_in(tmp_path)
    text, command = haproxy(tmp_path, fronts, Files(tmp_path, "shop.example"))
    text = replaced(text, {"maxconn 4096": f"maxconn 4096\n    stats socket {tmp_path / 'stats.sock'}"})
    kept = [line for line in text.splitlines() if not line.lstrip().startswith("server ")]
    (tmp_path / CONF).write_text("\n".join([*kept, *lines]) + "\n", "utf-8")
    for each in folders:
        each.mkdir()
    with contextlib.ExitStack() as stack:
        serving = [stack.enter_context(instance(each)) for each in folders]
        stack.enter_context(running(command, tmp_path))
        until(lambda: not refuses(fronts.plain) and answers(fronts), "haproxy to serve")
        with Load(load_url(fronts), connections=16, think_s=0.02) as load:
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
