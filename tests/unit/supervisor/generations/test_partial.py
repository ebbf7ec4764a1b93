"""What a reload of some pools takes of the settings, and what it leaves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from gwctl.config.load import Loaded, load
from gwctl.config.problems import ConfigError
from gwctl.supervisor.generations.generations import Generations
from gwctl.supervisor.generations.partial import PartialReloadError, UnknownPoolError
from gwctl.supervisor.listeners.listener_set import ListenerSet

PORTS = {"web": "127.0.0.1:0", "chat": "127.0.0.1:00"}


def text(pools: Mapping[str, str], more: str = "") -> str:
    tables = (f'[pool.{name}]\napp = "shop:app"\n{settings}\n' for name, settings in pools.items())
    return "\n".join((more, *tables))


class Story:
    """Generations that read gw.toml in ``folder``, with Unix sockets for addresses."""

    def __init__(self, folder: Path, **pools: str) -> None:
        self.folder = folder
        self.pools = {name: self.at(name) + settings for name, settings in pools.items()}
        self.write()
        self.generations = Generations(self.load, ListenerSet({}))
        self.generations.start(self.load(), 1)
        self.number = 1

    def at(self, *names: str) -> str:
        return f"bind = {[f'unix:{self.folder}/{name}.sock' for name in names]}\n"

    def write(self, more: str = "") -> None:
        (self.folder / "gw.toml").write_text(text(self.pools, more))

    def load(self) -> Loaded:
        return load(Path("gw.toml"), environ={}, cwd=self.folder)

    def reload(self, *pools: str, adopt: bool = True) -> tuple[str, ...]:
        self.number += 1
        _, left = self.generations.prepare(self.number, pools)
        if adopt:
            self.generations.adopt(self.number)
        return left

    def socket(self, pool: str) -> int:
        (listener,) = self.generations.listeners_of(self.generations.current.begun[pool], pool)
        return listener.sock.fileno()


@pytest.fixture
def story(tmp_path: Path) -> Story:
    return Story(tmp_path, web="processes = 2", chat="processes = 3")


def test_only_what_is_of_the_pools_is_taken(story: Story) -> None:
    story.pools["web"] += "\nthreads = 5\nworker = 'threads'"
    story.pools["chat"] += "\nthreads = 6\nworker = 'threads'\nbacklog = 77"
    story.write('[log]\nformat = "json"\n')
    assert story.reload("web") == ("pool chat (3 settings)", "[log]")
    plan = story.generations.current
    assert plan.pool("web").threads == 5
    assert plan.pool("chat").backlog != 77
    assert plan.loaded.settings.log.format == "text"
    assert plan.begun == {"web": 2, "chat": 1}
    assert plan.loaded.sources["pool.web.threads"].startswith("gw.toml:")
    assert "pool.chat.threads" not in plan.loaded.sources
    assert story.reload("chat") == ("[log]",)
    assert story.reload() == ()
    assert story.generations.current.begun == {"web": 4, "chat": 4}


def test_workers_are_begun_by_the_plan_of_their_generation(story: Story) -> None:
    story.pools["chat"] += "\nbacklog = 77"
    story.write()
    story.reload("web")
    story.reload(adopt=False)
    generations = story.generations
    assert generations.plan(1, "chat").pool("chat").backlog != 77
    assert generations.plan(3, "chat").pool("chat").backlog == 77
    assert generations.plan(2, "web") is generations.current


def test_what_needs_a_restart_is_not_said_to_be_left(story: Story) -> None:
    story.write('[master]\npidfile = "x"\n')
    assert story.reload("web") == ()


def test_settings_are_checked_as_a_whole(story: Story) -> None:
    story.pools["chat"] += "\nthreadz = 1"
    story.write()
    with pytest.raises(ConfigError):
        story.reload("web")


def test_pools_that_come_and_go_are_named(story: Story, tmp_path: Path) -> None:
    story.pools["jobs"] = story.at("jobs")
    del story.pools["chat"]
    story.write()
    assert story.reload("web") == ("pool chat (removed)", "pool jobs (added)")
    assert story.reload("jobs", "chat") == ()
    assert [*story.generations.current.policies] == ["web", "jobs"]
    assert (tmp_path / "jobs.sock").is_socket()
    assert not (tmp_path / "chat.sock").exists()


def test_a_name_that_is_none_is_told_with_what_was_meant(story: Story) -> None:
    with pytest.raises(
        UnknownPoolError, match=r"no pool named 'wbe'; there is: web, chat. Did you mean web\?"
    ):
        story.reload("web", "wbe")
    assert story.reload() == ()


def test_a_pool_is_left(story: Story) -> None:
    story.pools = {"jobs": story.at("jobs")}
    story.write()
    with pytest.raises(PartialReloadError, match="no pool would be left"):
        story.reload("web", "chat")


def test_an_address_that_another_pool_still_has(story: Story) -> None:
    """It went from the one to the other: both at once can do that."""
    story.pools["web"], story.pools["chat"] = story.at("web", "chat"), story.at("new")
    story.write()
    with pytest.raises(
        PartialReloadError, match=r"web cannot have unix:.*chat.sock yet: pool chat has it until"
    ):
        story.reload("web")


def test_listeners_of_the_others_are_not_touched(story: Story, tmp_path: Path) -> None:
    """Not even if one is lost: its workers would be left with a socket that nobody else has."""
    before = {name: story.socket(name) for name in ("web", "chat")}
    for name in before:
        (tmp_path / f"{name}.sock").unlink()
    story.pools["chat"] += "\nbacklog = 77\nsocket_mode = '600'"
    story.write()
    story.reload("web", adopt=False)
    assert story.generations.missing(story.generations.plan(2, "web")) == (
        f"unix:{tmp_path}/web.sock of web, bound anew",
    )
    story.generations.adopt(2)
    assert story.socket("chat") == before["chat"]
    assert story.socket("web") != before["web"]
    assert not (tmp_path / "chat.sock").exists()


def test_who_is_the_last_on_a_listener_is_known_by_the_generation_of_its_pool(story: Story) -> None:
    story.pools["chat"] = story.at("chat", "more")
    story.write()
    story.reload("chat")
    story.reload("web")
    story.pools["chat"] = story.at("chat")
    story.write()
    story.reload("chat")
    assert story.generations.are_last("chat", 2)
    assert not story.generations.are_last("chat", 3)


def test_it_goes_over_an_upgrade(story: Story) -> None:
    story.pools["chat"] += "\nbacklog = 77"
    story.write()
    story.reload("web")
    snapshot = story.generations.snapshot()
    again = Generations(story.load, ListenerSet({}))
    again.resume(snapshot, [])
    assert again.current.begun == {"web": 2, "chat": 1}
    assert again.plan(1, "chat").pool("chat").backlog != 77
