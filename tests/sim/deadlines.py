"""The observer's rule about time: when a worker's is up, something is done.

Of one that hung, the first thing is a look, for which there is a moment more (`tests.sim.hanging`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.sim.books import SLACK_S, Unsafe
from tests.sim.hanging import awaits_its_last_sample
from tests.sim.templates import is_owed_by_the_dying

if TYPE_CHECKING:
    from tests.sim.observer import Observer


def judge_deadlines(observer: Observer) -> None:
    for seen in observer.workers.values():
        if seen.must_die and seen.state != "killed":
            raise Unsafe(f"{seen} is beyond the hard limit and was not killed")
        due = max(seen.due, seen.last_sample_until)
        if due + SLACK_S >= observer.now or is_owed_by_the_dying(observer, seen):
            continue
        if not awaits_its_last_sample(observer, seen):
            raise Unsafe(f"{seen} is past its deadline and nothing was done")
