"""Hostile pools beside one that behaves well: that one must not notice, nor may the master.

Where this is root, the hostile pools run as one user and the other as another; else all are the user who
runs this, and the attacks that no process can be kept from doing to its own user are left out by
`tests/apps/hostile.py`.

Judged are the requests of the pool that behaves well (none may fail, and its workers stay), the master's
memory and descriptors, the size of the log, and that the operator is served.
"""

from __future__ import annotations

import contextlib
import re
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from gwctl.supervisor.children.procfs import resident_bytes
from tests.hostile import builds
from tests.load.result import Result
from tests.load.runner import Load
from tests.support.apps import BARE
from tests.support.processes import Process, descriptors, session_of
from tests.support.server import APPS, ROOT, GwctlServer
from tests.support.status import status_of
from tests.support.users import can_change_to, interpreter_for_others
from tests.support.wait import until

MEMORY_GROWTH_MAX_BYTES: Final = 8 << 20
DESCRIPTORS_GROWTH_MAX: Final = 40
"""While it lasts: those of workers that come and go, of pool boards and of dumps. Afterwards: none."""
LOG_BYTES_MAX: Final = 100_000
LOG_BYTES_PER_S_MAX: Final = 15_000
LOGS: Final = ROOT / "build" / "hostile"
USERS: Final = ("nobody", "daemon")
SIZE: Final = 2
CALM: Final = {
    "timeouts": {"drain_timeout_s": 2, "linger_s": 0, "boot_timeout_s": 10},
    "crash": {"backoff_min_s": 0.1, "backoff_max_s": 1.0, "breaker_failures": 0},
}


@dataclass
class Verdict:
    """``problems``: what a hostile pool could do that it must not; empty: nothing."""

    seconds: float = 0.0
    load: Result = field(default_factory=Result)
    deaths: int = 0
    log_bytes: int = 0
    descriptors: tuple[int, int, int] = (0, 0, 0)
    """Of the master: before, the most meanwhile, after."""
    memory_bytes: tuple[int, int] = (0, 0)
    memory_meanwhile_bytes: list[int] = field(default_factory=list, repr=False)
    """Meanwhile, one after the other."""
    problems: list[str] = field(default_factory=list)

    def _meanwhile(self) -> str:
        """Ten looks at even distances."""
        looks = self.memory_meanwhile_bytes
        return " ".join(f"{size / (1 << 20):.1f}" for size in looks[:: max(1, len(looks) // 10)])

    def __str__(self) -> str:
        before, most, after = self.descriptors
        mib = [size / (1 << 20) for size in self.memory_bytes]
        return "\n".join(
            [
                f"{self.seconds:.0f} s beside hostile pools, whose processes died {self.deaths} times",
                str(self.load),
                f"master: {before} descriptors before, at most {most}, {after} after",
                f"master: {mib[0]:.1f} MiB before, {self._meanwhile()} MiB meanwhile, {mib[1]:.1f} MiB after",
                f"log: {self.log_bytes:,} bytes",
                *(f"PROBLEM: {each}" for each in self.problems),
            ]
        )


def _server(worker: str, broken: str, begins: Path) -> GwctlServer:
    attacks = builds.ATTACKS.get(broken, "")
    # A user's descriptors in flight are counted together: attacks of a run beside this one would use them up.
    changes = can_change_to(*USERS) and not broken
    python, path = interpreter_for_others() if changes else (sys.executable, {})
    hostile: dict[str, Any] = {"chdir": str(APPS), **CALM, **({"user": USERS[0]} if changes else {})}
    pools = {
        "wild": {"app": "rampage:application", "worker": "threads", "bind": ["127.0.0.2:0"], "processes": 2, **hostile},
        "wilder": {
            "app": "rampage:asgi", "worker": "asgi", "bind": ["127.0.0.3:0"], "processes": 1, "preload": True, **hostile,
        },
    }  # fmt: skip
    return GwctlServer(
        BARE[worker],
        worker=worker,
        bind="127.0.0.1:0",
        processes=SIZE,
        pools=pools,
        environ={**path, "RAMPAGE": attacks, "RAMPAGE_BEGINS": str(begins)},
        command=(python, *(("-c", builds.script(broken)) if broken else ("-m", "gwctl"))),
        allow_errors=["."],
        allow_kill=True,
        **({"user": USERS[1]} if changes else {}),
    )


def judge(worker: str, seconds: float, *, broken: str = "") -> Verdict:
    """Run it for so long; a build that is ``broken`` only until it shows."""
    verdict = Verdict()
    with tempfile.TemporaryDirectory(prefix="gwctl-hostile-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        server = _server(worker, broken, folder / "begins")
        try:
            server.start()
            server.wait_until_serving()
            _run(server, verdict, seconds, folder / "begins", until_problem=bool(broken))
        finally:
            _keep(server.log, worker + broken)
            server.destroy()
    return verdict


def _run(server: GwctlServer, verdict: Verdict, seconds: float, begins: Path, *, until_problem: bool) -> None:
    before, memory, pids = len(descriptors(server.pid)), resident_bytes(server.pid), good_workers(server)
    begun = time.monotonic()
    most, pause, asked_at = before, threading.Event(), begun
    with Load(server.url, connections=8, think_s=0.01, timeout_s=20.0, expect_body=b"hello") as load:
        begins.touch()
        while time.monotonic() < begun + seconds and server.status is None:
            pause.wait(0.1)
            with contextlib.suppress(OSError):
                most = max(most, len(descriptors(server.pid)))
            verdict.memory_meanwhile_bytes.append(resident_bytes(server.pid))
            if time.monotonic() > asked_at + 2.0:
                asked_at = time.monotonic()
                if '"pools"' not in server.gwctl("status", "--json").stdout:
                    verdict.problems.append("gwctl status was not served")
            grown = resident_bytes(server.pid) - memory > MEMORY_GROWTH_MAX_BYTES
            if until_problem and (grown or most > before + DESCRIPTORS_GROWTH_MAX):
                break
    verdict.seconds, verdict.load = time.monotonic() - begun, load.result
    verdict.log_bytes = (server.folder / "stderr").stat().st_size
    verdict.deaths = server.log.count("died:") + server.log.count("killed:")
    if load.result.failed:
        verdict.problems.append(f"{load.result.failed} requests of the well-behaved pool failed")
    if log_is_too_long(server, begun):
        verdict.problems.append(f"the log has {verdict.log_bytes:,} bytes")
    if "a bug in gwctl" in server.log:
        verdict.problems.append("the master found itself in a state that cannot be")
    if server.status is not None:
        verdict.problems.append(f"the master ended, with status {server.status}")
        return
    if most > before + DESCRIPTORS_GROWTH_MAX:
        verdict.problems.append(f"the master had up to {most} descriptors, {before} before")
    if good_workers(server) != pids:
        verdict.problems.append("workers of the well-behaved pool were replaced")
    after = _calm(server, before)
    verdict.descriptors = before, most, after
    verdict.memory_bytes = memory, resident_bytes(server.pid)
    if after > before:
        verdict.problems.append(f"the master has {after} descriptors, and had {before}")
    if verdict.memory_bytes[1] - memory > MEMORY_GROWTH_MAX_BYTES:
        verdict.problems.append("the master has grown")
    if server.gwctl("stop").returncode or server.wait_for_exit() != 0:
        verdict.problems.append("gwctl stop did not stop it")
    until(
        lambda: not our_own(server),
        lambda: f"workers and templates to end: {', '.join(map(str, our_own(server)))}\n{server.log[-4000:]}",
    )


def _keep(log: str, name: str) -> None:
    """For whoever looks into a problem."""
    LOGS.mkdir(parents=True, exist_ok=True)
    (LOGS / f"{name}.log").write_text(log, "utf-8")


def log_is_too_long(server: GwctlServer, begun: float) -> bool:
    size = (server.folder / "stderr").stat().st_size
    return size > LOG_BYTES_MAX + LOG_BYTES_PER_S_MAX * (time.monotonic() - begun)


def _calm(server: GwctlServer, enough: int) -> int:
    """The least number of descriptors among some looks: workers are always about to come or to go."""
    least = len(descriptors(server.pid))
    end = time.monotonic() + 20.0
    while least > enough and time.monotonic() < end:
        threading.Event().wait(0.01)
        least = min(least, len(descriptors(server.pid)))
    return least


def good_workers(server: GwctlServer) -> list[int]:
    pools = status_of(server)["pools"]
    return [worker["pid"] for pool in pools if pool["name"] == "web" for worker in pool["workers"]]


def our_own(server: GwctlServer) -> list[Process]:
    """Workers and templates that live. What they have forked themselves may hang in a lock for ever."""
    begun = set(map(int, re.findall(r"pid (\d+) ready in", server.log)))
    return [each for each in session_of(server.pid) if each.pid in begun and not each.is_zombie]
