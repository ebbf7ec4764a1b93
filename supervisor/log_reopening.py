"""SIGUSR1: all write to the files of logs as they are now, whatever a rotation has done to them."""

from __future__ import annotations

from gwctl.ipc.channel import REOPEN_EVENTS_PROTOCOL, Reopen, ReopenEvents
from gwctl.log import destination
from gwctl.records.master import AccessLogsReopened, LogNotReopened
from gwctl.supervisor.admin.process import AdminProcess
from gwctl.supervisor.children import stdio
from gwctl.supervisor.children.children import Children
from gwctl.supervisor.generations.generations import Generations
from gwctl.supervisor.recorder import Recorder
from gwctl.supervisor.service.log_files import LogFileError, put_events


def reopen_logs(
    generations: Generations, children: Children, admin: AdminProcess, recorder: Recorder
) -> None:
    """Open the access logs and the event log's file again, and have the workers write to those."""
    reopened, failures = generations.logs.reopen()
    for failure in failures:
        recorder.write(LogNotReopened(reason=failure))
    told = [child for child in children if child.settings.access_log in reopened and not child.template]
    for child in told:
        children.send(child.worker, Reopen(), (reopened[child.settings.access_log],))
    events = _reopen_events(generations.log_to, children, admin, recorder)
    recorder.write(AccessLogsReopened(files=len(reopened), workers=len(told), events=events))


def _reopen_events(path: str, children: Children, admin: AdminProcess, recorder: Recorder) -> str:
    """Have all write to the event log's file as it is now; return its name, if there is one."""
    if not destination.is_file(path):
        return ""
    try:
        put_events(path)
    except LogFileError as error:
        recorder.write(LogNotReopened(reason=str(error)))
        return ""
    for child in children:  # 0: it has not said yet what it speaks, and so is of this program
        if not 0 < child.protocol < REOPEN_EVENTS_PROTOCOL:
            with stdio.another_of_stderr() as own:
                children.send(child.worker, ReopenEvents(), (own,))
    admin.reopen_events()
    return path
