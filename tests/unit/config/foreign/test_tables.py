"""The tables of other servers' options are whole, and what they say of gwctl is true."""

from __future__ import annotations

from typing import Any

import click
import pytest

from gwctl.config import foreign_names, schema
from gwctl.config.foreign import gunicorn, nginx_unit, others, servers, tables, uvicorn, uwsgi
from gwctl.config.foreign.option import COVERED, NoCounterpart, Option, Server, Several
from tests.tidy.checks import ROOT

ALL = (*servers.SERVERS, nginx_unit.SERVER)
OPTIONS = [(server.name, option) for server in ALL for option in server.options]
VALUES: list[Any] = [
    "", "0", "1", "-1", "x", "true", "off", "30", "1h30m", "1.5", "0.0.0.0:80", "unix:/run/x.sock", ":::", "=",
    "a=b", "$PORT", "a,b", "-", "nul\0", "é", 0, 1, -1, 1.5, True, False, None, [], ["a"], ["0.0.0.0:80", ":81"],
    {}, {"a": 1}, ["a=b", "c=d"], "ssl:443:privateKey=k", 10**30, float("inf"),
]  # fmt: skip


def path_of(setting: str) -> tuple[str, ...]:
    parts = tuple(setting.split("."))
    return parts if parts[0] in schema.TABLES else ("pool", "web", *parts)


def test_every_setting_of_gunicorn_is_in_its_table() -> None:
    """Of the gunicorn that is installed: name, flags, and whether a value follows them."""
    from gunicorn.config import KNOWN_SETTINGS

    takes = {"store_true": "nothing", "store_const": "nothing", "append": "list"}
    there = {
        setting.name: (
            tuple(setting.cli or ()),
            "maybe" if setting.nargs == "?" else takes.get(setting.action or "", "value"),
        )
        for setting in KNOWN_SETTINGS
    }
    here = {option.name: (option.flags, option.takes) for option in gunicorn.OPTIONS}
    assert {name: here.get(name) for name in there if here.get(name) != there[name]} == {}


def test_hooks_are_gunicorns() -> None:
    from gunicorn.config import KNOWN_SETTINGS

    hooks = {setting.name for setting in KNOWN_SETTINGS if callable(setting.default)}
    assert {option.name for option in gunicorn.OPTIONS if option.hook} == hooks


def test_every_option_of_uvicorn_is_in_its_table() -> None:
    from uvicorn.main import main

    there: dict[str, str] = {}
    for option in main.params:
        if isinstance(option, click.Option):
            kind = "nothing" if option.is_flag else "list" if option.multiple else "value"
            there |= dict.fromkeys((*option.opts, *option.secondary_opts), kind)
    here = {flag: option.takes for option in uvicorn.OPTIONS for flag in option.flags}
    missing = {flag: kind for flag, kind in there.items() if here.get(flag) != kind}
    assert {flag: kind for flag, kind in missing.items() if flag not in {"--help", "--reload-dir"}} == {}


def test_eighty_options_of_uwsgi() -> None:
    assert len({option.name for option in uwsgi.OPTIONS}) >= 80
    assert set(uwsgi.ALIASES.values()) <= set(uwsgi.SERVER.by_name)
    assert not uwsgi.ALIASES.keys() & uwsgi.SERVER.by_name.keys()


@pytest.mark.parametrize("server", servers.SERVERS, ids=lambda server: server.name)
def test_no_flag_means_two_things(server: Server) -> None:
    flags = [flag for option in server.options for flag in option.flags]
    assert sorted(flags) == sorted(set(flags))
    assert all(flag.startswith("-") for flag in flags)


def test_targets_are_settings() -> None:
    wrong = {
        (name, option.name): option.target
        for name, option in OPTIONS
        if option.target and schema.setting_at(path_of(option.target)) is None
    }
    assert wrong == {}
    told = [setting for server in servers.SERVERS for setting in server.defaults]
    assert [setting for setting in told if schema.setting_at(path_of(setting)) is None] == []


def test_what_has_no_counterpart_has_a_reason() -> None:
    silent = [(name, option.name) for name, option in OPTIONS if not option.target and not option.told]
    assert silent == []
    assert [option.name for _name, option in OPTIONS if option.told.endswith(".")] == []


@pytest.mark.parametrize("server", ALL, ids=lambda server: server.name)
def test_any_value_is_converted_or_refused(server: Server) -> None:
    """No value that somebody wrote ends in a traceback; what comes of it is for settings that there are."""
    everywhere = [dict.fromkeys(server.by_name, value) for value in VALUES]
    for option in server.options:
        for value, near in zip(VALUES, everywhere, strict=True):
            _convert(option, value, {option.name: value})
            _convert(option, value, near)


def _convert(option: Option, value: Any, near: dict[str, Any]) -> None:
    if option.convert is None:
        return
    try:
        made = option.convert(value, near)
    except NoCounterpart:
        return
    settings = made.settings if isinstance(made, Several) else {option.target: made}
    for setting in settings if made is not COVERED else ():
        assert schema.setting_at(path_of(setting)) is not None, setting


def test_names_in_a_gw_toml_are_told_the_same() -> None:
    """What a mistaken name in gw.toml is told, and what `gwctl import` makes of it."""
    known = foreign_names.SETTINGS
    apart = {
        (option.name, option.target): known[option.name]
        for name, option in OPTIONS
        if option.target
        and name in {"gunicorn", "uvicorn", "granian"}
        and known.get(option.name, option.target) != option.target
    }
    allowed = {("umask", "umask"), ("user", "user"), ("proc_name", "master.name")}
    assert {key: value for key, value in apart.items() if key not in allowed} == {}


def test_the_tables_of_the_page_are_current() -> None:
    page = (ROOT / "docs" / "migrating.md").read_text("utf-8")
    assert tables.written(page) == page, "make docs"
    for option in (*gunicorn.OPTIONS, *uvicorn.OPTIONS, *others.HYPERCORN.options):
        assert f"`{option.name}`" in page or any(f"`{flag}`" in page for flag in option.flags), option.name
