"""Figures sent to statsd by a real master's admin process, with an admin listener and without."""

from __future__ import annotations

import os
import re
import signal
import socket
from collections.abc import Iterator

import httpx
import pytest

from tests.support.apps import BARE
from tests.support.wait import until


class Agent:
    """What a statsd would have added up."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.to = f"udp://127.0.0.1:{sock.getsockname()[1]}"
        self.lines: list[str] = []

    def read(self) -> None:
        try:
            while True:
                self.lines += self.sock.recv(9000).decode().split("\n")
        except BlockingIOError:
            return

    def sum(self, start: str) -> float:
        self.read()
        found = [line for line in self.lines if line.startswith(start)]
        return sum(float(line.partition(":")[2].partition("|")[0]) for line in found)


@pytest.fixture
def agent() -> Iterator[Agent]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        yield Agent(sock)


@pytest.mark.parametrize("listener", [False, True])
def test_what_was_served_is_told(gwctl_server, agent: Agent, listener: bool) -> None:
    """Once each, over reloads and recycled workers, and what is left at the end of the process."""
    admin = {"bind": "127.0.0.1:0"} if listener else None
    with gwctl_server(BARE["sync"], worker="sync", admin=admin, reload={"settle_s": 0.0}) as server:
        server.tables["statsd"] = {
            "to": agent.to,
            "interval_s": 1.0,
            "gunicorn_names": True,
            "prefix": "shop",
        }
        server.write_config()
        assert server.gwctl("reload", "-c", str(server.config)).returncode == 0
        server.wait_for_log(rf"admin: .*figures to {re.escape(agent.to)}")
        until(lambda: agent.sum("shop.gwctl.up_seconds") > 0, "the first figures")
        served = 0
        for generation in (3, 4):
            for _ in range(10):
                served += httpx.get(server.url).status_code == 200
            server.signal(signal.SIGHUP)
            server.wait_for_log(f"adopted generation {generation}")
        until(lambda: agent.sum("shop.gwctl.requests:") == served, lambda: str(agent.lines))
        until(lambda: agent.sum("shop.gunicorn.requests:") == served, lambda: str(agent.lines))
        assert agent.sum("shop.gunicorn.request.status.2xx:") == served
        assert not [line for line in agent.lines if ":-" in line]


def test_another_process_goes_on_with_it(gwctl_server, agent: Agent) -> None:
    with gwctl_server(BARE["sync"], worker="sync", allow_kill=True) as server:
        server.tables["statsd"] = {"to": agent.to, "interval_s": 1.0}
        server.write_config()
        assert server.gwctl("reload", "-c", str(server.config)).returncode == 0
        pid = int(server.wait_for_log(r"admin: no listener \(pid (\d+)")[1])
        os.kill(pid, signal.SIGKILL)
        server.wait_for_log(r"admin: no listener \(pid", count=2)
        agent.read()
        agent.lines.clear()
        until(lambda: agent.sum("gwctl.up_seconds") > 0, "figures of another process")


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ({"to": "127.0.0.1:8125"}, "expected udp://HOST:PORT or unix:PATH"),
        ({"to": "udp://127.0.0.1"}, "expected udp://HOST:PORT or unix:PATH"),
        ({"to": "udp://x:99999"}, "expected udp://HOST:PORT or unix:PATH"),
        ({"to": "unix:dsd.socket"}, "the path of a socket begins with /"),
        ({"to": "unix:/" + "x" * 120}, "107 bytes at most"),
        ({"to": "udp://x:1", "prefix": "a b"}, "a prefix has letters"),
        ({"to": "udp://x:1", "tags": ["a,b"]}, "a tag is NAME:VALUE"),
        ({"to": "udp://x:1", "tags": ["a:b"], "format": "plain"}, "there are no tags with format"),
        ({"to": "udp://x:1", "interval_s": 0.1}, "not in 1..3600"),
    ],
)
def test_mistakes_are_told(gwctl_server, table: dict[str, object], complaint: str) -> None:
    server = gwctl_server(BARE["sync"])
    server.tables["statsd"] = table
    server.write_config()
    result = server.gwctl("check", "-c", str(server.config))
    assert result.returncode == 2
    assert complaint in result.stderr, result.stderr
