"""Variables of a pool that come too late are told of; those that are read later are not."""

from __future__ import annotations

import locale
import sys
from pathlib import Path

import msgspec
import pytest

from gwctl.config import variables
from gwctl.config.model.settings import PoolSettings, Settings


def warned(env: dict[str, str], env_file: str = "", **environ: str) -> list[str]:
    pool = msgspec.structs.replace(PoolSettings(app="x:y"), env=env, env_file=env_file)
    return list(variables.warnings(Settings(pool={"web": pool}), environ))


@pytest.mark.parametrize(
    "name",
    [
        "PYTHONHASHSEED",
        "PYTHONUTF8",
        "PYTHONUNBUFFERED",
        "PYTHON_GIL",
        "LD_PRELOAD",
        "MALLOC_ARENA_MAX",
        "GLIBC_TUNABLES",
    ],
)
def test_read_when_a_program_starts(name: str, tmp_path: Path) -> None:
    (text,) = warned({name: "1"})
    assert text.startswith(f"pool.web: {name} in env or env_file: read when a program starts")
    (tmp_path / "file").write_text(f"{name}=1\n")
    assert warned({}, str(tmp_path / "file")) == [text]
    assert warned({name: "1"}, **{name: "1"}) == [], "the master has been started with it"
    assert warned({name: "1"}, **{name: "2"}) == [text]


def test_several_are_one_line_and_pythonpath_has_a_setting() -> None:
    (text,) = warned({"PYTHONPATH": "src", "LD_PRELOAD": "x.so", "SHOP": "1"})
    assert text.startswith("pool.web: LD_PRELOAD, PYTHONPATH in env")
    assert text.endswith("set it where gwctl is started (for PYTHONPATH there is `pythonpath`)")


@pytest.mark.parametrize(
    "name",
    ["PYTHONBREAKPOINT", "PYTHONASYNCIODEBUG", "PYTHON_COLORS", "DJANGO_SETTINGS_MODULE", "MY_PYTHONPATH"],
)
def test_read_when_it_is_used(name: str) -> None:
    assert warned({name: "1"}) == []


@pytest.mark.skipif(not Path("/usr/share/zoneinfo").is_dir(), reason="the machine has no list of zones")
def test_a_zone_that_there_is_not() -> None:
    (text,) = warned({"TZ": "Europe/Atlantis"})
    assert (
        text
        == "pool.web: TZ=Europe/Atlantis is no zone that this machine knows: the clock would be that of UTC"
    )
    for zone in ("UTC", "XYZ-5:30", "", "CET-1CEST,M3.5.0,M10.5.0/3"):
        assert warned({"TZ": zone}) == []


def test_locales() -> None:
    before = locale.setlocale(locale.LC_ALL)
    assert warned({"LANG": "xx_XX.UTF-8"}) == [
        "pool.web: LANG=xx_XX.UTF-8 is no locale that this machine has: see locale -a"
    ]
    assert warned({"LANG": "C.UTF-8"}) == []
    assert warned({"LANG": "xx_XX"}, LC_ALL="C") == [], "LC_ALL wins"
    assert locale.setlocale(locale.LC_ALL) == before


def test_another_encoding_than_that_of_the_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "getfilesystemencoding", lambda: "iso8859-1")
    (text,) = warned({"LC_ALL": "C.UTF-8"})
    assert text == (
        "pool.web: LC_ALL=C.UTF-8: names of files and standard streams stay in iso8859-1, as gwctl was started. "
        "Start it with that locale"
    )
