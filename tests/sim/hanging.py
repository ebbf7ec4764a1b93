"""The observer's rules about workers that hang, and about how often the scoreboard is read.

- a worker that is ready is dumped only for what was observed of it: a request beyond its limit,
  not counting the time in which the master did not run; or a loop that gave its last heartbeat longer
  ago than its limit, and as long ago had its last request in hand and the master back if it was away,
  and that was seen standing still, with no request in hand, at each look over the second after that;
- the same goes for one that is parked, as it may have to serve again;
- it is dumped in the step in which that was to be seen;
- before it is killed it is looked at once more, and spared if it is well then; nobody else is spared;
- the scoreboard is read every five seconds; earlier only as an observed worker requires, and
  then in time.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gwctl.supervisor.core import events as ev
from gwctl.supervisor.core.actions import Spare
from tests.sim.books import LATE_S, SLACK_S, Seen, Unsafe
from tests.sim.templates import owes_for_too_long

if TYPE_CHECKING:
    from tests.sim.observer import Observer

EPSILON_S = 1e-6
SAMPLE_S = 5.0
SAMPLE_MIN_S = 0.05
NEAR_SAMPLE_S = 1.0
CONFIRM_S = 1.0
LAST_SAMPLE_S = 0.1
ABSENCES_MAX = 64


@dataclass(eq=False)
class Samples:
    """When the scoreboard was read, and when it is to be read next."""

    last_at: float | None = None
    due_at: float = 0.0
    allowed_at: float = 0.0
    """It may be read before it must be."""
    absences: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=ABSENCES_MAX))
    """When the master came late, and how late; those before the last so many are forgotten."""

    def needed(self, now: float, at: float) -> None:
        """What was just observed is to be looked at again then."""
        self.due_at = min(self.due_at, max(at, now + SAMPLE_MIN_S))
        self.allowed(self.due_at)

    def allowed(self, at: float) -> None:
        self.allowed_at = min(self.allowed_at, at)

    def says_what_it_waits_for(self, now: float, after_s: float) -> None:
        """A fleet that stops will then say it, and samples just before."""
        self.allowed(now + after_s - 0.1)

    def looked(self, now: float) -> None:
        if now < self.allowed_at - EPSILON_S:
            raise Unsafe(f"looked at the scoreboard {self.allowed_at - now:.3f} s before there was a reason")
        if self.last_at is not None and now < self.last_at + SAMPLE_MIN_S - EPSILON_S:
            raise Unsafe(f"looked at the scoreboard again after {now - self.last_at:.3f} s")
        self.last_at = now
        self.due_at = self.allowed_at = now + SAMPLE_S

    def judge(self, now: float, *, over: bool) -> None:
        """After each step; ``over``: the fleet has ended."""
        if self.last_at is None:
            self.last_at = now  # the start
            self.due_at = self.allowed_at = now + SAMPLE_S
        if now > self.due_at + SLACK_S and not over:
            raise Unsafe(f"nobody has looked at the scoreboard for {now - self.last_at:.3f} s")

    def forgive(self, now: float, late_s: float) -> None:
        self.due_at += late_s
        self.allowed_at += late_s
        self.absences.append((now, late_s))

    @property
    def back_at(self) -> float:
        return self.absences[-1][0] if self.absences else 0.0

    def away_since(self, since: float, margin_s: float) -> float:
        return sum(late_s - margin_s for at, late_s in self.absences if at > since)


def has_closed_channel(seen: Seen) -> bool:
    """Its channel has ended; whether that is what it ends for."""
    seen.channel_closed = True
    return seen.state in {"requested", "starting", "ready", "parked"}


def is_ready(samples: Samples, seen: Seen, now: float) -> None:
    """Its first request may begin now."""
    if limit_s := seen.policy.request_timeout_s:
        samples.needed(now, now + limit_s / 4)


def judge_observed(observer: Observer, seen: Seen, observed: ev.Observed) -> None:
    """Note what is to follow from what was observed; all other news of the step are known."""
    hard = seen.policy.recycle.memory_hard_bytes
    if hard * 0.8 < observed.memory_bytes <= hard and seen.state not in {"requested", "killed"}:
        observer.samples.needed(observer.now, observer.now + NEAR_SAMPLE_S)
    turned = observed.heartbeat_at != seen.heartbeat_at or bool(observed.busy_since)
    seen.heartbeat_at = observed.heartbeat_at
    seen.idle = not observed.busy_since
    if not seen.idle and seen.state in {"ready", "parked", "dumped"}:
        seen.busy_at = observer.now
    if turned or seen.state not in {"ready", "parked", "dumped"}:
        seen.still_at = None
    if seen.still_at is None and seen.idle and observer.now >= _silent_until(observer, seen):
        seen.still_at = observer.now
    if seen.state == "dumped" and seen.hangs:
        _allow_next_sample(observer, seen, observed)
        seen.found_well = not (_is_late(observer, observed, 0.0) or _is_still(observer, seen))
    if seen.state in {"ready", "parked"}:
        is_ready(observer.samples, seen, observer.now)
        _judge_request(observer, seen, observed)
        _judge_loop(observer, seen)


def _judge_request(observer: Observer, seen: Seen, observed: ev.Observed) -> None:
    if observed.request_due_at:
        samples, now = observer.samples, observer.now
        if _is_late(observer, observed, LATE_S):
            seen.hung_at = now
        due_at = observed.request_due_at + samples.away_since(observed.busy_since, 0.0)
        _found_at(observer, seen, due_at)


def _allow_next_sample(observer: Observer, seen: Seen, observed: ev.Observed) -> None:
    """The fleet may want to look at a dumped worker as at others."""
    samples = observer.samples
    if observed.request_due_at:
        samples.allowed(observed.request_due_at + samples.away_since(observed.busy_since, LATE_S))
    if seen.idle:
        samples.allowed(_loop_due_at(observer, seen))


def _is_late(observer: Observer, observed: ev.Observed, margin_s: float) -> bool:
    away_s = observer.samples.away_since(observed.busy_since, margin_s)
    return bool(observed.request_due_at) and observer.now >= observed.request_due_at + away_s


def _silent_until(observer: Observer, seen: Seen) -> float:
    """So long nobody minds that its loop does not turn."""
    limit_s = seen.policy.heartbeat_timeout_s
    return (
        max(seen.heartbeat_at, seen.busy_at, observer.samples.back_at) + limit_s if limit_s else float("inf")
    )


def _loop_due_at(observer: Observer, seen: Seen) -> float:
    return _silent_until(observer, seen) if seen.still_at is None else seen.still_at + CONFIRM_S


def _is_still(observer: Observer, seen: Seen) -> bool:
    return seen.still_at is not None and observer.now >= seen.still_at + CONFIRM_S


def _judge_loop(observer: Observer, seen: Seen) -> None:
    if seen.idle and seen.policy.heartbeat_timeout_s:
        if _is_still(observer, seen):
            seen.hung_at = observer.now
        _found_at(observer, seen, _loop_due_at(observer, seen))


def _found_at(observer: Observer, seen: Seen, due_at: float) -> None:
    if observer.now < due_at:
        observer.samples.needed(observer.now, due_at)
    else:
        observer.found.append(seen)


def judge_found(observer: Observer) -> None:
    """After the step: whoever was seen to hang has been told to say why."""
    for seen in observer.found:
        if seen.state in {"ready", "parked"}:
            raise Unsafe(f"{seen} was seen to hang and was not dumped")
    observer.found.clear()


def judge_dump(observer: Observer, seen: Seen) -> None:
    """``seen`` is asked for its stacks: its time is up, or it was seen to hang."""
    ready = seen.state in {"ready", "parked"}
    early = (seen.due > observer.now + EPSILON_S and not ready) or observer.late
    if seen.state == "ready" and seen.is_template:
        if early or not owes_for_too_long(observer, seen):
            raise Unsafe(f"dump to {seen}, which owes nothing")
    elif ready:
        if seen.hung_at != observer.now:
            raise Unsafe(f"dump to {seen}, which is well")
        seen.hangs, seen.looked_again, seen.found_well = True, False, False
        seen.last_sample_until = 0.0
        observer.samples.allowed(observer.now + seen.policy.dump_grace_s)
    elif seen.state not in {"starting", "lost", "draining"} or early:
        raise Unsafe(f"dump to {seen} before its time")


def looked(observer: Observer) -> None:
    observer.samples.looked(observer.now)
    for seen in observer.workers.values():
        seen.looked_again, seen.found_well = True, False  # what the look shows counts, if it shows anything
        if seen.state == "dumped" and seen.hangs:
            observer.samples.allowed(seen.due)
            awaits_its_last_sample(observer, seen)


def awaits_its_last_sample(observer: Observer, seen: Seen) -> bool:
    """Tell whether the time of ``seen`` was up just now, in a turn that may have come a little late.

    Then it is not killed in this turn: it is looked at in one of the next, and killed if that shows nothing.
    """
    if seen.state != "dumped" or not seen.hangs or seen.due > observer.now or seen.last_sample_until:
        return False
    seen.last_sample_until = observer.now + LAST_SAMPLE_S
    return True


def heard_stuck(observer: Observer, event: ev.Stuck) -> None:
    """A worker gave a request up: it is due to be replaced, also by what is on disk."""
    seen = observer.workers.get(event.worker)
    if seen is not None and seen.state in {"ready", "parked"} and not seen.told_to_end:
        seen.worn = seen.stuck = True
        seen.surely_worn = seen.surely_worn or observer.in_force(seen)
        if observer.txn is not None and seen.generation == observer.txn.generation:
            observer.txn.failed = True


def judge_spared(observer: Observer, action: Spare) -> None:
    seen = observer.workers.get(action.worker)
    if seen is None or seen.state != "dumped" or not seen.hangs or not seen.found_well:
        raise Unsafe(f"spared {seen}")
    seen.hangs, seen.still_at = False, None
    seen.enter("ready", float("inf"))


def judge_kill(observer: Observer, seen: Seen) -> None:
    """``seen`` is killed: if it hung, that was looked at again."""
    waived = observer.stopping or seen.must_die or seen.channel_closed
    if seen.state == "dumped" and seen.hangs and not waived:
        if not seen.looked_again:
            raise Unsafe(f"killed {seen} without another look")
        if seen.found_well:
            raise Unsafe(f"killed {seen}, which was seen to be well again")
