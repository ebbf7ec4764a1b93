"""The level of the log: that of the settings, unless somebody asked for another, for a while."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from pathlib import Path

import pytest

from gwctl.log.event_log import Log
from gwctl.log.level import Level
from gwctl.supervisor.history import History
from gwctl.supervisor.log_level import LogLevel
from gwctl.supervisor.recorder import Recorder


class World:
    """A log at info, and a clock."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("wb")
        self.now = 1000.0
        self.told = 0
        self.log = Log(self._file.fileno(), Level.INFO)
        self.recorder = Recorder(self.log, History.of("shop"))
        self.level = self.another()

    def another(self) -> LogLevel:
        return LogLevel(self.recorder, self.tell, lambda: self.now)

    def tell(self) -> None:
        self.told += 1

    def passes(self, seconds: float) -> None:
        self.now += seconds
        self.level.turn(self.now)

    @property
    def said(self) -> list[str]:
        return [line.split(maxsplit=3)[3] for line in self._path.read_text().splitlines()]

    def close(self) -> None:
        self._file.close()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path / "log")
    yield world
    world.close()


def test_for_a_while(world: World) -> None:
    world.level.ask(Level.DEBUG, 600.0, "gwctl log-level")
    assert (world.log.level, world.told, world.level.next_at) == (Level.DEBUG, 1, 1600.0)
    world.passes(590.0)
    assert world.level.report() == {
        "text": "debug for 10 s, then info",
        "level": "debug",
        "configured": "info",
        "left_s": 10.0,
    }
    world.passes(10.0)
    assert (world.log.level, world.told, world.level.next_at) == (Level.INFO, 2, inf)
    assert world.said == [
        "log level info -> debug for 10 min (gwctl log-level)",
        "log level debug -> info (its time is over)",
    ]
    assert world.level.report()["text"] == "info"


def test_a_reload_does_not_end_what_has_a_time(world: World) -> None:
    world.level.ask(Level.DEBUG, 600.0, "gwctl log-level")
    world.level.configure(Level.WARNING)
    assert world.log.level == Level.DEBUG
    world.passes(600.0)
    assert world.log.level == Level.WARNING


def test_a_reload_ends_what_has_none(world: World) -> None:
    world.level.ask(Level.DEBUG, None, "gwctl log-level")
    assert world.level.report()["text"] == "debug until the next reload, then info"
    assert world.level.next_at == inf
    world.level.configure(Level.INFO)
    assert world.log.level == Level.INFO
    assert world.said[-1] == "log level debug -> info (reload)"


def test_less_is_told_before_it_is_less(world: World) -> None:
    world.level.ask(Level.ERROR, 60.0, "gwctl log-level")
    world.passes(60.0)
    assert world.said == [
        "log level info -> error for 60 s (gwctl log-level)",
        "log level error -> info (its time is over)",
    ]


def test_back_to_what_the_settings_say(world: World) -> None:
    world.level.ask(Level.DEBUG, 600.0, "gwctl log-level")
    world.level.ask(Level.INFO, None, "gwctl log-level")
    assert (world.log.level, world.level.next_at) == (Level.INFO, inf)
    world.level.configure(Level.ERROR)
    assert world.log.level == Level.ERROR, "nothing is asked for any more"


def test_what_the_settings_say_for_a_while_whatever_they_say_then(world: World) -> None:
    world.level.ask(Level.INFO, 60.0, "gwctl log-level")
    world.level.configure(Level.DEBUG)
    assert (world.log.level, world.level.report()["text"]) == (Level.INFO, "info for 60 s, then debug")
    world.passes(60.0)
    assert world.log.level == Level.DEBUG


def test_longer(world: World) -> None:
    world.level.ask(Level.DEBUG, 10.0, "gwctl log-level")
    world.passes(5.0)
    world.level.ask(Level.DEBUG, 10.0, "gwctl log-level")
    assert world.level.next_at == 1015.0
    world.passes(5.0)
    assert world.log.level == Level.DEBUG
    assert world.said == [
        "log level info -> debug for 10 s (gwctl log-level)",
        "log level debug for 10 s (gwctl log-level)",
    ]


@pytest.mark.parametrize("for_s", [600.0, None])
def test_another_program_goes_on(world: World, for_s: float | None) -> None:
    assert world.level.snapshot() is None
    world.level.ask(Level.DEBUG, for_s, "gwctl log-level")
    snapshot = world.level.snapshot()
    before = world.level.report()
    world.log.level = Level.INFO  # as a new log is made, by the settings
    world.level = world.another()
    world.level.resume(snapshot)
    assert world.level.report() == before
    assert world.log.level == Level.DEBUG
    world.level.configure(Level.INFO)
    world.passes(600.0)
    assert world.log.level == Level.INFO
