"""Every way in which a reload can fail, one after the other, on one server that is under load all the while.

Each case breaks something, reloads, and mends what it broke. Nothing may have changed then: the
same processes serve, in the same generation, behind the same sockets, and no request has failed.
"""

from __future__ import annotations

import re
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.load.runner import Load
from tests.support.processes import descriptors
from tests.support.server import GwctlServer
from tests.support.status import status_of
from tests.support.wait import until

WEB = """
def application(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [b'first']
"""
LIVE = """
import asyncio
async def application(scope, receive, send):
    if scope['type'] == 'lifespan':
        await receive()
        await start()
        await send({'type': 'lifespan.startup.complete'})
        await receive()
        await send({'type': 'lifespan.shutdown.complete'})
    else:
        await send({'type': 'http.response.start', 'status': 200, 'headers': []})
        await send({'type': 'http.response.body', 'body': b'first'})
async def start():
    pass
"""
DISK = "disk differs from what runs"


class Shop:
    """Two pools of two applications, whose sources and settings are there to be broken."""

    def __init__(self, folder: Path) -> None:
        self.web, self.live = folder / "web.py", folder / "live.py"
        self.mend()
        live = {
            "app": "live:application",
            "worker": "asgi",
            "chdir": str(folder),
            "processes": 1,
            "lifespan": "on",
        }
        self.server = GwctlServer(
            "web:application",
            worker="threads",
            chdir=folder,
            processes=2,
            bind="127.0.0.1:0",
            reload={"settle_s": 0.3},
            pools={"live": {**live, "bind": [f"unix:{folder}/live.sock"], "reload": {"settle_s": 0.3}}},
            allow_errors=["was not adopted", "was not ready within"],
            allow_kill=True,
        )
        self.good = self.server.config.read_text()

    def mend(self) -> None:
        self.web.write_text(WEB)
        self.live.write_text(LIVE)

    def set(self, **settings: object) -> None:
        """Change settings of pool web, on disk alone."""
        server = self.server
        before = dict(server.tables["pool"]["web"])
        server.tables["pool"]["web"].update(settings)
        server.write_config()
        server.tables["pool"]["web"] = before

    def reload(self) -> subprocess.CompletedProcess[str]:
        return self.server.gwctl("reload", "--name", "test")

    def listening(self) -> set[str]:
        """The sockets, by inode, that the master shares with its workers: listeners, and the pools' exchanges."""
        shared = {name for pid in self.server.workers for name in descriptors(pid).values()}
        return {name for name in descriptors(self.server.pid).values() if name.startswith("socket:")} & shared


@dataclass(frozen=True)
class Case:
    breaks: Callable[[Shop, ExitStack], None]
    reason: str
    """In the answer and in the log."""
    degraded: bool = True
    trace: str = ""
    """What the application's traceback shows."""
    told: str = ""
    """A line of the phases that `gwctl reload` prints."""


def _taken(shop: Shop, stack: ExitStack) -> None:
    listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    shop.set(bind=["127.0.0.1:0", f"127.0.0.1:{listener.getsockname()[1]}"])


def web(source: str) -> Callable[[Shop, ExitStack], None]:
    return lambda shop, _stack: shop.web.write_text(source) and None


def live(start: str) -> Callable[[Shop, ExitStack], None]:
    return lambda shop, _stack: shop.live.write_text(LIVE + start) and None


def _boots_too_slowly(shop: Shop, _stack: ExitStack) -> None:
    shop.web.write_text("import threading\nthreading.Event().wait()\n")
    shop.set(timeouts={"boot_timeout_s": 0.6})


def _dies(shop: Shop, _stack: ExitStack) -> None:
    """As soon as the canary is ready, long before it has a client: one that had could take that along."""
    shop.web.write_text(WEB + DIES)
    shop.set(reload={"settle_s": 60.0})


DIES = """
import os, signal, threading, time
def die_when_ready():
    while f"pid {os.getpid()} ready" not in open("/proc/self/fd/2").read():
        time.sleep(0.02)
    os.kill(os.getpid(), signal.SIGSEGV)
threading.Thread(target=die_when_ready, daemon=True).start()
"""
WAITS = "import os, time\nwhile os.path.exists('wait'):\n    time.sleep(0.01)\n"
ONE_ONLY = WEB + "\nimport os\nos.mkdir('only-one')\n"
LATE_FAILURE = "async def start():\n    await asyncio.sleep(3)\n    raise RuntimeError('no database')\n"
CASES = {
    "no toml": Case(
        lambda shop, _: shop.server.config.write_text("not toml [") and None, r"gw\.toml:1", degraded=False
    ),
    "impossible settings": Case(lambda shop, _: shop.set(processes="many"), "many", degraded=False),
    "address in use": Case(_taken, "cannot listen on", degraded=False),
    "import": Case(web("import prices\n"), "No module named 'prices'", trace='web.py", line 1'),
    "syntax": Case(web("def application(:\n"), "SyntaxError", trace="def application(:"),
    "lifespan": Case(
        live("async def start():\n    raise RuntimeError('no database')\n"),
        "live: lifespan startup failed: RuntimeError: no database",
        trace='live.py", line 16, in start',
    ),
    "boot timeout": Case(
        _boots_too_slowly, r"was not ready within 0\.60 s", trace="Where it stood follows in the log"
    ),
    "dies once ready": Case(_dies, "SIGSEGV", told="settle FAILED"),
    "half of the workers": Case(web(ONE_ONLY), "FileExistsError", trace="os.mkdir", told="roll FAILED"),
    "second pool": Case(live(LATE_FAILURE), "no database", trace="in start", told="web .* boot ok"),
}


@contextmanager
def under_load(shop: Shop) -> Iterator[None]:
    with Load(shop.server.url, connections=8, expect_body=b"first") as load:
        yield
        load.wait_for_requests(100)
    assert load.result.failures == {}, load.result


def refuse(shop: Shop, name: str, case: Case) -> None:
    """Play one case, and see that everything is as it was."""
    server = shop.server
    workers, listening, told = server.workers, shop.listening(), server.log.count("was not adopted")
    with ExitStack() as stack:
        case.breaks(shop, stack)
        result = shop.reload()
        shop.mend()
        server.config.write_text(shop.good)
    said = result.stdout + result.stderr
    assert result.returncode == 1, (name, said)
    assert re.search(case.reason, said), (name, said)
    assert case.trace in said, (name, said)
    assert re.search(case.told, re.sub(r" +", " ", said)), (name, said)
    assert "gwctl/workers" not in said, (name, said)
    assert "serves as before (web 2/2 ready, live 1/1 ready)" in said, (name, said)
    until(lambda: server.workers == workers, f"{name}: the refused generation's workers to go")
    assert shop.listening() == listening, name
    status = status_of(server)
    assert (status["generation"], status["phase"]) == (1, "serving"), name
    assert (status["degraded"] == DISK) == case.degraded, (name, status["degraded"])
    assert (status["health"], status["refused_at"] is not None) == ("degraded", True), name
    assert [pool["ready"] for pool in status["pools"]] == [2, 1], name
    assert server.log.count("was not adopted") == told + 1, name
    record = re.findall(
        r"^\S+ error master +generation \d+ was not adopted.*\n(?: .*\n)*", server.log, re.MULTILINE
    )[-1]
    assert re.search(case.reason, record), (name, record)
    assert case.trace in record, (name, record)


def test_each_failure_leaves_everything_as_it_was(tmp_path):
    """And after all of them a reload of what is mended is adopted; one that is asked for meanwhile waits."""
    shop = Shop(tmp_path)
    with shop.server as server:
        listening = shop.listening()
        assert len(listening) >= 2
        with under_load(shop):
            for name, case in CASES.items():
                refuse(shop, name, case)
            assert shop.reload().returncode == 0
            until(lambda: len(server.workers) == 3, "the first generation to go")
            generation = status_of(server)["generation"]
            status = status_of(server)
            assert (status["degraded"], status["health"], status["refused_at"]) == ("", "healthy", None)
            assert shop.listening() == listening
            (tmp_path / "wait").touch()
            shop.web.write_text(WAITS + WEB)
            server.signal(signal.SIGHUP)
            server.wait_for_log(rf"generation {generation} -> ")
            server.signal(signal.SIGHUP)
            server.wait_for_log(r"reload \(SIGHUP\) waits for the one under way")
            server.signal(signal.SIGHUP)
            (tmp_path / "wait").unlink()
            server.wait_for_log(rf"adopted generation {generation + 2}\b")
            assert shop.reload().returncode == 0
            assert status_of(server)["generation"] == generation + 3, "the third was folded into the second"
            until(lambda: len(server.workers) == 3, "the generation before to go")
            assert shop.listening() == listening
