"""Starting and stopping a server, and what its processes use.

Each server is started in a session of its own: whatever it forks is found by that, measured and
killed with it. It is killed outright: how it stops is not what these benchmarks compare.
"""

from __future__ import annotations

import compileall
import contextlib
import functools
import http.client
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contenders import Contender, Launch
from benchmarks.tools import APPS, ROOT, free_port, need
from benchmarks.workloads import HELLO_WORLD, Workload

START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 10.0
POLL_S = 0.002


class ServerFailed(Exception):  # noqa: N818 - reads as what happened
    """It did not start or did not answer; the message is one line, ``output`` all that it wrote."""

    def __init__(self, message: str, output: str = "") -> None:
        super().__init__(message)
        self.output = output


@dataclass(frozen=True)
class Server:
    """A running one. ``pid`` leads its session; ``start_s``: from its start to the first answer."""

    port: int
    pid: int
    folder: Path
    start_s: float


def cores() -> list[int]:
    """Those that we may run on."""
    return sorted(os.sched_getaffinity(0))


@contextlib.contextmanager
def running(
    contender: Contender,
    workload: Workload = HELLO_WORLD,
    *,
    core: int | None = None,
    workers: int = 1,
) -> Iterator[Server]:
    """Start ``contender``; yield once it answers; kill it and whatever it started.

    Raises:
        ServerFailed: It cannot be started, ended, or did not answer in time.
    """
    if contender.ours:
        compile_ours()
    app = workload.apps[contender.interface]
    with tempfile.TemporaryDirectory(prefix="gwctl-bench-", ignore_cleanup_errors=True) as name:
        launch = Launch(app, free_port(), Path(name), workers, workload.access_log)
        pin = [need("taskset", "util-linux"), "-c", str(core)] if core is not None else []
        output = launch.folder / "output"
        started = time.monotonic()
        process = spawn([*pin, *contender.command(launch)], contender.environment, output)
        try:
            wait_until_answering(process, launch.port, workload, output)
            yield Server(launch.port, process.pid, launch.folder, time.monotonic() - started)
        finally:
            kill(process)


@functools.cache
def compile_ours() -> None:
    """Write gwctl's bytecode, as pip does for whatever it installs: the peers need not compile theirs."""
    for folder in ("gwctl", "supervisor", "workers", "config"):
        compileall.compile_dir(ROOT / folder, quiet=1)


def spawn(
    command: Sequence[str], environment: Mapping[str, str], output: Path, *, cwd: Path = APPS
) -> subprocess.Popen[bytes]:
    with output.open("wb") as stream:
        try:
            return subprocess.Popen(
                command,
                cwd=cwd,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise ServerFailed(f"cannot be started: {error}") from error


def answers(port: int, workload: Workload) -> bool:
    """Whether anything is answered; whether it is right is checked later."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request(workload.method, workload.path, workload.body or None, dict(workload.headers))
        connection.getresponse().read()
        return True
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def wait_until_answering(
    process: subprocess.Popen[bytes], port: int, workload: Workload, output: Path
) -> None:
    end = time.monotonic() + START_TIMEOUT_S
    while not answers(port, workload):
        ended = process.poll() is not None
        if ended or time.monotonic() > end:
            text = output.read_text("utf-8", "replace")
            what = (
                f"ended with status {process.returncode}" if ended else f"no answer in {START_TIMEOUT_S:g} s"
            )
            raise ServerFailed(f"{what}: {last_line(text)}", text)
        time.sleep(POLL_S)


def last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:120] if lines else "it wrote nothing"


def kill(process: subprocess.Popen[bytes]) -> None:
    """All processes of its session; the loop is for those that were being forked meanwhile."""
    end = time.monotonic() + STOP_TIMEOUT_S
    while pids := [pid for pid in session(process.pid) if pid != process.pid or process.poll() is None]:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > end:
            print(f"  did not die: {pids}")
            break
        time.sleep(POLL_S)
    process.wait()


def session(leader: int) -> list[int]:
    """Pids of the living processes of a session, the leader first."""
    return sorted((pid for pid, fields in stats() if int(fields[3]) == leader and fields[0] != "Z"))


def cpu_s(leader: int) -> float:
    """Processor time of all living processes of a session so far."""
    ticks = sum(int(fields[11]) + int(fields[12]) for _, fields in stats() if int(fields[3]) == leader)
    return ticks / os.sysconf("SC_CLK_TCK")


def stats() -> Iterator[tuple[int, list[str]]]:
    """Pid and the fields of /proc/PID/stat behind the name: 0 state, 3 session, 11 and 12 processor time."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            yield int(stat.parent.name), stat.read_text("utf-8", "replace").rpartition(")")[2].split()
