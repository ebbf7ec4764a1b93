"""Where settings come from, which wins, and what is made of paths and names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gwctl.config.load import Loaded, load
from gwctl.config.sources import Override

WEB = '[pool.web]\napp = "shop:app"\n'


def loaded(folder: Path, text: str | None = WEB, *sets: str, **given: Any) -> Loaded:
    path = None
    if text is not None:
        path = Path("gw.toml")
        (folder / path).write_text(text)
    overrides = [*map(Override.parse, sets), *given.pop("overrides", ())]
    return load(path, overrides=overrides, **{"environ": {}, "cwd": folder} | given)


def test_defaults(tmp_path: Path) -> None:
    """A file with nothing but an application is enough; only what it says has a source."""
    result = loaded(tmp_path)
    pool = result.settings.pool["web"]
    assert (pool.app, pool.worker, pool.processes, pool.bind) == (
        "shop:app",
        "auto",
        "auto",
        ("127.0.0.1:8000",),
    )
    assert pool.timeouts.drain_timeout_s == 30.0
    assert result.sources == {"pool.web.app": "gw.toml:2"}
    assert result.path == tmp_path / "gw.toml"


def test_later_sources_win(tmp_path: Path) -> None:
    text = f"{WEB}backlog = 1\nthreads = 1\nnofile = 101\n"
    environ = {"GWCTL_THREADS": "2", "GWCTL_POOL_WEB_NOFILE": "102", "OTHER": "x"}
    result = loaded(tmp_path, text, "nofile=103", environ=environ)
    pool = result.settings.pool["web"]
    assert (pool.backlog, pool.threads, pool.nofile) == (1, 2, 103)
    assert result.sources == {
        "pool.web.app": "gw.toml:2",
        "pool.web.backlog": "gw.toml:3",
        "pool.web.threads": "GWCTL_THREADS",
        "pool.web.nofile": "--set nofile",
    }


@pytest.mark.parametrize(
    ("name", "text", "path", "value"),
    [
        ("GWCTL_PROCESSES", "auto", "processes", "auto"),
        ("GWCTL_PROCESSES", "3", "processes", 3),
        ("GWCTL_TIMEOUTS_LINGER_S", "0.5", "timeouts.linger_s", 0.5),
        ("GWCTL_TIMEOUTS_LINGER_S", "1", "timeouts.linger_s", 1.0),
        ("GWCTL_UMASK", "027", "umask", "027"),
        ("GWCTL_BIND", ":80, unix:/run/x.sock", "bind", (":80", "unix:/run/x.sock")),
        ("GWCTL_BIND", '[":80", ":81"]', "bind", (":80", ":81")),
        ("GWCTL_BIND", "[::1]:80", "bind", ("[::1]:80",)),
        ("GWCTL_ENV_debug", "a,b = c", "env", {"debug": "a,b = c"}),
        ("GWCTL_POOL_WEB_ENV_A", "1", "env", {"A": "1"}),
        ("GWCTL_POOL_WEB_RELOAD_SURGE", "2", "reload.surge", 2),
        ("GWCTL_THREADS", "", "threads", 8),
    ],
)
def test_variables(tmp_path: Path, name: str, text: str, path: str, value: object) -> None:
    """Text of a variable becomes what the setting wants; the empty text counts as not set."""
    found: Any = loaded(tmp_path, environ={name: text}).settings.pool["web"]
    for part in path.split("."):
        found = getattr(found, part)
    assert found == value
    assert type(found) is type(value)


def test_variables_of_several_pools(tmp_path: Path) -> None:
    text = f'{WEB}[pool.live-2]\napp = "live:app"\nbind = ":81"\n'
    pools = loaded(tmp_path, text, environ={"GWCTL_POOL_LIVE_2_THREADS": "3"}).settings.pool
    assert (pools["web"].threads, pools["live-2"].threads) == (8, 3)


def test_env_file_is_no_variable_called_file(tmp_path: Path) -> None:
    (tmp_path / "x.env").write_text("A=1\n")
    pool = loaded(tmp_path, environ={"GWCTL_ENV_FILE": "x.env"}).settings.pool["web"]
    assert (pool.env, pool.env_file) == ({}, str(tmp_path / "x.env"))


def test_sets(tmp_path: Path) -> None:
    sets = ("pool.web.env.A=x=y", "env.b=2", "timeouts.linger_s=1", "master.log_level=debug", "bind=:1,:2")
    settings = loaded(tmp_path, WEB, *sets).settings
    pool = settings.pool["web"]
    assert (pool.env, pool.timeouts.linger_s, pool.bind) == ({"A": "x=y", "b": "2"}, 1.0, (":1", ":2"))
    assert settings.master.log_level == "debug"


def test_flags_that_are_repeated(tmp_path: Path) -> None:
    bind = Override("bind", ("127.0.0.1:1", "127.0.0.1:2"), "--bind")
    result = loaded(tmp_path, overrides=[bind])
    assert result.settings.pool["web"].bind == ("127.0.0.1:1", "127.0.0.1:2")
    assert result.sources["pool.web.bind"] == "--bind"


def test_a_list_of_one_may_be_text(tmp_path: Path) -> None:
    assert loaded(tmp_path, f'{WEB}bind = ":80"\n').settings.pool["web"].bind == (":80",)


def test_without_a_file(tmp_path: Path) -> None:
    result = loaded(tmp_path, None, app="shop.wsgi:application")
    assert (result.path, result.settings.master.name) == (None, "shop")
    assert result.settings.pool["web"].app == "shop.wsgi:application"
    assert result.settings.pool["web"].chdir == str(tmp_path)
    assert result.sources == {"pool.web.app": "APP"}


def test_without_a_file_by_the_environment_alone(tmp_path: Path) -> None:
    """What a container needs: no file, no argument."""
    environ = {"GWCTL_APP": "shop", "GWCTL_BIND": ":80", "GWCTL_PROCESSES": "2"}
    result = loaded(tmp_path, None, environ=environ)
    assert (result.settings.pool["web"].app, result.settings.pool["web"].processes) == ("shop", 2)


def test_an_application_replaces_that_of_the_only_pool(tmp_path: Path) -> None:
    pools = loaded(tmp_path, '[pool.api]\napp = "shop:app"\n', app="other:app").settings.pool
    assert {name: pool.app for name, pool in pools.items()} == {"api": "other:app"}


def test_paths_are_under_the_folder_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "conf" / "src").mkdir(parents=True)
    (tmp_path / "conf" / "x.env").write_text("")
    (tmp_path / "conf" / "gw.toml").write_text(
        f'{WEB}chdir = "src"\npythonpath = ["src", "/"]\nenv_file = "x.env"\naccess_log = "access.log"\n'
        'bind = ["unix:run/web.sock", "unix:@abstract", "localhost:1", "[0::1]:1"]\n'
        '[master]\npidfile = "x.pid"\ncontrol = "auto"\n[log]\nto = "events.log"\n'
    )
    result = load(Path("conf/gw.toml"), environ={}, cwd=tmp_path)
    folder = tmp_path / "conf"
    pool, master = result.settings.pool["web"], result.settings.master
    assert result.path == folder / "gw.toml"
    assert (pool.chdir, pool.pythonpath) == (f"{folder}/src", (f"{folder}/src", "/"))
    assert (pool.env_file, pool.access_log) == (f"{folder}/x.env", f"{folder}/access.log")
    assert pool.bind == (f"unix:{folder}/run/web.sock", "unix:@abstract", "127.0.0.1:1", "[::1]:1")
    assert (master.pidfile, master.control) == (f"{folder}/x.pid", "auto")
    assert result.settings.log.to == f"{folder}/events.log"


def test_links_are_kept(tmp_path: Path) -> None:
    """A deployment changes where ``current`` points: what is resolved now would stay in the old release."""
    (tmp_path / "release1").mkdir()
    (tmp_path / "release1" / "gw.toml").write_text(WEB)
    (tmp_path / "current").symlink_to("release1")
    result = load(Path("current/gw.toml"), environ={}, cwd=tmp_path)
    assert result.settings.pool["web"].chdir == str(tmp_path / "current")


@pytest.mark.parametrize(
    ("folder", "text", "name"),
    [
        ("shop", WEB, "shop"),
        ("my shop (2)", WEB, "my-shop-2-"),
        (".hidden", WEB, "hidden"),
        ("---", WEB, "shop"),
        ("shop", f'{WEB}[master]\nname = "web-1"\n', "web-1"),
    ],
)
def test_name_of_the_instance(tmp_path: Path, folder: str, text: str, name: str) -> None:
    (tmp_path / folder).mkdir()
    assert loaded(tmp_path / folder, text).settings.master.name == name


def test_loading_again_reads_the_file_again(tmp_path: Path) -> None:
    assert loaded(tmp_path).settings.pool["web"].threads == 8
    (tmp_path / "gw.toml").write_text(f"{WEB}threads = 2\n")
    assert load(Path("gw.toml"), environ={}, cwd=tmp_path).settings.pool["web"].threads == 2


def test_an_up_folder_is_resolved_as_the_system_does(tmp_path: Path) -> None:
    (tmp_path / "gw.toml").write_text(WEB)
    (tmp_path / "sub").mkdir()
    result = load(Path("../gw.toml"), environ={}, cwd=tmp_path / "sub")
    assert result.path == tmp_path / "gw.toml"
    assert result.settings.master.name == tmp_path.name
