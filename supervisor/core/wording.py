"""The words of the core: log lines and answers, in one place so that they sound alike."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from gwctl.supervisor.core.events import Exited
from gwctl.supervisor.core.pool import Pool
from gwctl.supervisor.core.worker import Order, State, Worker, time_limit
from gwctl.wording import connections, ordinal, requests, seconds, span, workers

NOT_STARTED: Final = "No worker is started before the next reload"
DEGRADED: Final = "disk differs from what runs"

_SIGNALS: Final = {
    1: "SIGHUP",
    2: "SIGINT",
    3: "SIGQUIT",
    4: "SIGILL",
    5: "SIGTRAP",
    6: "SIGABRT",
    7: "SIGBUS",
    8: "SIGFPE",
    9: "SIGKILL",
    10: "SIGUSR1",
    11: "SIGSEGV",
    12: "SIGUSR2",
    13: "SIGPIPE",
    14: "SIGALRM",
    15: "SIGTERM",
    24: "SIGXCPU",
    25: "SIGXFSZ",
    31: "SIGSYS",
}
"""Linux's numbers: the core does not import signal."""

KILL: Final = 9
NAMED_MAX: Final = 5
"""Workers that are named one by one in a line about all that are waited for."""


def processes(of_workers: int, of_templates: int) -> str:
    """``2 workers and 1 template``; empty when there is neither."""
    templates = "1 template" if of_templates == 1 else f"{of_templates} templates"
    named = [workers(of_workers)] if of_workers else []
    return " and ".join(named + ([templates] if of_templates else []))


def how_it_ended(status: int) -> str:
    if status < 0:
        name = _SIGNALS.get(-status)
        return f"signal {-status}" + (f" ({name})" if name else "")
    return f"exit status {status}"


def died(worker: Worker, exited: Exited, now: float) -> str:
    """What is known of an exit that nobody asked for."""
    text = f"pid {worker.pid} died: {exited.cause or how_it_ended(exited.status)}"
    if worker.ready_at is None:
        text += ", before it was ready"
    else:
        text += f", {seconds(now - worker.ready_at)} after it was ready"
    if exited.status == -KILL and not exited.cause and worker.told is not Order.KILL:
        text += ", not sent by gwctl (by somebody, or by the kernel out of memory)"
    return text + (f", while serving {exited.serving}" if exited.serving else "")


def what_next(failures: int, row_s: float, wait_s: float) -> str:
    """The end of a line about a crash: how often, and when the slot is tried again."""
    if wait_s == 0:
        return "Replaced at once"
    if failures > 1:
        return f"{ordinal(failures)} time in {seconds(row_s)}; next try in {seconds(wait_s)}"
    return f"Next try in {seconds(wait_s)}"


def counts(pools: Iterable[Pool]) -> str:
    """``web 4/4 ready, live 2/2 ready``."""
    return ", ".join(f"{pool.name} {pool.ready}/{pool.size} ready" for pool in pools if pool.size)


def scaled(name: str, was: int, size: int, asked: int) -> str:
    if asked < 1:
        return f"{name}: {was} -> {workers(size)}: a pool has at least one"
    return f"{name}: {was} -> {workers(size)}" if size != was else f"{name}: stays at {workers(size)}"


def waits_for(remaining: Iterable[Worker], now: float) -> str:
    """``waiting for web.0: GET /export, 41 s so far; web.1: 3 connections``: the longest request first."""
    some = sorted(remaining, key=lambda worker: (_busy_since(worker) or now, worker.since))
    text = "; ".join(f"{worker.name}: {_at_what(worker, now)}" for worker in some[:NAMED_MAX])
    more = len(some) - NAMED_MAX
    return f"waiting for {text}" + (f"; and {workers(more)} more" if more > 0 else "")


def _busy_since(worker: Worker) -> float:
    return worker.facts.busy_since if worker.facts is not None else 0.0


def _at_what(worker: Worker, now: float) -> str:
    """What a worker that is to end was at when it was last looked at."""
    facts = worker.facts
    if worker.state is not State.DRAINING:
        return f"pid {worker.pid} is {worker.state.value} for {seconds(now - worker.since)}"
    if worker.is_template:
        return f"pid {worker.pid} shuts down for {seconds(now - worker.since)}"
    if facts is None or not (facts.active or facts.connections):
        return f"no connection left, pid {worker.pid} shuts down for {seconds(now - worker.since)}"
    left = connections(facts.connections)
    if not facts.active:
        return left
    if not facts.busy_since:
        return f"{requests(facts.active)} on {left}"
    text = f"{facts.serving}, {span(now - facts.busy_since)} so far"
    return (
        text if facts.active == facts.connections == 1 else f"{text}, of {requests(facts.active)} on {left}"
    )


def too_long(worker: Worker) -> str:
    """Why its deadline brings a dump or a kill."""
    limit = seconds(time_limit(worker.state, worker.policy))
    match worker.state:
        case State.STARTING:
            return f"was not ready within {limit}"
        case State.LOST:
            return f"lost its channel to the master and did not end within {limit}"
        case State.DRAINING:
            return f"did not finish within {seconds(worker.policy.drain_timeout_s)} of draining"
        case State.QUITTING:
            return f"did not end within {limit}"
        case _:
            return f"was {worker.state.value} for {limit}"


def overdue(worker: Worker, now: float) -> str:
    """About a worker past its deadline for which nothing more can be done."""
    waited = seconds(now - worker.since)
    if worker.state is State.KILLED:
        return f"pid {worker.pid} was killed {waited} ago and is still there: it hangs in the kernel"
    return f"its fork was asked for {waited} ago and has not been answered"
