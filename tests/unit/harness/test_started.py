"""A process that is forked is what one would be that is a program of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support import started
from tests.support.wait import DEADLINE_S, until

ENVIRON = {**os.environ, "PYTHONPATH": str(started.ROOT), "A": "b \udcff"}


def what_it_is(folder: Path, kind: type, **options: Any) -> tuple[dict[str, Any], bytes | None]:
    process = started.start(
        ["one", "tw\xf6"],
        module="tests.support.what_am_i",
        environ=ENVIRON,
        cwd=folder,
        stdin=started.PIPE,
        stdout=started.PIPE,
        stderr=started.PIPE,
        **options,
    )
    assert isinstance(process, kind)
    out, errors = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 7
    assert out
    return json.loads(out), errors


@pytest.mark.parametrize("new_session", [False, True])
def test_it_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, new_session: bool) -> None:
    with socket.socket() as passed:
        options = {"pass_fds": [passed.fileno()], "start_new_session": new_session}
        monkeypatch.delenv("TEST_STARTS", raising=False)
        forked, errors = what_it_is(tmp_path, started.Forked, **options)
        monkeypatch.setenv("TEST_STARTS", "exec")
        executed, _ = what_it_is(tmp_path, subprocess.Popen, **options)
    assert forked == executed
    assert forked["leads_session"] == new_session
    assert errors == b"and on stderr"


def test_how_it_ended_is_known() -> None:
    arguments = ["status", "--control", "/nowhere"]
    process = started.start(arguments, environ=ENVIRON, cwd="/", stderr=started.PIPE)
    _, errors = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == process.poll() == process.wait() == 1
    assert b"/nowhere" in (errors or b"")


def test_it_is_waited_for_and_killed(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text("import time\ntime.sleep(60)\n")
    process = started.start(["check", "--app", "shop"], environ=ENVIRON, cwd=tmp_path, stdout=started.PIPE)
    assert process.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.01)
    process.kill()
    assert process.wait(DEADLINE_S) == -signal.SIGKILL
    process.kill()  # of nobody
    assert process.stdout
    process.stdout.close()


def test_it_may_end_as_it_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process = started.start(["--version"], environ=ENVIRON, cwd=tmp_path)
    assert process.wait(DEADLINE_S) == 0
    monkeypatch.setattr(process, "poll", lambda: None)  # it ends after it was asked
    process.kill()


def test_what_the_interpreter_heeds_at_its_start_is_no_fork(tmp_path: Path) -> None:
    process = started.start(["--version"], environ={**ENVIRON, "PYTHONUTF8": "1"}, cwd=tmp_path)
    assert isinstance(process, subprocess.Popen)
    assert process.wait(DEADLINE_S) == 0


def test_the_server_outlives_what_cannot_be_started(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    process = started.start(["--version"], environ=ENVIRON, cwd=gone)
    assert process.wait(DEADLINE_S) == 1
    process = started.start(["--version"], environ=ENVIRON, cwd=tmp_path)
    until(lambda: process.poll() is not None, "the end")
    assert process.returncode == 0
