"""Reasons and answers in words: what the core says to whoever asked, and why it did what its records tell of.

Sentences about records are in `gwctl.records.sentences`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gwctl.config.model.types import WORKERS_MAX
from gwctl.records.reload_words import (
    adopted_as,
    not_adopted,
    what_failed,
    what_is_kept,
    what_is_left,
    what_is_removed,
    what_serves,
    where_it_stood,
)
from gwctl.records.reloads import ReloadAdopted, ReloadRefused
from gwctl.records.sentences import DEGRADED
from gwctl.supervisor.core.events import Raised
from gwctl.supervisor.core.slot import Slot
from gwctl.supervisor.core.worker import FORK_ANSWER_S, State, Worker, time_limit
from gwctl.watched import Served, Watched, failed_of, percent, too_few
from gwctl.wording import duration, requests, seconds, size, span, workers

# ---- why not


STOPPING: Final = "the fleet is stopping"
STOPS: Final = "the fleet stops"
CANNOT_START: Final = "the fleet could not be started"
TAKEOVER: Final = "takeover"
TOLD_TO_STOP: Final = "it was told to stop"
"""Of a master that was to take the place of another."""
KEEPS_NOTHING: Final = "a restart keeps no generation"
NOTHING_KEPT: Final = "no generation is kept. Set master.keep_s to keep one after each reload"


def broken(rule: str) -> str:
    return f"this master is broken ({rule}): restart it"


def under_way(what: str) -> str:
    article = "an" if what == "upgrade" else "a"
    return f"{article} {what} is under way. Ask again when it has ended"


def no_such_pool(name: str, known: Sequence[str]) -> str:
    return f"no pool named {name!r}; there is: {', '.join(known)}"


def of_phase(phase: str) -> str:
    """Why a pool's size waits."""
    return f"the fleet is {phase}"


def set_by_hand(who: str) -> str:
    return f"its size was set by {who}"


NAMED_TO_RECYCLE: Final = "was named by gwctl recycle"
RELOAD_UNDER_WAY: Final = "a reload is under way: it replaces all workers"


def no_worker_serves(pool: str, slot: int | None) -> str:
    return f"no worker of {pool} serves" if slot is None else f"no worker serves in {pool}.{slot}"


def recycled(pool: str, count: int) -> str:
    verb = "is" if count == 1 else "are"
    return f"{pool}: {workers(count)} {verb} replaced, each when its successor serves"


def would_be_others(why: str) -> str:
    return f"their successors would run other code: {why}. Reload instead"


def too_many() -> str:
    return f"a pool has at most {WORKERS_MAX} workers"


# ---- why a worker fails


TOLD_BY_OTHERS: Final = "told by somebody else"
CHANNEL_CLOSED: Final = "as its channel is closed"
STOPS_AT_ONCE: Final = "the fleet stops at once"


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


def did_not_fork(worker: str) -> str:
    return f"was asked to fork {worker} and did not answer within {seconds(FORK_ANSWER_S)}"


def of_template(reason: str) -> str:
    return f"template {reason}"


def not_started(reason: str) -> str:
    return f"could not be started: {reason}"


def had_to_drain(reason: str) -> str:
    return f"had to drain: {reason}"


def drains(pid: int, reason: str) -> str:
    return f"pid {pid} drains, {reason}"


def stuck(request: str, age_s: float) -> str:
    return f"{request} is stuck, {seconds(age_s)}"


def request_timeout(what: str) -> str:
    return f"request timeout: {what}"


def has_run(request: str, age_s: float, limit_s: float) -> str:
    return f"{request} has run {seconds(age_s)} (limit {seconds(limit_s)})"


def stands_still(silent_s: float, limit_s: float) -> str:
    return f"its loop has not turned for {seconds(silent_s)} (heartbeat_timeout_s {seconds(limit_s)})"


def waits(slot: Slot) -> str:
    """Why a slot is not tried now, for the status."""
    if slot.open:
        return "keeps dying"
    times = {1: "once", 2: "twice"}.get(slot.deaths, f"{slot.deaths} times")
    return f"has died {times}" if slot.deaths else "could not be started"


# ---- why it is replaced


def cannot_end(what: str) -> str:
    return f"cannot end a request: {what}"


def served(count: int, limit: int) -> str:
    return f"has served {requests(count)} (limit {limit:,})"


def served_for(age_s: float, limit_s: float) -> str:
    return f"has served for {span(age_s)} (limit {span(limit_s)})"


def holds(memory_bytes: int, limit_bytes: int) -> str:
    return f"holds {size(memory_bytes)} (limit {size(limit_bytes)})"


def holds_too_much(memory_bytes: int, limit_bytes: int) -> str:
    return f"holds {size(memory_bytes)} of memory, and memory_hard_bytes is {size(limit_bytes)}"


def largest(count: int, used_bytes: int, limit_bytes: int, *, ends_first: bool) -> str:
    """Why it is replaced for the memory of the control group."""
    which = f"is the largest of {workers(count)} that have grown" if count > 1 else "has grown"
    held = f"the control group holds {size(used_bytes)} (limit {size(limit_bytes)})"
    return f"{which}, and {held}" + (", which has no room for another beside it" if ends_first else "")


def with_numbers(reason: str, count: int, age_s: float, memory_bytes: int, serving: str) -> str:
    """With what one would ask for next."""
    busy = f", serving {serving}" if serving else ""
    return f"{reason}; {requests(count)} in {span(age_s)}, {size(memory_bytes)}{busy}"


def it(reason: str) -> str:
    return f"it {reason}"


RELOAD_DECIDES: Final = "when the reload is decided"


def next_reload(reason: str) -> str:
    return f"at the next reload: {reason}"


def rolled_back(generation: int) -> str:
    return f"{DEGRADED} (rolled back from generation {generation})"


# ---- why a generation goes


def kept_long_enough(kept_s: float) -> str:
    return f"it was kept for {span(kept_s)}"


def place_taken(generation: int) -> str:
    return f"generation {generation} takes its place"


def nobody_left(pools: Sequence[str]) -> str:
    return f"no worker of {', '.join(pools)} is left"


def not_confirmed(slot: int, pid: int, limit_s: float) -> str:
    return f"slot {slot} (pid {pid}) has not said within {seconds(limit_s)} that it serves"


def no_progress(stall_s: float, phase: str) -> str:
    return f"made no progress for {seconds(stall_s)} ({phase})"


def worse(watched: Watched, raised: Sequence[Raised]) -> str:
    """Why a watch refuses: what was seen of both generations, what is allowed, what the new one raised."""
    old, new = watched.old, watched.new
    if watched.worse == "errors":
        before = f"{old.errors:,} of {old.requests:,} ({percent(old.errors, old.requests)})"
        failed = f"{failed_of(new)}, and {before} in generation {old.generation}"
        return f"{failed}; errors_max allows {watched.errors_max:g}x; {_first_of(raised)}"
    return (
        f"it answers slower: 95 % of {requests(new.requests)} within {_within(new)}, in generation "
        f"{old.generation} of {old.requests:,} within {_within(old)}; "
        f"latency_max allows {watched.latency_max:g}x"
    )


def _first_of(raised: Sequence[Raised]) -> str:
    if not raised:
        return "no exception was raised or logged: the application, or a limit, made these responses"
    first = raised[0]
    return f"the first exception: {first.kind}{f' at {first.where}' if first.where else ''}"


def tracebacks(watched: Watched, raised: Sequence[Raised]) -> str:
    """What failed, if it failed: one below the other."""
    return "\n\n".join(each.traceback.strip("\n") for each in raised if watched.worse == "errors")


def _within(side: Served) -> str:
    return duration(side.p95_s) if side.p95_s is not None else "an unknown time"


def check_timed_out(limit_s: float) -> str:
    return f"the check of the new program did not end within {seconds(limit_s)}"


def upgraded(was: str, to: str) -> str:
    """The answer to an upgrade begins with it."""
    return f"upgraded from {was} to {to}"


# ---- answers


def reload_refused(reason: str) -> str:
    return f"not adopted: {reason}"


def rollback_refused(reason: str) -> str:
    return f"not rolled back: {reason}"


def restart_refused(reason: str) -> str:
    return f"not restarted: {reason}"


def takeover_refused(reason: str) -> str:
    return f"the master that runs is not taken over: {reason}"


def not_ready_within(waited_s: float) -> str:
    return f"it was not ready within {duration(waited_s)}"


def not_taken_over(pid: int, reason: str) -> str:
    """Of the new master, when it ends."""
    return f"not taken over: {reason}. The master that runs (pid {pid}) serves on"


def upgrade_refused(reason: str) -> str:
    return f"not upgraded: {reason}"


def adopted(record: ReloadAdopted, preface: str, warnings: Sequence[str]) -> str:
    doubts = [too_few(each) for each in record.watched if not each.enough]
    told = [f"warning: {each}" for each in (*doubts, *warnings)]
    rest = (what_is_removed(record), what_is_kept(record), what_is_left(record), what_failed(record))
    lines = [preface, adopted_as(record), *told, *rest]
    return "\n".join(filter(None, lines))


def refused(record: ReloadRefused, preface: str) -> str:
    serves = what_serves(record)
    parts = (preface, not_adopted(record), where_it_stood(record), f"{serves}." if serves else "")
    return "\n\n".join(filter(None, parts))


def last_adopted(record: ReloadAdopted) -> str:
    """For the status: how the last reload ended, in a line."""
    return f"{adopted_as(record)} ({record.source})"


def last_refused(record: ReloadRefused) -> str:
    return f"{not_adopted(record).splitlines()[0]} ({record.source})"


def of_pool(pool: str, text: str) -> str:
    """When there are several, whose trouble ended the start."""
    return f"{pool}: {text}"
