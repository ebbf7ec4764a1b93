"""What workers and templates say over their channels, as events for the core and lines of the log."""

from __future__ import annotations

from collections.abc import Callable

from gwctl import scoreboard
from gwctl.channel import (
    Forked,
    GaveUp,
    Hello,
    Message,
    Obeyed,
    Stage,
    Told,
    WorkerDrained,
    WorkerDraining,
    WorkerFailed,
    WorkerReady,
    compatible,
)
from gwctl.log import Log
from gwctl.supervisor.announce import ready_text
from gwctl.supervisor.child import Child
from gwctl.supervisor.core import events


def hear(
    child: Child,
    message: Message,
    log: Log,
    report: Callable[[events.Event], None],
    forked: Callable[[Child, Forked], None],
) -> None:
    """Take in what ``child`` said. ``forked`` is told what a template answers."""
    match message:
        case Hello():
            child.protocol = message.protocol
            reason = compatible(message, scoreboard.LAYOUT)
            if reason is not None:
                text = f"{reason}: the package on disk is another version; restart the service"
                report(events.BootFailed(child.worker, "boot", text, ""))
        case Stage(name=name):
            log.debug(f"pid {child.pid} boot: {name}", child.subject)
        case WorkerReady():
            child.ready = message
            who = "template " if child.template else ""
            log.info(f"{who}pid {child.pid} {ready_text(message)}", child.subject)
            report(events.Ready(child.worker))
        case WorkerFailed(kind=kind, message=text, traceback=trace):
            report(events.BootFailed(child.worker, kind, text, trace))
        case Obeyed(serving=serving):
            report(events.Obeyed(child.worker, serving))
        case WorkerDraining(connections=connections, requests=requests):
            text = f"pid {child.pid} draining: {requests} requests on {connections} connections"
            log.debug(text, child.subject)
            report(events.DrainStarted(child.worker))
        case GaveUp(request=request, age_s=age_s):
            report(events.Stuck(child.worker, request, age_s))
        case Told():
            if child.inquest is not None:
                child.inquest.told = message
        case Forked() if child.template:
            forked(child, message)
        case WorkerDrained(cut=cut):
            child.cut = cut
        case _:
            text = f"pid {child.pid} sent {type(message).__name__}, which is the master's to say"
            log.error(text, child.subject)
