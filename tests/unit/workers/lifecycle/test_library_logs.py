"""What asyncio logs when nobody takes it: lines of ours, and not without end."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from gwctl.log.event_log import Log
from gwctl.workers.lifecycle import library_logs
from gwctl.workers.lifecycle.library_logs import REPEATS_MAX, REPEATS_S, _Forward, _LastResort


def a_record(error: Exception) -> logging.LogRecord:
    info = (type(error), error, None)
    text = "Exception in callback Loop._read_from_self\nhandle: <Handle>"
    return logging.LogRecord("asyncio", logging.ERROR, __file__, 1, text, (), info)


def test_what_a_broken_loop_says_in_each_turn_is_said_some_times_a_minute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(library_logs.time, "monotonic", lambda: now)
    fd = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    handler = _LastResort(_Forward(Log(fd)), None)
    for _ in range(5000):
        handler.emit(a_record(OSError(9, "Bad file descriptor")))
    handler.emit(a_record(ValueError("another one")))
    log = (tmp_path / "log").read_text()
    assert log.count("Exception in callback Loop._read_from_self") == REPEATS_MAX + 1
    assert "ValueError: another one" in log
    now += REPEATS_S
    handler.emit(a_record(OSError(9, "Bad file descriptor")))
    assert f"({5000 - REPEATS_MAX} more of these in the minute before)" in (tmp_path / "log").read_text()
    os.close(fd)
