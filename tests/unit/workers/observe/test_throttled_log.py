"""Errors that come back with each request make a line in a while, and none is forgotten."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gwctl.log.event_log import Log
from gwctl.log.level import Level
from gwctl.workers.observe import throttled_log


def test_a_line_at_once_then_one_in_a_while_with_how_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(throttled_log.time, "monotonic", lambda: now[0])
    path = tmp_path / "log"
    told = throttled_log.ThrottledLog(Log(os.open(path, os.O_WRONLY | os.O_CREAT), Level.INFO, "web.0"))
    for n in range(1000):
        now[0] += 0.05
        told.error("body", f"request {n} failed")
    told.error("accept", "another kind")
    now[0] += throttled_log.QUIET_S
    told.error("body", "the last one failed")
    lines = [line.partition("web.0")[2].strip() for line in path.read_text().splitlines()]
    assert lines == [
        "request 0 failed",
        "another kind",
        "the last one failed (999 more of this kind since it was last said)",
    ]
