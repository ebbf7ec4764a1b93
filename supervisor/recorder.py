"""The one door from what happens to where it is told: a record goes in, and the log says it in words."""

from __future__ import annotations

from collections.abc import Iterable

from gwctl.log.event_log import Log
from gwctl.log.json_lines import Origin
from gwctl.log.level import Level
from gwctl.log.output_lines import OutputLine, Printed
from gwctl.records import AnyRecord
from gwctl.records.base import Process
from gwctl.supervisor.history import History
from gwctl.supervisor.starter import Starter
from gwctl.supervisor.tally import Tally


class Recorder:
    """Takes the records of one master. Nothing in the supervisor writes to the log but this."""

    def __init__(self, log: Log, history: History) -> None:
        self.log = log
        """For its level, its descriptors and what waits in it."""
        self.history = history
        self.tally = Tally()
        self.starter: Starter | None = None
        """Looks at stderr while the log goes elsewhere; until the start is over."""

    def write(self, record: AnyRecord) -> None:
        """Keep it, whatever its level; and have the log say it, if that tells of such."""
        happening = self.history.add(record)
        self.tally.count(record)
        level = Level[record.level.upper()]
        if level >= self.log.level:
            at = happening.time.timestamp()
            self.log.write_record(level, happening.text, happening.subject, at, happening)
        if self.starter is not None and self.starter.hears(record, happening.text):
            self.starter = None

    def write_output(self, process: Process, stream: str, lines: Iterable[OutputLine]) -> None:
        """Have the log say what a worker or template printed. That is kept nowhere else."""
        slot = -1 if process.is_template else process.slot
        origin = Origin(self.history.instance, process.pool, slot, process.generation)
        self.log.write_output(Printed(process.subject, process.pid, origin, stream), lines)

    def close_in_child(self) -> None:
        """In a forked child: close what the master has of its log and its start."""
        self.log.close_in_child()
        if self.starter is not None:
            self.starter.close()
