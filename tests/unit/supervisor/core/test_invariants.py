"""Each rule that the core checks after every step is one that it would notice broken."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gwctl.errors import InvariantViolation
from gwctl.supervisor.core.events import StopAsked
from gwctl.supervisor.core.fleet import Fleet
from gwctl.supervisor.core.worker import Order, State, Worker
from tests.support.core_story import CoreStory


def first(fleet: Fleet) -> Worker:
    return fleet.state.pools["web"].workers[0]


def _spins(fleet: Fleet) -> None:
    fleet.state.next_at = fleet.turn.now


def _tries_the_past(fleet: Fleet) -> None:
    fleet.state.generation = 9


def _loses_one(fleet: Fleet) -> None:
    fleet.state.pools["web"].members.popitem()


def _parks_without_a_reload(fleet: Fleet) -> None:
    fleet.state.reload = None
    first(fleet).order(Order.PARK, 0.0)


def _has_no_deadline(fleet: Fleet) -> None:
    first(fleet).order(Order.QUIT, 0.0)
    first(fleet).deadline = None


def _does_not_tell(fleet: Fleet) -> None:
    first(fleet).leaving = True


def _keeps_one_while_it_stops(fleet: Fleet) -> None:
    fleet._stop(StopAsked(0, "SIGTERM"))


def _orders_nobody(fleet: Fleet) -> None:
    first(fleet)._enter(State.REQUESTED, 0.0)


def _does_not_serve(fleet: Fleet) -> None:
    first(fleet).told = None


def _holds_a_slot_twice(fleet: Fleet) -> None:
    for worker in fleet.state.pools["web"].workers:
        worker.slot = 0


@pytest.mark.parametrize(
    ("breaks", "rule"),
    [
        (_spins, "is not after now"),
        (_tries_the_past, "is tried while"),
        (_loses_one, "pools hold"),
        (_parks_without_a_reload, "is parked and no reload"),
        (_has_no_deadline, "has no deadline"),
        (_does_not_tell, "it was not told"),
        (_keeps_one_while_it_stops, "is to stay while the fleet stops"),
        (_orders_nobody, "before it existed"),
        (_does_not_serve, "was not told to serve"),
        (_holds_a_slot_twice, "two workers hold slot 0"),
    ],
)
def test_a_broken_rule_is_noticed(breaks: Callable[[Fleet], None], rule: str) -> None:
    story = CoreStory(web=2).serves()
    story.reloads()
    story.fleet.check()
    breaks(story.fleet)
    with pytest.raises(InvariantViolation, match=rule):
        story.fleet.check()


def test_a_broken_fleet_goes_on_waiting_for_what_it_reloads() -> None:
    """It decides nothing any more; its deadlines are no reason to fail."""
    story = CoreStory(web=2).serves()
    story.reloads()
    story.boots(3)
    story.fleet.state.broken = "some rule"
    story.passes(200)
    assert story.fleet.state.pools["web"].ready == 2
