"""One measurement: a server pinned to one core, wrk pinned to another."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import os
import re
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contenders import Contender
from benchmarks.tools import APPS, need

SERVER_CORE, CLIENT_CORE = "0", "1"
START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Sample:
    """What wrk reported, and what the server's processes used meanwhile.

    ``failures`` counts socket errors, time-outs and statuses other than 2xx. The rate for each
    second of processor time that the server was given hardly depends on what else the machine
    does; where it is far above the plain rate, the run was disturbed.
    """

    requests_per_s: float
    p50_ms: float
    p99_ms: float
    failures: int
    requests_per_cpu_s: float = 0.0


class ServerFailed(Exception):  # noqa: N818 - reads as what happened
    """It did not answer; the message holds its output."""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


@contextlib.contextmanager
def running(contender: Contender, core: str | None = SERVER_CORE) -> Iterator[tuple[int, int]]:
    """Start ``contender``; yield port and pid once it answers; stop it and whatever it started."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="gwctl-bench-") as folder:
        output = Path(folder) / "output"
        pin = [need("taskset", "util-linux"), "-c", core] if core else []
        with output.open("wb") as stream:
            process = subprocess.Popen(
                [*pin, *contender.command(port, Path(folder))],
                cwd=APPS,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            wait_until_answering(process, port, output)
            yield port, process.pid
        finally:
            stop(process)


def wait_until_answering(process: subprocess.Popen[bytes], port: int, output: Path) -> None:
    end = time.monotonic() + START_TIMEOUT_S
    while not answers(port):
        if process.poll() is not None or time.monotonic() > end:
            raise ServerFailed(output.read_text("utf-8", "replace"))
        time.sleep(0.05)


def stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        print(f"  did not stop within {STOP_TIMEOUT_S:g} s: killed")
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def cpu_s(session: int) -> float:
    """Processor time of all living processes of a session: a server is started in one of its own."""
    total = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            fields = stat.read_text("utf-8", "replace").rpartition(")")[2].split()
            if int(fields[3]) == session:
                total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def measure(port: int, session: int, seconds: int) -> Sample:
    """A run of `wrk` with the server's processor time beside it."""
    before = cpu_s(session)
    sample = wrk(port, seconds)
    used = cpu_s(session) - before
    rate = sample.requests_per_s * seconds / used if used else 0.0
    return dataclasses.replace(sample, requests_per_cpu_s=rate)


def wrk(port: int, seconds: int, connections: int = 32) -> Sample:
    """One run against ``port``, with one thread on the client's core."""
    command = [need("taskset", "util-linux"), "-c", CLIENT_CORE, need("wrk", "wrk"), "--latency"]
    command += ["-t1", f"-c{connections}", f"-d{seconds}s", f"http://127.0.0.1:{port}/"]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return parse(text)


def parse(text: str) -> Sample:
    """Read wrk's report."""
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    if not rate:
        raise ServerFailed(text)
    errors = re.search(r"connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    bad_status = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    failures = sum(map(int, errors.groups())) if errors else 0
    failures += int(bad_status[1]) if bad_status else 0
    return Sample(float(rate[1]), latency_ms(text, "50"), latency_ms(text, "99"), failures)


def latency_ms(text: str, percent: str) -> float:
    found = re.search(rf"^\s+{percent}%\s+([\d.]+)(us|ms|s)\s*$", text, re.MULTILINE)
    if not found:
        return 0.0
    return float(found[1]) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[found[2]]
