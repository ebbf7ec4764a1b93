"""The parts of what is said about a stop: how it goes on, and what it waits for."""

from __future__ import annotations

from typing import assert_never

from gwctl.records import master
from gwctl.wording import connections, processes, requests, seconds, span
from gwctl.wording import workers as count_of_workers


def stop_plan(plan: master.StopPlan) -> str:
    """How it goes on from here."""
    count = processes(plan.workers, plan.templates)
    match plan.mode:
        case "accept":
            wait = seconds(plan.accept_s)
            return f"accepting for {wait} more, then {_finishing(plan)}. Asked again: that begins now"
        case "drain":
            return _finishing(plan) + (". Asked again: ends them at once" if plan.workers else "")
        case "quit" if not count:
            return "no worker is left to end"
        case "quit":
            return f"ending {count} at once, within {seconds(plan.gone_s)}. Asked again: kills them"
        case "kill":
            return f"killing {count or 'nobody: no worker is left'}"
        case _:
            assert_never(plan.mode)


def _finishing(plan: master.StopPlan) -> str:
    """How long the workers have for their requests, and until when the last of them is gone."""
    if not plan.workers:
        return "no worker has anything to finish"
    verb, are = ("finishes", "is") if plan.workers == 1 else ("finish", "are")
    within = f"at most {seconds(plan.finish_s)}, and {are} gone within {seconds(plan.gone_s)}"
    return f"{count_of_workers(plan.workers)} {verb}, {within}"


def at_what(one: master.WaitedFor) -> str:
    """What a process does that is waited for."""
    pid, since = one.process.pid, seconds(one.state_s)
    if one.state != "draining":
        return f"pid {pid} is {one.state} for {since}"
    if one.process.is_template:
        return f"pid {pid} shuts down for {since}"
    if not (one.requests or one.connections):
        return f"no connection left, pid {pid} shuts down for {since}"
    left = connections(one.connections)
    if not one.requests:
        return left
    if not one.request_s:
        return f"{requests(one.requests)} on {left}"
    text = f"{one.request}, {span(one.request_s)} so far"
    return text if one.requests == one.connections == 1 else f"{text}, of {requests(one.requests)} on {left}"
