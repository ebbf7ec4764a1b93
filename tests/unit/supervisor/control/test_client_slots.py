"""Who has to go when all places at the control socket are taken."""

from __future__ import annotations

from dataclasses import dataclass

from gwctl.supervisor.control.client_slots import IDLE_S, PEER_MAX, idle, next_idle_at, who_leaves


@dataclass(eq=False)
class Someone:
    peer: int
    active_at: float
    waits: bool = False
    follows: bool = False


def test_the_process_with_many_connections_loses_one_first() -> None:
    """However lively they are, and whoever else has been silent for longer; even if all of them wait."""
    quiet = Someone(1, 0.0)
    many = [Someone(2, 10.0 + number, waits=number % 2 == 0) for number in range(PEER_MAX + 1)]
    more = [Someone(3, 20.0 + number, waits=True) for number in range(PEER_MAX + 2)]
    assert who_leaves([quiet, *many]) is many[1]
    assert who_leaves([quiet, *many, *more]) is more[0]


def test_a_few_of_one_process_count_like_those_of_several() -> None:
    quiet = Someone(1, 0.0)
    few = [Someone(2, 10.0) for _ in range(PEER_MAX)]
    assert who_leaves([*few, quiet]) is quiet


def test_who_waits_stays_as_long_as_somebody_does_not() -> None:
    waiting, asking = Someone(1, 0.0, waits=True), Someone(2, 99.0)
    assert who_leaves([waiting, asking]) is asking
    assert who_leaves([waiting, Someone(3, 5.0, waits=True)]) is waiting


def test_who_follows_events_goes_before_who_waits_for_an_answer() -> None:
    waiting = Someone(1, 0.0, waits=True)
    following = [Someone(each, 50.0 + each, waits=True, follows=True) for each in (2, 3)]
    assert who_leaves([waiting, *following]) is following[0]
    assert who_leaves([waiting, *following, Someone(4, 99.0)]).waits is False


def test_processes_that_are_not_told_apart_count_as_several() -> None:
    clients = [Someone(0, float(10 - number)) for number in range(10)]
    assert who_leaves(clients) is clients[-1]


def test_who_has_said_nothing_for_too_long() -> None:
    clients = [Someone(1, 100.0), Someone(2, 100.0, waits=True), Someone(3, 101.0)]
    assert idle(clients, 100.0 + IDLE_S - 0.01) == []
    assert idle(clients, 100.0 + IDLE_S) == [clients[0]]
    assert next_idle_at(clients) == 100.0 + IDLE_S
    assert next_idle_at([clients[1]]) == float("inf")
