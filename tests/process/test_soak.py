"""The soak in short: a few seconds of faults, and a build that is broken on purpose, which must score.

The classes take turns, a day each. `make soak` is the long form, for each class, and with other broken builds.
"""

from __future__ import annotations

import datetime as dt
import random

from tests.soak.report import text
from tests.soak.run import Wish, soak
from tests.support.engine import WORKER_CLASSES

QUICK = ("reload", "reload_broken", "kill", "stop_a_while", "scale", "term", "reopen", "stop_the_master")
"""Faults that are over soon: a hang takes its time limit."""
HOSTILE = ("fork", "leave_thread", "exit", "leave", "cookies", "cancel", "reload")
DEEDS = {"only": HOSTILE, "pause_s": 0.1, "hostile": True, "faults_at_least": 4}


def of_the_day(offset: int = 0) -> str:
    return WORKER_CLASSES[(dt.datetime.now(tz=dt.UTC).toordinal() + offset) % len(WORKER_CLASSES)]


def test_a_short_soak_has_no_unexplained_failure() -> None:
    worker = of_the_day()
    seed = random.SystemRandom().randrange(1 << 32)
    run = soak(Wish(worker, 4.0, seed, only=QUICK, pause_s=0.3, faults_at_least=4))
    assert run.ok, text(run)
    assert all(result.requests for result in run.results), text(run)


def test_a_build_that_leaks_descriptors_is_found_out() -> None:
    run = soak(Wish("sync", 0.5, 1, broken="leaks", only=("reload",), pause_s=0.05))
    assert any("descriptors and now has" in problem for problem in run.verdict.problems), text(run)


def test_hostile_applications_and_clients_cost_others_nothing() -> None:
    worker = of_the_day(1)
    seed = random.SystemRandom().randrange(1 << 32)
    run = soak(Wish(worker, 1.5, seed, haste=0.5, **DEEDS))
    assert run.ok, text(run)
