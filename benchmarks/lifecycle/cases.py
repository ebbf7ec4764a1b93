"""What is done to each server under load, and what came of it.

Every case starts the server afresh, with `CONNECTIONS` kept-alive connections that ask all the
time. Failures are told apart by class as in the tests of gwctl itself (tests/load): a client
that looks before it reuses a connection and obeys ``Connection: close``.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.lifecycle.contenders import HANG_LIMIT_S, WORKERS, Contender
from benchmarks.lifecycle.site import STOP_TIMEOUT_S, Site, ask, begin, running, wait
from benchmarks.servers import kill
from tests.load.plan import Part, Plan
from tests.load.result import Result
from tests.load.runner import MixedLoad

CONNECTIONS: Final = 32
THINK_S: Final = 0.01
PATIENCE_S: Final = 30.0
QUIET_S: Final = 3.0
RELOADS: Final = 5
RELOAD_TIMEOUT_S: Final = 20.0
AFTER_S: Final = 3.0
"""How long the load goes on after a change: what is drained must come to its end."""
GONE_S: Final = 5.0
"""After the death of a master, its workers have this long to go."""
START_S: Final = 8.0
HANG_WATCH_S: Final = 2.0 * HANG_LIMIT_S
STACK: Final = "this_call_hangs"


@dataclass
class Report:
    """What came of one case. Times in seconds; None: it did not happen."""

    contender: str
    case: str
    requests: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    quiet_p999_s: float = 0.0
    p999_s: float = 0.0
    longest_s: float = 0.0
    """Of all requests that were answered: what a client waited."""
    done_s: float | None = None
    """Until all answers come from the new code; until as many workers are there as before."""
    told: str = ""
    """What whoever asked for it learnt."""
    outcome: str = ""
    left: int = 0
    """Processes after SIGTERM and its time; after the death of the master: after `GONE_S`."""
    stack: str = ""
    """Whether the log shows where a worker hung."""

    @property
    def failed(self) -> int:
        return sum(self.failures.values())


Case = Callable[[Site, Report], None]


def load(site: Site) -> MixedLoad:
    return MixedLoad([Part(Plan(site.url, THINK_S, PATIENCE_S), CONNECTIONS)])


def pause(seconds: float) -> None:
    threading.Event().wait(seconds)


def take(report: Report, running_load: MixedLoad) -> None:
    result: Result = running_load.results[0]
    report.requests, report.failures = result.requests, dict(result.failures)
    report.p999_s, report.longest_s = result.p999_s, result.max_s


def quiet(site: Site, report: Report) -> None:
    with load(site) as asking:
        pause(QUIET_S)
    report.quiet_p999_s = asking.results[0].p999_s


# ---- the cases


def good_reload(site: Site, report: Report) -> None:
    """`RELOADS` of them, one after the other."""
    quiet(site, report)
    times: list[float] = []
    told: list[str] = []
    with load(site) as asking:
        for _ in range(RELOADS):
            site.deploy()
            begun = time.monotonic()
            told.append(site.contender.reload(site.folder, site.pid))
            if wait(site.all_new, RELOAD_TIMEOUT_S) is not None:
                times.append(time.monotonic() - begun)
        pause(AFTER_S)
    take(report, asking)
    report.told = told[-1] or "nothing"
    report.done_s = max(times) if len(times) == RELOADS else None
    report.outcome = f"{len(times)} of {RELOADS} took over"


def broken_reload(site: Site, report: Report) -> None:
    """The new code cannot be imported. Afterwards it is mended, and reloaded once more."""
    with load(site) as asking:
        site.deploy(broken=True)
        report.told = site.contender.reload(site.folder, site.pid) or "nothing"
        pause(AFTER_S)
        serving = sum(bool(site.ask().body) for _ in range(5))
        said = "serves on" if serving == 5 else f"answers {serving} of 5"
        report.outcome = "the master ended" if site.ended else said
        if not site.ended:
            site.deploy()
            begun = time.monotonic()
            site.contender.reload(site.folder, site.pid)
            if wait(site.all_new, RELOAD_TIMEOUT_S) is not None:
                report.done_s = time.monotonic() - begun
    take(report, asking)


def kill_worker(site: Site, report: Report) -> None:
    """It is replaced when a process answers that was not there before."""
    before = {0, *site.processes}
    with load(site) as asking:
        os.kill(site.answering(), signal.SIGKILL)
        report.done_s = wait(lambda: site.ask().pid not in before, RELOAD_TIMEOUT_S)
        pause(AFTER_S)
        report.outcome = "the master ended" if site.ended else ""
    take(report, asking)


def kill_master(site: Site, report: Report) -> None:
    """Afterwards the same is started again at once, as a service manager does."""
    with load(site) as asking:
        os.kill(site.pid, signal.SIGKILL)
        site.process.wait()
        begun = time.monotonic()
        site.deploy()
        second = begin(site.contender, site.folder, site.port, "second")
        try:
            mine = f"release {site.release}"
            new = wait(lambda: ask(site.port, 1).body == mine or second.poll() is not None, START_S)
            if new is None:
                report.outcome = f"no answer from it in {START_S:g} s"
            elif second.poll() is not None:
                report.outcome = "no: it ended"
            else:
                report.done_s = new
                report.outcome = f"yes, after {new:.1f} s"
            pause(max(0.0, begun + GONE_S - time.monotonic()))
            report.left = len(site.processes)
        finally:
            kill(second)
            kill(site.process)
    take(report, asking)


def hang(site: Site, report: Report) -> None:
    """A call of the application never returns."""
    before = len(site.output)
    with load(site) as asking:
        begun = time.monotonic()
        ended = threading.Event()
        thread = threading.Thread(target=_hanging_request, args=(site.port, ended), daemon=True)
        thread.start()
        if ended.wait(HANG_WATCH_S):
            report.done_s = time.monotonic() - begun
            report.outcome = f"ended after {report.done_s:.0f} s"
            pause(AFTER_S)
        else:
            report.outcome = f"hangs for more than {HANG_WATCH_S:.0f} s"
    report.stack = "yes" if STACK in site.output[before:] else "no"
    take(report, asking)


def _hanging_request(port: int, ended: threading.Event) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2 * HANG_WATCH_S)
    with contextlib.suppress(OSError, http.client.HTTPException):
        connection.request("GET", "/hang")
        connection.getresponse().read()
    connection.close()
    ended.set()


CASES: Final[dict[str, Case]] = {
    "reload": good_reload,
    "broken reload": broken_reload,
    "kill -9 of a worker": kill_worker,
    "kill -9 of the master": kill_master,
    "hang": hang,
}


def run(contender: Contender, case: str) -> Report:
    """Do one case to one server.

    Raises:
        ServerFailed: It did not start.
    """
    report = Report(contender.name, case)
    with (
        tempfile.TemporaryDirectory(prefix="gwctl-lifecycle-", ignore_cleanup_errors=True) as name,
        running(contender, Path(name)) as site,
    ):
        wait(lambda: len(site.processes) > WORKERS, AFTER_S)
        pause(1)  # they exist; now they import
        CASES[case](site, report)
        if case != "kill -9 of the master" and not site.ended:
            report.left = site.stop()
    return report


assert STOP_TIMEOUT_S > HANG_LIMIT_S
