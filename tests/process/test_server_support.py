"""The server under test is judged by checks that can fail: a stand-in for gwctl misbehaves in each way."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.support.server import GwctlServer

STAND_IN = """
import os, signal, subprocess, sys
mode = os.environ["STAND_IN"]
clock = "10:02:11.204"

def stop(*_):
    if mode == "status":
        sys.exit(1)
    if mode == "deaf":
        return
    sys.exit(0)

signal.signal(signal.SIGTERM, stop)
if mode == "dies":
    sys.exit("cannot listen")
if mode == "orphan":  # a grandchild whose parent is gone, in a process group of its own
    if os.fork() == 0:
        if os.fork() == 0:
            os.setpgid(0, 0)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            while True:
                signal.pause()
        os._exit(0)
    os.wait()
if mode == "zombie":
    if (child := os.fork()) == 0:
        os._exit(0)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)  # it has ended, and is not reaped
if mode == "error":
    print(f"{clock} error web.0 g1   it broke", file=sys.stderr, flush=True)
if mode == "kill":
    print(f"{clock} warn  web.0 g1   ended by SIGKILL", file=sys.stderr, flush=True)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # one that came just before a pause would be slept through
print(f"{clock} info  master     serving: web 1/1 ready, http://127.0.0.1:1", file=sys.stderr, flush=True)
signal.sigwait({signal.SIGTERM})
stop()
while True:
    signal.pause()
"""


@pytest.fixture
def stand_in(tmp_path: Path):
    script = tmp_path / "stand_in.py"
    script.write_text(STAND_IN)

    def make(mode: str, **options) -> GwctlServer:
        return GwctlServer(
            "app",
            command=(sys.executable, str(script)),
            environ={"STAND_IN": mode},
            bind="127.0.0.1:0",
            **options,
        )

    return make


def test_a_good_server_passes(stand_in) -> None:
    with stand_in("good") as server:
        assert server.url == "http://127.0.0.1:1"
        folder = server.folder
    assert server.status == 0
    assert not folder.exists()


@pytest.mark.parametrize(
    ("mode", "complaint"),
    [
        ("status", "exit status 1"),
        ("orphan", "left behind"),
        ("zombie", "a zombie"),
        ("error", "unexpected errors"),
        ("kill", "unexpected SIGKILL"),
        ("dies", "ended with status 1"),
    ],
)
def test_each_fault_is_found(stand_in, monkeypatch, mode: str, complaint: str) -> None:
    if mode == "zombie":
        monkeypatch.setattr("tests.support.server.STOP_TIMEOUT_S", 0.5)  # it is waited for, and stays
    with pytest.raises(AssertionError, match=complaint), stand_in(mode):
        pass


def test_a_server_that_does_not_stop_is_found_and_ended(stand_in, monkeypatch) -> None:
    monkeypatch.setattr("tests.support.server.STOP_TIMEOUT_S", 0.5)
    server = stand_in("deaf")
    with pytest.raises(AssertionError, match="still runs"), server:
        pass
    with pytest.raises(ProcessLookupError):
        os.kill(server.pid, 0)


@pytest.mark.parametrize(
    ("mode", "options"), [("error", {"allow_errors": ["it broke"]}), ("kill", {"allow_kill": True})]
)
def test_what_the_test_announced_passes(stand_in, mode: str, options: dict) -> None:
    with stand_in(mode, **options):
        pass
