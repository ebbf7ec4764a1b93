"""The observer's rules about what is said of slots that keep dying.

That a slot keeps dying is said once when it begins, and once when it is over; and it is over only
when a worker of it has lived for ``healthy_after_s``. How slowly it is tried meanwhile is in `tests.sim.books`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gwctl.records.workers import SlotKeepsDying, SlotRecovered
from gwctl.supervisor.core import actions as act
from tests.sim.books import Unsafe

if TYPE_CHECKING:
    from tests.sim.observer import Observer


def judge_note(observer: Observer, action: act.Note) -> None:
    record = action.record
    if not isinstance(record, SlotKeepsDying | SlotRecovered):
        return
    place, failures = (record.pool, record.slot), observer.failures
    begins = isinstance(record, SlotKeepsDying)
    if begins == (place in failures.said):
        raise Unsafe(f"said again, or of nothing: {place}: {record}")
    if begins:
        failures.said.add(place)
        return
    if place in failures.counted and not any(
        seen.place == place and seen.has_proved_itself(observer.now) for seen in observer.workers.values()
    ):
        raise Unsafe(f"nobody in {place} has lived for so long: {record}")
    failures.said.discard(place)
    failures.forget(place)
