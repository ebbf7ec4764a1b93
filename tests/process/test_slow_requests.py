"""``slow_request_s``: a request is told of while it runs, with its stack, and at its end; nothing happens to it."""

from __future__ import annotations

import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.support.server import GwctlServer
from tests.support.wait import until

WSGI = """
import os, time
def held_until_told(path):
    while not os.path.exists(path):
        time.sleep(0.01)
def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path.startswith("/wait"):
        held_until_told("go" + path.replace("/", "-"))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]
"""
ASGI = """
import asyncio, os
async def held_until_told(path):
    while not os.path.exists(path):
        await asyncio.sleep(0.01)
async def application(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError
    if scope["path"].startswith("/wait"):
        await held_until_told("go" + scope["path"].replace("/", "-"))
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"done"})
"""
HELD_LOOP = ASGI.replace("await asyncio.sleep(0.01)", "__import__('time').sleep(0.01)")
APPLICATIONS = {
    "sync": ("sync", WSGI),
    "threads": ("threads", WSGI),
    "asgi": ("asgi", ASGI),
    "asgi, loop held": ("asgi", HELD_LOOP),
    "asgi under sync": ("sync", ASGI),
    "asgi under threads": ("threads", ASGI),
}
SLOW_S = 0.5


def events(server: GwctlServer, *kinds: str) -> list[dict[str, Any]]:
    chosen = [word for kind in kinds for word in ("--kind", kind)]
    result = server.gwctl("events", "--json", *chosen, "-c", str(server.config))
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def has_run(server: GwctlServer, request: str) -> bool:
    """Tell whether it runs, and has for twice as long as would be told of."""
    result = server.gwctl("requests", "--json", "-c", str(server.config))
    running = [each for worker in json.loads(result.stdout)["workers"] for each in worker["requests"]]
    return any(each["request"] == request and each["age_s"] > SLOW_S * 2 for each in running)


@pytest.mark.parametrize("case", APPLICATIONS)
def test_a_slow_request_is_told_of_twice_and_answered(gwctl_server, tmp_path, case: str) -> None:
    worker, text = APPLICATIONS[case]
    (tmp_path / "app.py").write_text(text)
    timeouts = {"slow_request_s": SLOW_S}
    with (
        gwctl_server("app:application", worker=worker, chdir=tmp_path, timeouts=timeouts) as server,
        ThreadPoolExecutor() as clients,
    ):
        (pid,) = server.workers
        begun_at = time.monotonic()
        waits = clients.submit(httpx.get, f"{server.url}/wait?token=secret", timeout=60)
        line = server.wait_for_log(
            r"warn  web\.0 g1   slow: GET /wait\?… has run ([\d.]+) m?s .*, and is at\n(?:  .*\n)+"
        )
        assert "in held_until_told" in line[0], server.log
        (slow,) = events(server, "slow_request")
        assert SLOW_S <= slow["figures"]["age_s"] <= time.monotonic() - begun_at
        (tmp_path / "go-wait").touch()
        assert waits.result().text == "done"
        took_s = time.monotonic() - begun_at
        server.wait_for_log(r"slow: GET /wait\?… ended after [\d.]+ m?s, with status 200")
        (ended,) = events(server, "slow_request_ended")
        assert slow["figures"]["age_s"] <= ended["figures"]["took_s"] <= took_s
        assert server.workers == [pid], "nothing was done to it"
        assert "secret" not in server.log
        assert httpx.get(f"{server.url}/quick").text == "done"
        assert len(re.findall(r"slow: GET /wait\S* has run", server.log)) == 1


@pytest.mark.parametrize("worker", ["threads", "asgi"])
def test_each_of_several_is_told_of_also_beside_one_that_may_last(
    gwctl_server, tmp_path, worker: str
) -> None:
    (tmp_path / "app.py").write_text(APPLICATIONS[worker][1])
    timeouts = {"slow_request_s": SLOW_S, "request_timeout_paths": ["/wait/live 0"]}
    with (
        gwctl_server("app:application", worker=worker, chdir=tmp_path, timeouts=timeouts) as server,
        ThreadPoolExecutor() as clients,
    ):
        live = clients.submit(httpx.get, f"{server.url}/wait/live", timeout=60)
        until(lambda: has_run(server, "GET /wait/live"), "it to be the longest, and over the limit")
        others = [clients.submit(httpx.get, f"{server.url}/wait/{each}", timeout=60) for each in (1, 2)]
        for each in (1, 2):
            server.wait_for_log(rf"slow: GET /wait/{each} has run")
        for each in ("live", "1", "2"):
            (tmp_path / f"go-wait-{each}").touch()
        assert {each.result().text for each in (live, *others)} == {"done"}
        for each in (1, 2):
            server.wait_for_log(rf"slow: GET /wait/{each} ended")
        assert len(events(server, "slow_request*")) == 4
        assert "slow: GET /wait/live" not in server.log


def test_who_does_not_ask_for_it_hears_nothing(gwctl_server, tmp_path) -> None:
    (tmp_path / "app.py").write_text(WSGI)
    with (
        gwctl_server("app:application", worker="sync", chdir=tmp_path) as server,
        ThreadPoolExecutor() as clients,
    ):
        waits = clients.submit(httpx.get, f"{server.url}/wait", timeout=60)
        until(lambda: has_run(server, "GET /wait"), "it to be slow")
        (tmp_path / "go-wait").touch()
        assert waits.result().text == "done"
        assert events(server, "slow_request*") == []
