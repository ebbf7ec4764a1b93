"""The soak in short: a few seconds of faults, and builds that are broken on purpose, which must score.

`make soak` is the long form, for each class.
"""

from __future__ import annotations

import datetime as dt
import random

import pytest

from tests.soak.report import text
from tests.soak.run import Wish, soak
from tests.support.compiled import pure_only
from tests.support.engine import WORKER_CLASSES

QUICK = ("reload", "reload_broken", "kill", "stop_a_while", "scale", "term", "reopen", "stop_the_master")
"""Faults that are over soon: a hang takes its time limit."""
HOSTILE = ("fork", "leave_thread", "exit", "leave", "cookies", "cancel", "reload")
DEEDS = {"only": HOSTILE, "pause_s": 0.1, "hostile": True, "faults_at_least": 4}
RELOADS = {"only": ("reload",), "pause_s": 0.05, "haste": 2.0}


def test_a_short_soak_has_no_unexplained_failure() -> None:
    """The classes take turns, a day each: all of them are what `make soak` does."""
    worker = WORKER_CLASSES[dt.datetime.now(tz=dt.UTC).toordinal() % len(WORKER_CLASSES)]
    seed = random.SystemRandom().randrange(1 << 32)
    run = soak(Wish(worker, 4.0, seed, only=QUICK, pause_s=0.3, faults_at_least=4))
    assert run.ok, text(run)
    assert all(result.requests for result in run.results), text(run)


@pure_only
@pytest.mark.timeout(300)  # where a reload takes five seconds
def test_a_build_that_closes_idle_connections_at_once_fails_requests() -> None:
    """A busy machine reloads less often: so many reloads are waited for, unless one has shown it."""
    run = soak(Wish("threads", 30.0, 1, broken="closes-idle", fail_fast=True, faults_at_least=60, **RELOADS))
    assert run.verdict.failed > 0, text(run)


def test_a_build_that_leaks_descriptors_is_found_out() -> None:
    run = soak(Wish("sync", 0.5, 1, broken="leaks", only=("reload",), pause_s=0.05))
    assert any("descriptors and now has" in problem for problem in run.verdict.problems), text(run)


@pytest.mark.parametrize("worker", WORKER_CLASSES)
def test_hostile_applications_and_clients_cost_others_nothing(worker: str) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    run = soak(Wish(worker, 1.5, seed, haste=0.5, **DEEDS))
    assert run.ok, text(run)
