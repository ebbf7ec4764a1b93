"""Every POST is run at most once: the short form of `make once`, and a build in which some are run twice."""

from __future__ import annotations

import random

import pytest

from tests.once.run import KINDLY, Wish, once


@pytest.mark.parametrize("worker", ["sync", "threads", "asgi"])
def test_every_post_is_run_at_most_once(worker: str) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    run = once(Wish(worker, 1200, seed, pause_s=0.2))
    assert run.ok, f"seed {seed}\n{run.text()}"
    assert run.verdict.answered > run.verdict.posts * 0.9, run.text()
    assert run.books.counts["reload"], run.text()


@pytest.mark.parametrize("worker", ["sync", "threads", "asgi"])
def test_where_nobody_is_killed_what_was_run_is_answered(worker: str) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    run = once(Wish(worker, 1200, seed, pause_s=0.1, only=KINDLY))
    assert run.ok, f"seed {seed}\n{run.text()}"
    assert run.books.counts["reload"], run.text()


def test_a_build_that_replays_what_it_hands_over_is_found_out() -> None:
    for seed in range(16):  # whether anything is handed over in one run is up to how the workers are loaded
        posts = 2500 << (seed // 4)  # a quick machine has done few of them too soon
        run = once(Wish("sync", posts, seed, broken="replays", only=(), connections=48))
        if run.verdict.twice or run.verdict.mixed:
            return  # two workers read from one connection: they run one POST twice, or take each other's bytes
    pytest.fail(run.text())
