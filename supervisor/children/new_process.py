"""What is opened for a process before it is forked: all of it, or nothing."""

from __future__ import annotations

import socket
from contextlib import ExitStack

from msgspec import Struct

from gwctl.errors import GwctlError
from gwctl.ipc import scoreboard
from gwctl.ipc.output_pipes import WorkerEnds
from gwctl.supervisor.children.incident_report import DumpFile
from gwctl.supervisor.children.outputs import Outputs
from gwctl.supervisor.children.scoreboards import Boards
from gwctl.supervisor.children.spawn_errors import why
from gwctl.supervisor.core.events import WorkerId


class NotOpenedError(GwctlError):
    """Why a process cannot be begun, in words for the log."""


class Opened(Struct):
    """The master keeps ``record``, ``dump`` and ``ours``; the rest is the new process's."""

    record: scoreboard.Record
    dump: DumpFile
    ours: socket.socket
    theirs: socket.socket
    output: WorkerEnds | None = None
    """Where it prints; None: where the master does."""

    def close_theirs(self) -> None:
        """The process has it, or there is none."""
        self.theirs.close()
        if self.output is not None:
            self.output.close()


def open_for(
    worker: WorkerId, pool: str, pool_number: int, boards: Boards, outputs: Outputs, *, captured: bool
) -> Opened:
    """Open what a process of ``pool`` needs; with ``captured`` its pipes are known to ``outputs``.

    Raises:
        NotOpenedError: Something cannot be had. Nothing is open then.
    """
    with ExitStack() as undo:
        try:
            record = boards.of(pool).allocate(pool_number)
        except OSError as error:
            raise NotOpenedError(why(error, "a scoreboard for its pool")) from None
        if record is None:
            raise NotOpenedError("the scoreboard of its pool is full")
        undo.callback(boards.release, pool, record)
        try:
            dump = DumpFile.make()
            undo.callback(dump.close)
            output = outputs.make(worker) if captured else None
            if output is not None:
                undo.callback(output.close)
                undo.callback(outputs.forget, worker)
            ours, theirs = socket.socketpair()
        except OSError as error:
            raise NotOpenedError(why(error, "a channel to it")) from None
        undo.pop_all()
    return Opened(record, dump, ours, theirs, output)
