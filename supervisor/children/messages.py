"""What workers and templates say over their channels, as events for the core and lines of the log.

They run the application, so they may say anything: what is no message, the same one for ever, texts
without end, answers that nobody asked for. Rules

    - What breaks the protocol (`ChannelError`) costs the peer its channel: nothing more is read from it,
      and it is replaced like any worker that cannot be reached.
    - So does saying more than a worker ever has to. What it costs to listen is bounded before that.
    - Texts and numbers are cut to what a log and a status can bear.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from gwctl.config.model.worker_class import WORKER_CLASSES
from gwctl.ipc import scoreboard
from gwctl.ipc.channel import (
    ChannelError,
    Forked,
    GaveUp,
    Hello,
    Message,
    Obeyed,
    Raised,
    RequestReport,
    RequestUnderWay,
    SlowEnded,
    Stage,
    TaskStack,
    WorkerDrained,
    WorkerDraining,
    WorkerFailed,
    WorkerReady,
    compatible,
)
from gwctl.records import workers as records
from gwctl.records.base import Process
from gwctl.supervisor.children.child import Child
from gwctl.supervisor.children.peer_limits import COUNT_MAX, count, cut, one_line
from gwctl.supervisor.core import events
from gwctl.supervisor.recorder import Recorder

NAME_CHARS_MAX: Final = 100
REQUEST_CHARS_MAX: Final = 1000
MESSAGE_CHARS_MAX: Final = 4000
TRACEBACK_CHARS_MAX: Final = 40_000
RAISED_CHARS_MAX: Final = 4096
"""Of a traceback of which there may be several."""
PLACE_CHARS_MAX: Final = 300
NAMED_MAX: Final = 100
"""Requests and tasks in one answer, and frames of each."""


STACKS_CHARS_MAX: Final = 1 << 18


def handle_message(
    child: Child,
    message: Message,
    now: float,
    recorder: Recorder,
    report: Callable[[events.Event], None],
    forked: Callable[[Child, Forked], None],
) -> None:
    """Take in what ``child`` said. ``forked`` is told what a template answers.

    Raises:
        ChannelError: It is not for it to say that, or not again, or not so much.
    """
    if not (
        isinstance(message, Forked) or child.owes(message)
    ):  # of these there is one for each that was asked
        child.allowance.spend(now)
    match message:
        case Hello():
            _once(child.protocol, message)
            child.protocol = count(message.protocol)
            reason = compatible(message, scoreboard.LAYOUT)
            if reason is not None:
                what = f"{cut(reason, MESSAGE_CHARS_MAX)}: the package on disk is another version"
                report(events.BootFailed(child.worker, "boot", f"{what}; restart the service", ""))
        case Stage(name=name):
            recorder.write(records.WorkerBooting(process=child.process, stage=cut(name, NAME_CHARS_MAX)))
        case WorkerReady():
            _once(child.ready, message)
            child.ready = _bounded_ready(message)
            recorder.write(_ready(child.process, child.ready))
            report(events.Ready(child.worker))
        case WorkerFailed(kind=kind, message=text, traceback=trace):
            text, trace = cut(text, MESSAGE_CHARS_MAX), cut(trace, TRACEBACK_CHARS_MAX)
            report(events.BootFailed(child.worker, cut(kind, NAME_CHARS_MAX), text, trace))
        case Obeyed(serving=serving):
            report(events.Obeyed(child.worker, serving))
        case WorkerDraining(connections=connections, requests=requests):
            recorder.write(
                records.WorkerDraining(
                    process=child.process, requests=count(requests), connections=count(connections)
                )
            )
            report(events.DrainStarted(child.worker))
        case GaveUp() | SlowEnded() | Raised():
            _of_requests(child, message, recorder, report)
        case RequestReport():
            child.take_report(_bounded_report(message))
        case Forked() if child.template:
            forked(child, message)
        case WorkerDrained(cut=unfinished):
            child.cut = count(unfinished)
        case _:
            raise _not_its_to_say(message)


def _of_requests(
    child: Child,
    message: GaveUp | SlowEnded | Raised,
    recorder: Recorder,
    report: Callable[[events.Event], None],
) -> None:
    match message:
        case GaveUp(request=request, age_s=age_s):
            report(events.Stuck(child.worker, child.shown(cut(request, REQUEST_CHARS_MAX)), age_s))
        case SlowEnded(request=request, status=status, seconds=took_s) if (
            child.settings.timeouts.slow_request_s
        ):
            recorder.write(
                records.SlowRequestEnded(
                    process=child.process,
                    request=child.shown(cut(request, REQUEST_CHARS_MAX)),
                    status=count(status, 999),
                    took_s=max(0.0, min(took_s, float(COUNT_MAX))),
                )
            )
        case Raised(kind=kind, where=where, traceback=trace) if child.settings.reload.watch_s:
            kind, where = one_line(kind, NAME_CHARS_MAX), one_line(where, PLACE_CHARS_MAX)
            report(events.Raised(child.worker, kind, where, cut(trace, RAISED_CHARS_MAX)))
        case _:
            raise _not_its_to_say(message)


def _not_its_to_say(message: Message) -> ChannelError:
    return ChannelError(f"{type(message).__name__}, which is not for it to say")


def _once(before: object, message: Message) -> None:
    if before:
        raise ChannelError(f"{type(message).__name__} a second time")


def _ready(process: Process, ready: WorkerReady) -> records.WorkerReady:
    return records.WorkerReady(
        process=process,
        worker_class=ready.worker_class,
        boot_s=ready.boot_s,
        import_s=ready.import_s,
        memory_bytes=ready.memory_bytes,
        parser=ready.parser,
    )


def _bounded_ready(ready: WorkerReady) -> WorkerReady:
    if ready.worker_class not in WORKER_CLASSES:
        raise ChannelError(f"a worker class that there is not: {cut(ready.worker_class, NAME_CHARS_MAX)!r}")
    return msgspec.structs.replace(
        ready,
        import_s=max(0.0, min(ready.import_s, float(COUNT_MAX))),
        boot_s=max(0.0, min(ready.boot_s, float(COUNT_MAX))),
        memory_bytes=max(0, min(ready.memory_bytes, 1 << 60)),
        parser=cut(ready.parser, NAME_CHARS_MAX),
        loop=cut(ready.loop, NAME_CHARS_MAX),
    )


def _bounded_report(report: RequestReport) -> RequestReport:
    requests = tuple(
        RequestUnderWay(cut(each.what, REQUEST_CHARS_MAX), each.age_s, count(each.thread, 1 << 63))
        for each in report.requests[:NAMED_MAX]
    )
    tasks = tuple(
        TaskStack(
            cut(each.name, NAME_CHARS_MAX),
            cut(each.request, REQUEST_CHARS_MAX),
            tuple(cut(frame, REQUEST_CHARS_MAX) for frame in each.frames[:NAMED_MAX]),
        )
        for each in report.tasks[:NAMED_MAX]
    )
    stacks = cut(report.stacks, STACKS_CHARS_MAX)
    return RequestReport(requests, tasks, count(report.more_requests), count(report.more_tasks), stacks)
