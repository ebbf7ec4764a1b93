"""A report of a process in words: one sentence, its numbers, then its threads and tasks, a line each."""

from __future__ import annotations

from typing import Final

from gwctl.records.base import Process
from gwctl.records.report import ProcessReport, TaskReport, ThreadReport
from gwctl.wording import age, mebibytes, requests, seconds, threads

_STATES: Final = {
    "R": "running",
    "S": "sleeping",
    "D": "in the kernel, not to be interrupted (D)",
    "T": "stopped (T)",
    "t": "stopped by a tracer (t)",
    "Z": "dead, not reaped (Z)",
}


def told(process: Process, ending: str, reason: str, report: ProcessReport | None) -> str:
    first = f"pid {process.pid} {ending}: {reason}"
    if report is None:
        return first
    if report.request and report.request not in reason:
        first += f", {_serving(report)}"
    return "\n".join([first, *_details(report)])


def seen(process: Process, report: ProcessReport) -> str:
    """What a worker is at that lives on."""
    first = f"{process.subject} pid {process.pid}"
    if report.request:
        first += f", {_serving(report)}"
    return "\n".join([first, *(f"  {line}" for line in _details(report))])


def _serving(report: ProcessReport) -> str:
    return f"serving {report.request} for {seconds(report.request_s)}"


def _details(report: ProcessReport) -> list[str]:
    lines = [_numbers(report)]
    for thread in report.threads:
        lines += [f"{_thread(thread)}:", *(f"  {frame}" for frame in thread.frames)]
    if report.idle_threads:
        lines.append(f"{threads(report.idle_threads)} without the application's code")
    if report.has_stacks and not (report.threads or report.tasks):
        lines[-1] = f"idle: none of its {threads(report.idle_threads)} runs the application's code"
    for task in report.tasks:
        lines += [f"{_task(task)}:", *(f"  {frame}" for frame in task.frames)]
    if report.more_tasks:
        lines.append(f"{report.more_tasks} more tasks")
    if report.truncated:
        lines.append("... (more frames than are shown)")
    if not report.has_stacks:
        lines.append(_no_stacks(report.kernel_state))
    return lines


def _numbers(report: ProcessReport) -> str:
    parts = [f"up {age(report.up_s)}", requests(report.requests), mebibytes(report.memory_bytes)]
    if report.under_way > bool(report.request):
        parts.append(f"{report.under_way} under way")
    if report.kernel_state:
        parts.append(_STATES.get(report.kernel_state, report.kernel_state))
    if report.waits_in:
        parts.append(f"wait channel {report.waits_in}")
    return f"worker: {', '.join(parts)}"


def _thread(thread: ThreadReport) -> str:
    name = "main thread" if thread.main else f"thread {thread.name or hex(thread.ident)}"
    if not thread.request:
        return name
    took = "" if thread.request_s is None else f", {seconds(thread.request_s)}"
    return f"{name} ({thread.request}{took})"


def _task(task: TaskReport) -> str:
    if not task.request:
        return f"task {task.name}"
    return f"task {task.name} ({task.request}, {seconds(task.request_s)})"


def _no_stacks(kernel_state: str) -> str:
    if kernel_state in {"T", "t"}:
        return "no stacks: a stopped process cannot write them"
    if kernel_state == "D":
        return "no stacks: it does not leave the kernel to write them"
    return "no stacks: it did not write them"
