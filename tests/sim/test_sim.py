"""The core in the simulated world, shortened: fixed seeds, drawn seeds, and fleets broken on purpose.

``make sim`` runs it for as long as wanted.
"""

from __future__ import annotations

import re

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gwctl.supervisor.core import deadlines
from gwctl.supervisor.core.fleet import Fleet
from gwctl.supervisor.core.policy import PoolPolicy
from tests.sim import hanging
from tests.sim.books import SLACK_S, Seen, Unsafe
from tests.sim.deadlines import judge_deadlines
from tests.sim.episodes import episode, run
from tests.sim.mishaps import NO_FAULTS, Faults
from tests.sim.mutants import MUTANTS, Mutant
from tests.sim.observer import Observer
from tests.sim.run import main

pytestmark = pytest.mark.timeout(600)  # on a machine that does ten other things as well

EPISODES_MAX = 600
"""In which a mutant must be caught; most are in the first ten."""
FIRST_SEEDS = {
    "counts_processors_alone": 215,
    "says_each_time_that_it_keeps_dying": 93,
    "grows_before_all_serve": 86,
    "forgets_its_bounds": 66,
    "overlooks_long_requests": 59,
    "kills_without_a_last_sample": 41,
    "spares_nobody": 41,
    "forgets_at_once_how_large_they_were": 40,
    "makes_room_at_the_first_look": 40,
    "blames_others_for_its_own_absence": 31,
}
"""Where these are looked for first: they were caught there last, after many that did not find them."""


@pytest.mark.parametrize("seed", [2, 3])
def test_no_rule_is_broken_and_what_is_meant_to_happen_does(seed: int) -> None:
    """Also that the faults do occur: a world without any would prove nothing."""
    seen = run(seed, 30_000)
    for what in (
        "Adopt",
        "Abandon",
        "crash",
        "left by itself",
        "link lost",
        "Dump",
        "Kill",
        "suspended",
        "upgraded",
        "upgrade abandoned",
        "is recycled",
        "killed for its memory",
        "keeps dying",
        "has recovered",
        "hang",
        "forked by a template",
        "template does not answer",
        "reload of some",
        "restarted",
        "restarted with a failure",
        "went back from a restart",
        "unknown pool",
        "measured",
        "refused by a watch",
        "scaled: waits",
        "scaled: busy",
        "scaled: quiet",
        "not scaled: max",
        "not scaled: cpu",
        "not scaled: memory",
        "scaled: allowed",
        "ends first",
        "near its limit",
    ):
        assert seen[what] > 0, what
    assert seen["finished with status 0"] > 0
    assert seen["finished with status 3"] > 0


probabilities = st.floats(0, 0.5)
AWAY_DURING_A_LAST_SAMPLE = Faults(
    spawn_fails=0.1875,
    fork_is_late=0.25,
    boot_hangs=0.1875,
    dies=0.5,
    leaves=0.0625,
    unobserved=0.375,
    owes=0.25,
    sticks=0.375,
    unreaped=0.5,
    late=0.03125,
)
LATE_FOR_A_LAST_SAMPLE = Faults(
    spawn_fails=0.1212,
    dies=0.5,
    loses_link=0.0878,
    leaves=0.0398,
    quit_ignored=0.1623,
    settings_wrong=0.1633,
    generation_broken=0.1794,
    owes=0.0182,
    sticks=0.4583,
    recovers=0.2406,
    late=0.05,
)
LEFT_TWICE_AND_DIED = Faults(
    spawn_fails=0.5,
    fork_is_late=0.3298,
    boot_hangs=0.1663,
    dies=0.0098,
    loses_link=0.2221,
    leaves=0.5,
    quit_ignored=0.1324,
    unreaped=0.2571,
    generation_broken=0.5,
    unobserved=0.4736,
    swells=0.9,
    sticks=0.5,
    recovers=0.5,
)
GIVEN_UP_BEFORE_IT_BEGAN = Faults(
    spawn_fails=0.5, fork_is_late=0.25, boot_hangs=0.375, boot_fails=0.125, dies=0.125, late=0.0234375
)
"""A restart, by a stop, while its settings were read."""
AWAY_BETWEEN_TWO_CANARIES = Faults(
    fork_is_late=0.3986,
    boot_hangs=0.1013,
    boot_fails=0.1898,
    loses_link=0.2682,
    leaves=0.3856,
    unreaped=0.0399,
    settings_wrong=0.4934,
    owes=0.1593,
    swells=0.3277,
    late=0.03044,
)
SPARED_AND_STILL = Faults(
    spawn_fails=0.0975,
    fork_is_late=0.5,
    loses_link=0.0691,
    leaves=0.4593,
    drain_hangs=0.0278,
    settings_wrong=0.3301,
    unobserved=0.5,
    owes=0.1802,
    sticks=0.1046,
    late=0.0256,
)
AWAY_MORE_OFTEN_THAN_IS_REMEMBERED = Faults(
    spawn_fails=0.5,
    fork_is_late=0.2757,
    boot_hangs=0.4846,
    dies=0.3107,
    loses_link=0.0221,
    drain_hangs=0.5,
    settings_wrong=0.0441,
    generation_broken=0.5,
    owes=0.5,
    sticks=0.5,
    late=0.4,
)
STUCK_WHEN_YOUNG = Faults(
    spawn_fails=0.4697,
    boot_hangs=0.1576,
    dies=0.2752,
    loses_link=0.0659,
    drain_hangs=0.5,
    settings_wrong=0.2711,
    generation_broken=0.5,
    unobserved=0.4076,
    owes=0.5,
    swells=0.5,
    sticks=0.5,
    recovers=0.378,
)
UNREAPED_BESIDE_DYING_SUCCESSORS = Faults(
    spawn_fails=0.2045,
    fork_is_late=0.5,
    boot_fails=0.3849,
    dies=0.2615,
    loses_link=0.4706,
    leaves=0.0576,
    drain_hangs=0.5,
    quit_ignored=0.1459,
    unreaped=0.3131,
    settings_wrong=0.5,
    generation_broken=0.0923,
    swells=0.3977,
    sticks=0.3047,
    recovers=0.3745,
    late=0.0031,
)
A_YOUNGER_CANARY_IS_LEFT = Faults(
    spawn_fails=0.0,
    fork_is_late=0.28125,
    boot_hangs=0.0,
    boot_fails=0.125,
    dies=0.0,
    loses_link=0.40625,
    leaves=0.0,
    unobserved=0.03125,
    owes=0.0,
    swells=0.0,
    sticks=0.0,
    recovers=0.375,
    drain_hangs=0.375,
    quit_ignored=0.0,
    unreaped=0.125,
    settings_wrong=0.0,
    generation_broken=0.5,
    late=0.046875,
)
"""The size falls while the first of two canaries still boots: the one that has lived goes."""
LEFT_BY_A_CANARY_BESIDE = Faults(
    fork_is_late=0.5,
    dies=0.5,
    loses_link=0.0068,
    leaves=0.5,
    quit_ignored=0.5,
    unreaped=0.5,
    settings_wrong=0.2258,
    generation_broken=0.5,
    owes=0.0389,
    swells=0.3037,
    sticks=0.221,
    recovers=0.063,
    late=0.0422,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 2**32),
    faults=st.builds(
        Faults,
        spawn_fails=probabilities,
        fork_is_late=probabilities,
        boot_hangs=probabilities,
        boot_fails=probabilities,
        dies=probabilities,
        loses_link=probabilities,
        leaves=probabilities,
        unobserved=probabilities,
        owes=probabilities,
        swells=probabilities,
        sticks=probabilities,
        recovers=probabilities,
        drain_hangs=probabilities,
        quit_ignored=probabilities,
        unreaped=probabilities,
        settings_wrong=probabilities,
        generation_broken=probabilities,
        late=st.floats(0, 0.05),
    ),
)
@example(seed=1877800, faults=AWAY_DURING_A_LAST_SAMPLE)
@example(seed=342769001, faults=LATE_FOR_A_LAST_SAMPLE)
@example(seed=347371766, faults=LEFT_TWICE_AND_DIED)
@example(seed=2847381154, faults=SPARED_AND_STILL)
@example(seed=6488, faults=GIVEN_UP_BEFORE_IT_BEGAN)
@example(seed=40275, faults=AWAY_BETWEEN_TWO_CANARIES)
@example(seed=1184334248, faults=AWAY_MORE_OFTEN_THAN_IS_REMEMBERED)
@example(seed=2841726432, faults=STUCK_WHEN_YOUNG)
@example(seed=1336575048, faults=UNREAPED_BESIDE_DYING_SUCCESSORS)
@example(seed=2334613906, faults=LEFT_BY_A_CANARY_BESIDE)
@example(seed=2494165, faults=A_YOUNGER_CANARY_IS_LEFT)
def test_no_rule_is_broken_whatever_the_mixture_of_faults(seed: int, faults: Faults) -> None:
    """Hypothesis looks for the smallest mixture that breaks one."""
    episode(seed, faults=faults)


def hung(now: float) -> tuple[Observer, Seen]:
    """An observer, and a worker that was dumped since it hung and is to be killed at ``now`` + 0.5 s."""
    policy = PoolPolicy(size=1)
    observer = Observer({"web": policy})
    observer.now = now
    seen = observer.workers[1] = Seen(1, "web", 0, 1, policy, hangs=True)
    seen.enter("dumped", now + 0.5)
    return observer, seen


def test_a_worker_that_hung_is_looked_at_before_it_must_be_dead() -> None:
    """Also if the turn that finds its time up comes late, but not so late that all get it again."""
    observer, seen = hung(100.0)
    observer.now = seen.due + 0.9 * deadlines.LATE_S
    judge_deadlines(observer)
    observer.now += hanging.LAST_SAMPLE_S + SLACK_S + 0.1
    with pytest.raises(Unsafe, match="past its deadline"):
        judge_deadlines(observer)


def test_a_last_look_has_the_time_again_in_which_the_master_did_not_run() -> None:
    observer, _ = hung(100.0)
    observer.now = 100.8
    judge_deadlines(observer)
    observer.saw(150.0, [], [], 100.9, 160.0)
    observer.now = 100.9 + 49.1 + deadlines.LATE_S
    judge_deadlines(observer)
    observer.now += SLACK_S + 0.1
    with pytest.raises(Unsafe, match="past its deadline"):
        judge_deadlines(observer)


def test_without_faults_nobody_is_killed_unasked() -> None:
    for seed in range(40):
        seen = episode(seed, faults=NO_FAULTS).seen
        assert seen["Kill"] == seen["killed as asked"]
        assert seen["Dump"] == 0


def test_the_same_seed_tells_the_same_story() -> None:
    assert episode(5).seen == episode(5).seen
    assert episode(5).now == episode(5).now


def _play_many(first_seed: int) -> None:
    for seed in (first_seed, *range(EPISODES_MAX)):
        episode(seed)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_broken_fleet_is_caught(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the observer, not by the fleet's own check."""
    monkeypatch.setattr(Fleet, "check", lambda fleet: None)
    mutant(monkeypatch)
    with pytest.raises(AssertionError):
        _play_many(FIRST_SEEDS.get(mutant.__name__, 0))


SENT_AWAY = re.compile(r"> (?:Park|ReleaseClients|Drain)\(")


def test_a_failure_prints_the_seed_with_which_it_can_be_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("gwctl.supervisor.core.pool.draining_limit", lambda pool, wanted: 99)
    assert main(["--seed", "7", "--steps", "100000"]) == 1
    printed = capsys.readouterr().out
    assert "parked and draining" in printed
    assert SENT_AWAY.search(printed), "a short story of it"
    command = printed.rpartition("python -m tests.sim.run ")[2].split()
    assert command[0] == "--episode"
    assert main(command[:2]) == 1
    assert SENT_AWAY.search(capsys.readouterr().out)


def test_a_run_counts_what_happened(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seed", "1", "--steps", "2000"]) == 0
    assert "Adopt" in capsys.readouterr().out
