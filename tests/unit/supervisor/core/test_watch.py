"""Reloads that watch what they let in: when they check, what refuses, and what becomes of everything else meanwhile."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from gwctl.durations import PLACES, place_of
from gwctl.supervisor.core import events as ev
from gwctl.supervisor.core.policy import PoolPolicy, WatchPolicy
from gwctl.supervisor.core.snapshot import fleet_from, snapshot_of
from gwctl.supervisor.core.watch import UNANSWERED_S, checks_of, needed
from tests.support.core_story import CoreStory

POLICY = PoolPolicy(size=1, watch=WatchPolicy(watch_s=30.0))
WITHIN_S = 0.02


class WatchStory(CoreStory):
    """Answers each Measure: all workers that serve have had so many requests since the last one."""

    def __init__(self, *, policy: PoolPolicy = POLICY, **sizes: int) -> None:
        super().__init__(policy=policy, **sizes)
        self.counted: dict[int, list[Any]] = {}
        self.bad = 0
        """Requests of the new generation that fail, of 20 in each check."""
        self.within_s = WITHIN_S
        """How long those of the new generation take."""
        self.measured = 0

    def happens(self, *events: ev.Event, after: float = 0.0) -> list[str]:
        lines = super().happens(*events, after=after)
        while "Measure" in lines:
            lines.remove("Measure")
            lines += super().happens(self._measured())
        return lines

    def passes(self, seconds: float) -> list[str]:
        until, lines = self.now + seconds, []
        while (deadline := self.fleet.next_deadline()) is not None and deadline <= until:
            self.now = deadline
            lines += self.happens()
        self.now = until
        return lines

    def _measured(self) -> ev.Measured:
        self.measured += 1
        pools: dict[str, dict[int, ev.Figures]] = {}
        reload = self.fleet.state.reload
        for worker in self.fleet.turn.workers.values():
            counted = self.counted.setdefault(worker.id, [0, 0, [0] * PLACES])
            new = reload is not None and worker.generation == reload.generation
            if worker.serving:
                counted[0] += 20
                counted[1] += self.bad if new else 0
                counted[2][place_of(int(10_000 * (self.within_s if new else WITHIN_S)))] += 20
            figures = ev.Figures(counted[0], counted[1], tuple(counted[2]))
            pools.setdefault(worker.pool, {})[worker.id] = figures
        return ev.Measured(pools)

    def tries(self, **sizes: int) -> WatchStory:
        """A reload, until its canary is watched."""
        self.serves()
        self.reloads(**sizes)
        first = self.fleet.turn.last_id
        self.boots(first)
        self.passes(2)
        assert self.phase() == "watch"
        return self

    def phase(self, pool: str = "web") -> str:
        reload = self.fleet.state.reload
        return "" if reload is None else reload.phase_of(pool)


def test_a_good_generation_is_watched_twice_and_adopted() -> None:
    story = WatchStory(web=2).tries()
    assert story.passes(29.9) == []
    assert story.phase() == "watch"
    assert story.passes(0.1) == ["release_clients 1", "spawn 4 web.1 g2"]
    assert story.measured == 31, "at the beginning, and once a second"
    assert story.boots(4) == ["serve 4", "release_clients 2"]
    assert story.phase() == "watch-all"
    assert story.passes(29.9) == []
    assert story.passes(0.1) == ["adopt g2", "answer 7 yes", "drain 1", "drain 2"]
    assert story.measured == 62
    told = [line for line in story.progress if " watch" in line]
    assert told[0] == "7: web watch"
    assert "7: web watch ok 30 s" in told
    assert "7: web watch-all ok 30 s" in told
    (watched,) = story.answers[0].result["watched"]
    assert (watched["phase"], watched["for_s"], watched["enough"], watched["worse"]) == (
        "watch-all",
        30.0,
        True,
        "",
    )
    assert watched["new"] == {
        "generation": 2,
        "requests": 1200,
        "errors": 0,
        "p95_s": pytest.approx(0.02, rel=0.25),
    }
    assert "warning" not in story.answers[0].text


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize(("bad", "within_s", "kind"), [(5, WITHIN_S, "errors"), (0, 3 * WITHIN_S, "latency")])
def test_one_that_is_worse_is_refused_as_soon_as_that_is_clear(
    again: bool, bad: int, within_s: float, kind: str
) -> None:
    """Whatever stage it is found in, the old generation serves on with all its workers."""
    story = WatchStory(web=2).tries()
    if again:
        story.passes(30)
        story.boots(4)
    story.bad, story.within_s = bad, within_s
    lines = story.passes(29)
    assert "abandon g2" in lines
    (answer,) = story.answers
    assert answer.result["kind"] == "watch"
    assert answer.result["phase"] == ("watch-all" if again else "watch")
    assert answer.result["watched"][0]["worse"] == kind
    assert answer.result["watched"][0]["for_s"] < 15, "not only at the end"
    assert {"0 g1 ready", "1 g1 ready"} <= {*story.states()}
    assert all(worker.serving for worker in story.fleet.state.pools["web"].of_generation(1))
    assert story.fleet.state.degraded == "disk differs from what runs"
    if kind == "errors":
        assert "requests failed (25.0 %), and 0 of " in answer.text
        assert "; errors_max allows 2x" in answer.text
    else:
        assert "it answers slower: 95 % of " in answer.text
        assert "; latency_max allows 2x" in answer.text
    assert "generation 1 serves as before (web 2/2 ready)" in answer.text


def raised(worker: int, kind: str = "KeyError", line: int = 12) -> ev.Raised:
    place = f"/srv/shop/views.py:{line}"
    return ev.Raised(worker, kind, place, f'  File "/srv/shop/views.py", line {line}\n{kind}: x\n')


def test_a_refusal_shows_what_the_new_workers_raised() -> None:
    """The first three that differ, of new workers; also from before the watch began."""
    story = WatchStory(web=2).serves()
    story.reloads()
    story.boots(3)
    story.passes(1)
    story.happens(raised(1, "OldError"), raised(3), raised(3), raised(99, "OfNobody"))
    story.passes(1)
    story.bad = 5
    story.happens(raised(3, line=40), raised(3, "ValueError"), raised(3, "FourthError"))
    assert "abandon g2" in story.passes(29)
    (answer,) = story.answers
    assert "; errors_max allows 2x; the first exception: KeyError at /srv/shop/views.py:12\n" in answer.text
    assert answer.result["traceback"] == (
        '  File "/srv/shop/views.py", line 12\nKeyError: x\n\n'
        '  File "/srv/shop/views.py", line 40\nKeyError: x\n\n'
        '  File "/srv/shop/views.py", line 12\nValueError: x'
    )
    assert answer.result["traceback"] in answer.text
    assert "line 40" in story.notes[-1]
    assert "the first exception: KeyError at" in story.fleet.state.last_reload


def test_exceptions_of_before_are_not_those_of_the_next_reload() -> None:
    story = WatchStory(web=1).tries()
    story.happens(raised(2))
    story.bad = 5
    story.passes(29)
    story.happens(raised(1))
    story.reloads()
    story.boots(story.fleet.turn.last_id)
    story.passes(31)
    assert "no exception was raised or logged: the application, or a limit" in story.answers[1].text
    assert story.answers[1].result["traceback"] == ""


def test_a_refusal_for_latency_shows_no_exceptions() -> None:
    story = WatchStory(web=1).tries()
    story.happens(raised(2))
    story.within_s = 3 * WITHIN_S
    assert "abandon g2" in story.passes(29)
    assert "exception" not in story.answers[0].text
    assert story.answers[0].result["traceback"] == ""


def test_without_watch_s_nobody_looks() -> None:
    story = CoreStory(web=1).serves()
    story.reloads()
    story.boots(2)
    lines = story.passes(20)
    assert "Measure" not in lines
    assert "adopt g2" in lines
    assert "watched" not in story.answers[0].result


def test_too_few_requests_pass_with_a_warning() -> None:
    story = WatchStory(policy=replace(POLICY, watch=WatchPolicy(30.0, requests_min=2000)), web=1).tries()
    story.passes(80)
    (answer,) = story.answers
    assert answer.ok
    assert answer.text.splitlines()[1] == (
        "warning: web was watched for 30 s and served too little to be sure: 600 requests by generation 2, "
        "600 by 1 (requests_min 2000)"
    )
    assert not answer.result["watched"][0]["enough"]
    assert "served too little to be sure" in story.notes[-1]


def test_pools_that_are_not_watched_wait_for_those_that_are() -> None:
    story = WatchStory(policy=PoolPolicy(size=1), live=1, web=1).serves()
    story.policies["web"] = replace(story.policies["web"], watch=WatchPolicy(10.0))
    story.reloads()
    story.boots(3, 4)
    story.passes(2)
    assert (story.phase("live"), story.phase("web")) == ("watch", "watch")
    assert story.passes(9.9) == []
    assert story.passes(0.1) == ["park 1", "release_clients 2"]
    assert (story.phase("live"), story.phase("web")) == ("commit", "watch-all")
    assert "adopt g2" in story.passes(10)
    (watched,) = story.answers[0].result["watched"]
    assert watched["pool"] == "web"


def test_a_canary_that_dies_while_it_is_watched() -> None:
    story = WatchStory(web=2).tries()
    story.passes(5)
    assert story.dies(3) == ["abandon g2", "answer 7 no"]
    assert story.answers[0].result["phase"] == "watch"
    assert story.answers[0].result["kind"] == "exit"
    assert "watched" not in story.answers[0].result


def test_what_an_old_worker_leaves_undone_when_it_dies_has_failed() -> None:
    """A bad moment of the application is one of both generations."""
    story = WatchStory(web=2).tries()
    story.passes(5)
    story.happens(ev.Exited(2, -11, 0.0, cut=3))
    reload = story.fleet.state.reload
    assert reload is not None
    assert reload.watched("web").old.errors == 3
    assert reload.watched("web").new.errors == 0


def test_a_stop_ends_the_watch() -> None:
    story = WatchStory(web=1).tries()
    story.passes(5)
    lines = story.happens(ev.StopAsked(9, "gwctl stop"))
    assert "answer 7 no" in lines
    assert story.fleet.state.reload is None
    assert "stops" in story.answers[0].text


def test_what_is_asked_for_meanwhile_waits() -> None:
    """Another reload follows; an upgrade begins when the reload is decided; a rollback is refused."""
    story = WatchStory(web=1).tries()
    assert story.happens(ev.ReloadAsked(8, "gwctl reload"), ev.UpgradeAsked(9, "gwctl upgrade")) == []
    assert story.happens(ev.RollbackAsked(10, "gwctl rollback")) == ["answer 10 no"]
    lines = story.passes(75)
    assert "adopt g2" in lines
    assert "CheckUpgrade" in lines
    assert [answer.request for answer in story.answers] == [10, 7]


def test_the_generation_kept_before_stays_until_the_canaries_were_watched() -> None:
    story = WatchStory(web=1)
    story.keep_s = 300.0
    story.tries()
    story.passes(75)
    assert story.fleet.state.kept is not None
    story.reloads(11)
    story.boots(3)
    story.passes(2)
    story.bad = 20
    lines = story.passes(20)
    assert "answer 11 no" in lines
    assert story.fleet.state.kept is not None, "it failed before the roll"


def test_a_rollback_is_not_watched() -> None:
    """It goes back to what was good, and must be quick."""
    story = WatchStory(web=1)
    story.keep_s = 300.0
    story.tries()
    story.passes(75)
    story.rolls_back()
    measured = story.measured
    story.passes(1)
    story.obey(1, 2)
    assert "answer 8 yes" in story.passes(10)
    assert story.measured == measured


def test_a_pool_that_grows_meanwhile_is_watched_anew() -> None:
    story = WatchStory(web=1).tries()
    story.passes(30)
    assert story.phase() == "watch-all"
    story.passes(20)
    assert story.happens(ev.ScaleAsked(0, "web", size=2)) == ["serve 1", "spawn 3 web.1 g2"]
    assert story.phase() == "roll"
    assert story.boots(3, after=5) == ["serve 3", "release_clients 1"]
    assert story.passes(29.9) == []
    assert "adopt g2" in story.passes(0.1)


def test_an_atomic_pool_is_compared_with_what_was_before_the_switch() -> None:
    """Its canary does not serve: the first watch is of the old generation alone."""
    atomic = replace(POLICY, atomic=True, watch=WatchPolicy(10.0))
    for bad, verdict in ((0, "answer 7 yes"), (5, "answer 7 no")):
        story = WatchStory(policy=atomic, web=1).tries()
        story.bad = bad
        assert "release_clients 1" in story.passes(10)
        assert story.obey(1) == ["serve 2"]
        assert story.phase() == "watch-all"
        lines = story.passes(10)
        assert verdict in lines
        assert ("serve 1" in lines) is bool(bad)


def test_an_unanswered_look_holds_nobody_up() -> None:
    story = CoreStory(policy=POLICY, web=1).serves()
    story.reloads()
    story.boots(2)
    story.passes(2)
    lines = story.passes(30 + UNANSWERED_S)
    assert lines.count("Measure") == 31, "at the beginning, and once a second"
    assert story.passes(30 + UNANSWERED_S)[-3:] == ["adopt g2", "answer 7 yes", "drain 1"]
    assert "served too little" in story.answers[0].text


def test_figures_of_strangers_and_late_ones_change_nothing() -> None:
    story = WatchStory(web=1).tries()
    garbage = ev.Figures((1 << 64) - 1, (1 << 64) - 1, ((1 << 64) - 1,) * PLACES)
    assert story.happens(ev.Measured({"web": {99: garbage}, "shop": {1: garbage}})) == []
    story.passes(5)
    assert story.happens(ev.Measured({"web": {1: garbage, 2: garbage}})) == []
    assert story.happens(ev.Measured({"web": {1: ev.Figures(0, 0, (0,) * PLACES)}})) == []
    story.passes(75)
    assert len(story.answers) == 1
    assert story.happens(ev.Measured({"web": {1: garbage}})) == [], "after the reload"


def test_a_master_that_was_away_watches_for_that_time_again() -> None:
    story = WatchStory(web=1).tries()
    story.passes(10)
    story.now += 100.0
    story.happens()
    reload = story.fleet.state.reload
    assert reload is not None
    assert reload.watches.by_pool["web"].until > story.now + 15


def test_a_watch_is_carried_by_a_snapshot() -> None:
    """The one who goes on comes to the same end."""
    story = WatchStory(web=2).tries()
    story.passes(7)
    story.bad = 5
    text = msgspec.json.encode(snapshot_of(story.fleet))
    other = WatchStory(web=2)
    other.fleet, other.now, other.bad = fleet_from(msgspec.json.decode(text)), story.now, 5
    other.counted = {worker: [a, b, list(c)] for worker, (a, b, c) in story.counted.items()}
    assert story.passes(20) == other.passes(20)
    assert story.answers == other.answers != []


@pytest.mark.parametrize(
    ("percent", "count", "size", "canaries"),
    [(0, 1, 4, 1), (0, 3, 4, 3), (10, 1, 25, 3), (100, 1, 3, 3), (0, 5, 2, 2)],
)
def test_how_many_canaries(percent: int, count: int, size: int, canaries: int) -> None:
    policy = PoolPolicy(size=size, canaries=count, canaries_percent=percent)
    assert policy.canaries_of(size) == canaries
    story = CoreStory(policy=policy, web=size).serves()
    spawned = story.reloads()
    assert len(spawned) == canaries, "beside all old ones, whatever the surge"
    numbers = [int(line.split()[1]) for line in spawned]
    story.boots(*numbers[:-1])
    assert [line for line in story.passes(30) if line.startswith(("park", "spawn"))] == []
    story.boots(numbers[-1])
    assert [line for line in story.passes(1.9) if line.startswith(("park", "spawn"))] == []
    assert [line for line in story.passes(0.1) if line.startswith("park")] != []


@pytest.mark.parametrize(("watch_s", "checks"), [(0.5, 5), (5.0, 5), (30.0, 30), (60.0, 60), (3600.0, 60)])
def test_how_often_it_looks(watch_s: float, checks: int) -> None:
    assert checks_of(watch_s) == checks
    assert needed(checks, final=True) < needed(checks, final=False)
