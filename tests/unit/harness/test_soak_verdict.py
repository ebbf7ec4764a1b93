"""The soak's verdict: what a killed worker had in hand is explained, and nothing else."""

from __future__ import annotations

import dataclasses

from tests.load.result import Incident, Result
from tests.soak.books import Books, Outcome
from tests.soak.owners import Death
from tests.soak.verdict import judge

LOST = Incident("keep-alive", "reset_reused", "reset", 1, 7, 40_001, "812", began_at=99.9, failed_at=100.1)


def death(**changes: object) -> Death:
    whole = Death(812, "SIGKILL", clients={40_001}, looked_at=100.0, ended_at=100.05)
    return dataclasses.replace(whole, **changes)


def problems(incident: Incident, *deaths: Death) -> list[str]:
    result = Result(label="keep-alive", requests=10, failures={incident.failure: 1}, incidents=[incident])
    verdict = judge([result], Books(deaths=list(deaths)), "")
    assert verdict.failed + verdict.in_hand.total() == 1
    return verdict.problems


def test_what_a_killed_worker_had_in_hand_is_explained() -> None:
    assert not problems(LOST, death())


def test_a_failure_without_a_death_is_a_problem_told_with_its_story() -> None:
    (story,) = problems(LOST)
    assert "connection 1, its request 7" in story
    assert "port 40001, worker 812" in story


def test_the_connection_must_have_been_that_workers() -> None:
    assert problems(LOST, death(clients={40_002}))


def test_a_request_begun_after_the_death_is_not_its_doing() -> None:
    assert problems(dataclasses.replace(LOST, began_at=100.2, failed_at=100.3), death())


def test_nor_one_that_failed_before_it() -> None:
    assert problems(LOST, death(looked_at=100.5, ended_at=100.6))


def test_a_websocket_is_in_hand_all_its_life() -> None:
    """Its client may notice at the next message."""
    cut = dataclasses.replace(LOST, failure="cut", began_at=100.4, failed_at=100.4)
    assert not problems(cut, death())


def test_only_a_worker_that_still_accepted_may_have_had_a_connection_nobody_saw() -> None:
    young = dataclasses.replace(LOST, request=1, port=40_009, worker="", began_at=100.01)
    assert problems(young, death())
    assert not problems(young, death(exact=False))


def refused(*timeline: tuple[float, str]) -> list[str]:
    outcome = Outcome("reload", wanted=True, ok=False, began_at=50.0, ended_at=60.0, output="because")
    return judge([], Books(outcomes=[outcome], timeline=list(timeline)), "").problems


def test_a_good_reload_may_be_refused_only_when_a_worker_was_hurt_meanwhile() -> None:
    assert refused() == ["reload was refused:\n  because"]
    assert refused((55.0, "scaled up to 4"))
    assert not refused((55.0, "kill -9 of a worker pid 812"))


def test_a_broken_release_must_be_refused() -> None:
    outcome = Outcome("reload of import", wanted=False, ok=True, began_at=50.0, ended_at=60.0, output="")
    (problem,) = judge([], Books(outcomes=[outcome]), "").problems
    assert "was adopted although it is broken" in problem


def test_error_lines_must_name_a_process_that_was_hurt() -> None:
    log = (
        "10:00:00.000 info  web.0 g1   pid 812 ready in 0.1 s\n"
        "10:00:01.000 error web.0 g1   pid 812 died: signal 9 (SIGKILL)\n"
        "10:00:02.000 error web.1 g1   pid 813 killed: it has served\n  worker: up 3 s\n"
    )
    verdict = judge([], Books(deaths=[death()]), log)
    (problem,) = verdict.problems
    assert "pid 813 killed" in problem
    assert "worker: up 3 s" in problem
