"""What a reload would change, from two readings of the settings."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from gwctl.cli.config_diff import render, understood
from gwctl.config.load import load
from gwctl.config.model.settings import Settings
from gwctl.config.sources import Override
from gwctl.control.difference import Change, Difference, Differences, Effect
from gwctl.errors import ControlError
from gwctl.supervisor.generations.capacity import Capacity
from gwctl.supervisor.generations.differences import differences
from gwctl.supervisor.generations.plan import Plan, make_policy

WEB = '[master]\nname = "shop"\n[pool.web]\napp = "shop:app"\n'


def plan(folder: Path, text: str, processes: int = 4, **environ: str) -> Plan:
    (folder / "gw.toml").write_text(text)
    overrides = [Override.parse("pool.web.backlog=99")]
    loaded = load(Path("gw.toml"), overrides=overrides, environ=environ, cwd=folder)
    capacity = Capacity(processes, "")
    return Plan(
        loaded, {name: make_policy(pool, capacity) for name, pool in loaded.settings.pool.items()}, capacity
    )


def diff(before: Plan, after: Plan, begun: Settings | None = None) -> list[Difference]:
    return differences(before, after, begun or before.loaded.settings)


def test_nothing_has_changed(tmp_path: Path) -> None:
    """Other lines, and other ways to say the same, are no difference."""
    before = plan(tmp_path, WEB)
    assert diff(before, plan(tmp_path, f'# a comment\n\n{WEB}bind = ["127.0.0.1:8000"]\n')) == []


def test_values_with_their_sources(tmp_path: Path) -> None:
    before = plan(tmp_path, WEB + "threads = 5\n", GWCTL_PROCESSES="2")
    after = plan(tmp_path, WEB + "[pool.web.timeouts]\ndrain_timeout_s = 12.5\n", GWCTL_PROCESSES="3")
    assert diff(before, after) == [
        Difference(
            "pool.web.processes", Change.CHANGED, Effect.WORKERS, 2, 3, "GWCTL_PROCESSES", "GWCTL_PROCESSES"
        ),
        Difference("pool.web.threads", Change.CHANGED, Effect.WORKERS, 5, 8, "gw.toml:5", "default"),
        Difference(
            "pool.web.timeouts.drain_timeout_s",
            Change.CHANGED,
            Effect.WORKERS,
            30.0,
            12.5,
            "default",
            "gw.toml:6",
        ),
    ]


def test_when_it_takes_effect(tmp_path: Path) -> None:
    before = plan(tmp_path, WEB)
    text = WEB.replace("shop", "blog", 1).replace(
        "[pool", 'keep_s = 5\npidfile = "x"\nbind_retry_s = 9\n[pool'
    )
    text += '[admin]\nbind = ["127.0.0.1:9100"]\n'
    found = {each.name: each.effect for each in diff(before, plan(tmp_path, text))}
    assert found == {
        "master.name": Effect.RESTART,
        "master.pidfile": Effect.RESTART,
        "master.bind_retry_s": Effect.RESTART,
        "master.keep_s": Effect.ADOPTION,
        "admin.bind": Effect.ADOPTION,
    }


def test_what_only_a_restart_applies_is_told_until_there_is_one(tmp_path: Path) -> None:
    """Also after a reload has adopted the settings that have it."""
    begun = plan(tmp_path, WEB).loaded.settings
    renamed = plan(tmp_path, WEB.replace("shop", "blog", 1))
    (told,) = diff(renamed, renamed, begun)
    assert (told.name, told.old, told.new, told.effect) == ("master.name", "shop", "blog", Effect.RESTART)


def test_values_of_env_are_not_told_and_their_changes_are(tmp_path: Path) -> None:
    before = plan(tmp_path, WEB + 'env = { A = "secret1", B = "secret2", C = "same", "D.E" = "" }\n')
    after = plan(tmp_path, WEB + 'env = { A = "secret3", C = "same", F = "secret4" }\n')
    found = diff(before, after)
    assert [(each.name, each.change) for each in found] == [
        ("pool.web.env.A", Change.CHANGED),
        ("pool.web.env.B", Change.REMOVED),
        ('pool.web.env."D.E"', Change.REMOVED),
        ("pool.web.env.F", Change.ADDED),
    ]
    assert all(each.masked for each in found)
    assert (found[0].old_source, found[1].new_source) == ("gw.toml:5", "")
    sent = msgspec.json.encode(found).decode()
    assert "secret" not in sent
    assert "secret" not in render(Differences("shop", 1, "gw.toml", tuple(found)))


def test_pools_that_come_and_go(tmp_path: Path) -> None:
    before = plan(tmp_path, WEB + '[pool.old]\napp = "old:app"\nbind = [":1"]\n')
    after = plan(tmp_path, WEB + '[pool.new]\napp = "new:app"\nbind = [":2"]\nthreads = 3\n')
    assert [(each.name, each.change, each.old, each.new) for each in diff(before, after)] == [
        ("pool.old", Change.REMOVED, "old:app on :1", None),
        ("pool.new", Change.ADDED, None, "new:app on :2"),
    ]


def test_auto_may_mean_another_number_by_now(tmp_path: Path) -> None:
    (told,) = diff(plan(tmp_path, WEB), plan(tmp_path, WEB, processes=8))
    assert (told.name, told.old, told.new) == ("pool.web.processes", "auto: 4", "auto: 8")


def test_text(tmp_path: Path) -> None:
    before = plan(tmp_path, WEB + 'threads = 5\nenv = { KEY = "x" }\n')
    text = WEB.replace("[pool", 'keep_s = 60\npidfile = "gw.pid"\n[pool')
    after = plan(tmp_path, text + 'env = { KEY = "y" }\n[pool.live]\napp = "live:app"\nbind = [":2"]\n')
    found = tuple(diff(before, after))
    lines = (
        render(Differences("shop", 2, "/srv/shop/gw.toml", found))
        .replace(str(tmp_path), "/srv/shop")
        .splitlines()
    )
    assert lines == [
        "/srv/shop/gw.toml against generation 2 of shop",
        "",
        "with the workers that a reload starts:",
        "  pool.web.threads  5 -> 8                 default (was set by gw.toml:5)",
        "  pool.web.env.KEY  changed                gw.toml:7",
        "  pool.live         added: live:app on :2",
        "",
        "when the new generation is adopted:",
        "  master.keep_s  0 -> 60  gw.toml:3",
        "",
        "not by a reload, only when the master is started anew:",
        '  master.pidfile  "" -> "/srv/shop/gw.pid"  gw.toml:4',
        "",
        "5 differences. Not tried: whether applications can be imported, and addresses be bound.",
        "Not compared: code, and what is in env_file and certificates. A reload reads them anew.",
    ]


def test_an_answer_of_another_version() -> None:
    assert understood({"name": "shop", "generation": 1, "config": "", "more": 1}).differences == ()
    with pytest.raises(ControlError, match="not understood"):
        understood({"name": 1})
