"""What systemd is told as a fleet starts, reloads, is refused, breaks and ends; and when it is asked for time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from gwctl.log.event_log import Log
from gwctl.supervisor.core import events as ev
from gwctl.supervisor.history import History
from gwctl.supervisor.recorder import Recorder
from gwctl.supervisor.service.announcer import EXTEND_EVERY_S, Announcer
from gwctl.supervisor.service.sd_notify import Notifier
from gwctl.supervisor.service.status_line import describe
from tests.support.core_story import POLICY, CoreStory
from tests.support.service_manager import ServiceManager

EXTEND = "EXTEND_TIMEOUT_USEC=20000000"


class Told:
    """A story, and what systemd hears of it."""

    def __init__(self, tmp_path: Path, story: CoreStory, **environ: str) -> None:
        self.story = story
        self.manager = ServiceManager(str(tmp_path / "notify"))
        self.log = (tmp_path / "log").open("wb")
        notifier = Notifier(
            self.manager.environ | environ, Recorder(Log(self.log.fileno()), History.of("shop"))
        )
        self.announcer = Announcer(notifier)

    def now(self) -> list[str]:
        """The lines since the last call."""
        self.announcer.observe(self.story.fleet.state, self.story.now)
        return [line for message in self.manager.received() for line in message.split("\n")]

    def after(self, seconds: float) -> list[str]:
        """The core and the announcer are woken as they ask for it."""
        until = self.story.now + seconds
        while True:
            self.announcer.observe(self.story.fleet.state, self.story.now)
            due = min(self.announcer.next_at, self.story.fleet.next_deadline() or until)
            if due > until:
                break
            self.story.passes(max(0.0, due - self.story.now))
            self.announcer.turn(self.story.now)
        self.story.passes(until - self.story.now)
        return self.now()

    def close(self) -> None:
        self.manager.close()
        self.log.close()


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Told]:
    told = Told(tmp_path, CoreStory(web=2))
    yield told
    told.close()


def test_a_start_that_moves_on_is_given_time_until_it_is_ready(told: Told) -> None:
    told.story.begins()
    assert told.now() == ["STATUS=starting: web 0/2 ready g1", EXTEND]
    assert told.now() == []
    told.story.happens(ev.Spawned(1, 11), ev.Spawned(2, 12))
    assert told.after(EXTEND_EVERY_S * 3 + 1) == [EXTEND] * 3
    told.story.boots(1, 2)
    assert told.now() == ["READY=1", "STATUS=web 2/2 ready g1"]
    assert told.after(60.0) == []


def test_a_boot_that_hangs_or_fails_again_is_no_progress(tmp_path: Path) -> None:
    told = Told(tmp_path, CoreStory(web=1, live=1))
    told.story.begins()
    told.story.boots(2)  # so that the start is not given up
    told.now()
    told.story.fails_to_boot(1)
    told.story.dies(1, 3)
    told.now()
    assert told.after(10.0) == [], "it is tried again and again"
    told.close()


def test_the_core_gives_up_a_boot_that_hangs(tmp_path: Path) -> None:
    told = Told(tmp_path, CoreStory(web=1, policy=replace(POLICY, boot_timeout_s=12.0)))
    told.story.begins()
    told.story.happens(ev.Spawned(1, 11))
    assert told.after(11.0).count(EXTEND) == 3, "at once, and twice"
    assert told.after(60.0).count(EXTEND) <= 1, "that of its end"
    told.close()


def test_reloads_good_and_refused(told: Told) -> None:
    story = told.story.serves()
    told.now()
    story.happens(ev.ReloadAsked(7, "SIGHUP"))
    first = told.now()
    assert first[0] == "RELOADING=1"
    assert first[1].startswith("MONOTONIC_USEC=")
    assert first[2:] == ["STATUS=reloading: web 2/2 ready g1", EXTEND]
    story.happens(ev.PrepareFailed(2, "gw.toml:3: no such key\nand more"))
    assert told.now() == [
        "READY=1",
        "STATUS=degraded: generation 2 was not adopted: gw.toml:3: no such key (SIGHUP); web 2/2 ready g1",
    ]
    assert told.after(60.0) == [], "until the next good one"
    story.reloads()
    story.boots(3)
    story.passes(4.0)
    told.now()
    story.boots(4)
    story.passes(30.0)
    last = told.now()
    assert last == ["READY=1", "STATUS=web 2/2 ready g2"]


def test_an_end_is_given_time_while_somebody_has_something_to_finish(told: Told) -> None:
    story = told.story.serves()
    told.now()
    story.happens(ev.StopAsked(0, "SIGTERM"))
    assert told.now() == ["STOPPING=1", "STATUS=stopping: 2 processes left", EXTEND]
    assert set(told.after(12.0)) == {EXTEND}
    told.announcer.end(0, "stopped")
    assert told.now() == []


def test_a_failure_at_the_end(told: Told) -> None:
    told.story.begins()
    told.now()
    told.announcer.end(4, "cannot import shop\nTraceback")
    assert told.now() == ["STATUS=failed: cannot import shop", "EXIT_STATUS=4"]


def test_the_watchdog_hears_nothing_of_a_broken_master(tmp_path: Path) -> None:
    told = Told(tmp_path, CoreStory(web=1).serves(), WATCHDOG_USEC="2000000")
    told.now()
    assert told.after(3.5).count("WATCHDOG=1") == 4
    told.story.fleet.state.broken = "a slot has two workers"
    text = told.now()
    assert text == [
        "STATUS=degraded: this master is broken (a slot has two workers): restart it; web 1/1 ready g1"
    ]
    told.announcer.turn(told.story.now + 1.0)
    assert told.now() == []
    told.close()


def test_connections_are_counted_as_last_seen() -> None:
    story = CoreStory(web=2).serves()
    for worker, connections in ((1, 300), (2, 1_012)):
        story.happens(ev.Observed(worker, 0.0, connections=connections))
    assert describe(story.fleet.state) == "web 2/2 ready g1, 1,312 connections"


def test_many_pools_have_room_on_the_line() -> None:
    story = CoreStory(**{f"pool{number}": 1 for number in range(9)}).serves()
    story.dies(9)
    text = describe(story.fleet.state)
    assert text.startswith("pool0 1/1 ready g1, pool1 1/1 ready g1,")
    assert text.endswith("pool5 1/1 ready g1, 2 of 3 other pools ready")


def test_workers_that_keep_dying_are_told() -> None:
    story = CoreStory(web=2).serves()
    while "open" not in (text := describe(story.fleet.state)) and "keep dying" not in text:
        (worker,) = [w.id for w in story.fleet.state.pools["web"].workers if w.slot == 1]
        story.dies(worker)
        story.passes(20.0)
        story.boots(*(w.id for w in story.fleet.state.pools["web"].workers if w.slot == 1 and not w.ready_at))
        assert story.now < 100_000
    assert text == "degraded: workers of web keep dying; web 1/2 ready g1"


def test_each_pool_has_its_own_generation() -> None:
    story = CoreStory(web=1, live=1).serves()
    story.fleet.state.pools["web"].generation = 5
    assert describe(story.fleet.state) == "web 1/1 ready g5, live 1/1 ready g1"
