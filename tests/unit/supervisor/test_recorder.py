"""The one door to the log: level and subject come from the record."""

from __future__ import annotations

from pathlib import Path

from gwctl.log.event_log import Log
from gwctl.log.level import Level
from gwctl.records.base import Process
from gwctl.records.workers import NoPidfd, WorkerBooting
from gwctl.supervisor.history import History
from gwctl.supervisor.recorder import Recorder

WEB = Process("web", 1, 3, 4134)


def test_a_record_is_a_line_of_its_level_about_its_subject(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("wb") as file:
        recorder = Recorder(Log(file.fileno(), Level.INFO), History.of("shop"))
        recorder.write(WorkerBooting(process=WEB, stage="import"))
        recorder.write(NoPidfd(process=WEB, reason="Too many open files"))
        recorder.log.level = Level.DEBUG
        recorder.write(WorkerBooting(process=WEB, stage="lifespan"))
    said = [line.split(maxsplit=1)[1] for line in path.read_text().splitlines()]
    assert said == [
        "warn  web.1 g3   no pidfd for pid 4134: Too many open files. SIGCHLD tells of its end instead",
        "debug web.1 g3   pid 4134 boot: lifespan",
    ]
