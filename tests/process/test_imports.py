"""What masters and workers import, and when: memory and a quick start, kept by tests.

A module is imported by the master, once for all, or by a worker before it is ready, and only if
the worker's class or settings need it. Never by the first request.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from tests.support import started
from tests.support.server import GwctlServer

ROOT = Path(__file__).resolve().parents[2]

MASTER = """
import atexit, json, os, sys, threading
import gwctl.cli.start, gwctl.supervisor.start
from gwctl.config.model.settings import PoolSettings
from gwctl.supervisor.children.fork import share_with_workers

def state():
    return [atexit._ncallbacks(), threading.active_count(), sorted(os.listdir("/proc/self/fd"))]

before = state()
share_with_workers([PoolSettings(app="shop", **pool) for pool in json.loads(sys.argv[1])])
print(json.dumps({"modules": list(sys.modules), "same": state() == before}))
"""

REPORTER = """
import gc, json, sys, time

imported = set(sys.modules)
looked_up = []

class Watch:
    @staticmethod
    def find_spec(name, path=None, target=None):
        looked_up.append((time.monotonic(), name))

sys.meta_path.insert(0, Watch)

def report():
    document = {
        "imported": sorted(imported),
        "modules": sorted(sys.modules),
        "looked_up": looked_up,
        "frozen": gc.get_freeze_count(),
    }
    return json.dumps(document).encode()

def application(environ, start_response):
    start_response("200 OK", [])
    return [report()]

async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": report()})
"""

OTHERS = {"uvloop", "uvicorn", "websockets", "gunicorn", "gunicorn_h1c", "h11", "httptools"}
"""Not ours and not Python's: each worker takes what is installed when it starts."""

ASGI = {
    f"gwctl.workers.{name}"
    for name in ("asgi", "asgi_runner", "asgi_extensions", "scope", "websocket_protocol", "uvicorn_config")
}
SYNC = {"gwctl.workers.runners.sync", "gwctl.workers.runners.sync_watchdog"}
WSGI = {"gwctl.workers.runners.wsgi", "gwctl.workers.wsgi.environ"}
TLS = {"gwctl.workers.transport.tls", "gwctl.workers.transport.tls_output"}
PROXY = {"gwctl.workers.transport.proxy_protocol"}

NEEDLESS = {
    "sync": ASGI | TLS | PROXY | {"gwctl.workers.runners.threads", "uvicorn", "websockets"},
    "threads": ASGI
    | TLS
    | PROXY
    | SYNC - {"gwctl.workers.runners.sync_watchdog"}
    | {"uvicorn", "websockets"},
    "asgi": WSGI | SYNC | TLS | PROXY | {"gwctl.workers.runners.threads", "websockets"},
}


def master(*pools: dict[str, object]) -> dict[str, object]:
    run = subprocess.run(
        [sys.executable, "-c", MASTER, json.dumps(pools)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    found: dict[str, object] = json.loads(run.stdout)
    found["modules"] = set(found["modules"])
    return found


@pytest.mark.parametrize("worker", ["sync", "threads", "asgi"])
def test_a_master_imports_what_its_workers_share(worker: str) -> None:
    """And nothing that is not Python's own or gwctl's; importing starts and opens nothing."""
    found = master({"worker": worker})
    modules = found["modules"]
    assert not modules & NEEDLESS[worker]
    assert not {name.partition(".")[0] for name in modules} & OTHERS
    assert {"asyncio", "gwctl.workers.lifecycle.boot", "gwctl.workers.http1.protocol"} <= modules
    assert found["same"]


def test_a_master_imports_for_each_pool_what_its_settings_ask_for() -> None:
    plain, special = (
        {"worker": "sync"},
        {"worker": "asgi", "bind": ["tls:127.0.0.1:0"], "proxy_protocol": True},
    )
    modules = master(plain, special)["modules"]
    assert modules > {"gwctl.workers.runners.sync", "gwctl.workers.runners.asgi"} | TLS | PROXY
    assert not {name.partition(".")[0] for name in modules} & OTHERS


def report(folder: Path, worker: str) -> dict[str, object]:
    """Ask a worker for its modules, the second time it is asked at all; ``late`` is what the first asked for."""
    (folder / "reporter.py").write_text(REPORTER)
    app = "reporter:asgi" if worker == "asgi" else "reporter:application"
    with GwctlServer(app, worker=worker, processes=1, chdir=folder, command=started.GWCTL) as server:
        asked_at = time.monotonic()
        httpx.get(server.url)
        found: dict[str, object] = httpx.get(server.url).json()
    found["late"] = [name for at, name in found["looked_up"] if at > asked_at]
    return found


@pytest.mark.parametrize("worker", ["sync", "threads", "asgi"])
def test_a_worker_does_without_what_its_class_does_not_need(tmp_path: Path, worker: str) -> None:
    pytest.importorskip("gunicorn_h1c", reason="the C parser is not installed")
    found = report(tmp_path, worker)
    modules = set(found["modules"])
    assert not modules & NEEDLESS[worker]
    assert "gunicorn_h1c" in modules
    assert "gunicorn" not in modules, "the parser in Python comes with half of gunicorn"
    assert not found["late"], "the first request does not wait for imports"
    assert found["frozen"] > 10_000, "collections leave what is shared with the master alone"


def test_the_end_of_a_command_looks_for_no_garbage() -> None:
    code = (
        "import atexit, gc, sys\n"
        "sys.argv = ['gwctl', '--version']\n"
        "atexit.register(lambda: print(gc.get_freeze_count()))\n"
        "from gwctl.__main__ import main\n"
        "main()\n"
    )
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert int(run.stdout.splitlines()[-1]) > 5000


def test_a_worker_brings_little_of_its_own(tmp_path: Path) -> None:
    """Before the application, all but uvloop comes from the master."""
    own = set(report(tmp_path, "sync")["imported"]) - master({"worker": "sync"})["modules"]
    assert not {name for name in own if name.startswith(("gwctl.", "asyncio", "email", "logging"))}
    assert len(own) < 25, own
