"""Tokens in queries: neither in status, nor in the records of kills and cuts, nor in the stacks of a signal."""

from __future__ import annotations

import json
import os
import signal
import threading
from contextlib import suppress

import httpx

from gwctl.ipc.assignment import DUMP_SIGNAL
from tests.support.status import status_of
from tests.support.wait import until

APP = """
import asyncio, time

def wsgi(environ, start_response):
    time.sleep(60)

async def asgi(scope, receive, send):
    if scope["type"] == "http":
        if scope["path"] == "/blocked":
            open("blocked", "w").close()
            time.sleep(60)
        await asyncio.sleep(60)
"""
CLASSES = {"web": "sync", "threads": "threads", "asgi": "asgi", "blocked": "asgi", "full": "asgi"}


def test_requests_that_hang_are_shown_without_their_queries(gwctl_server, tmp_path):
    """All classes: while they run, when their stacks are asked for, and in what is written at their end.

    One pool shows them in full, as it was told to.
    """
    (tmp_path / "hanging.py").write_text(APP)
    pools = {
        name: {
            "app": f"hanging:{'asgi' if worker == 'asgi' else 'wsgi'}",
            "worker": worker,
            "bind": [f"127.0.0.{number}:0"],
            "processes": 1,
            "chdir": str(tmp_path),
            "log_queries": name == "full",
            "timeouts": {"request_timeout_s": 600.0, "drain_timeout_s": 0.3},
        }
        for number, (name, worker) in enumerate(CLASSES.items(), 1)
    }
    web = pools.pop("web")
    web["chdir"] = tmp_path
    with gwctl_server(web.pop("app"), pools=pools, allow_errors=["."], allow_kill=True, **web) as server:
        urls = {name: server.wait_for_log(rf"{name}: 1 worker, (\S+)$")[1] for name in CLASSES}

        def ask(name: str) -> None:
            with suppress(httpx.HTTPError):
                httpx.get(f"{urls[name]}/{name}?token=of-{name}", timeout=60)

        clients = [threading.Thread(target=ask, args=(name,)) for name in CLASSES]
        for client in clients:
            client.start()
        expected = {
            name: f"GET /{name}?{'token=of-full' if name == 'full' else '…'}"
            for name in CLASSES
            if name != "blocked"  # its loop is, and tells nobody
        }

        def status() -> str:
            return json.dumps(status_of(server), ensure_ascii=False)

        until(
            lambda: all(text in status() for text in expected.values()), lambda: f"{expected} in {status()}"
        )
        until((tmp_path / "blocked").exists, "the loop to be held")
        written = status() + server.gwctl("status", "-c", str(server.config)).stdout
        for pid in server.workers:
            os.kill(pid, DUMP_SIGNAL)
        server.signal(signal.SIGTERM)
        server.wait_for_exit()
        for client in clients:
            client.join(30)
        written += server.log
        for text in (*expected.values(), "GET /blocked?…"):
            assert text in server.log
        assert {name for name in CLASSES if f"of-{name}" in written} == {"full"}
