"""The observer's rules about what is said of slots that keep dying.

That a slot keeps dying is said once when it begins, and once when it is over; and it is over only
when a worker of it has lived for ``healthy_after_s``. How slowly it is tried meanwhile is in `tests.sim.books`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gwctl.supervisor.core import actions as act
from tests.sim.books import Unsafe

if TYPE_CHECKING:
    from tests.sim.observer import Observer

_OF_A_SLOT = re.compile(r"slot (\d+) (keeps dying|lives again) ")


def judge_note(observer: Observer, action: act.Note) -> None:
    found = _OF_A_SLOT.match(action.text)
    if found is None:
        return
    place, failures = (action.subject, int(found[1])), observer.failures
    begins = found[2] == "keeps dying"
    if begins == (place in failures.said):
        raise Unsafe(f"said again, or of nothing: {place}: {action.text}")
    if begins:
        failures.said.add(place)
        return
    if place in failures.counted and not any(
        seen.place == place and seen.has_proved_itself(observer.now) for seen in observer.workers.values()
    ):
        raise Unsafe(f"nobody in {place} has lived for so long: {action.text}")
    failures.said.discard(place)
    failures.forget(place)
