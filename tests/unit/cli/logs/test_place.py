"""Where a log is that cannot be read from here, in words; and that a place is known without a master."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gwctl.cli.logs.place import Place, elsewhere, is_readable, place_of
from gwctl.errors import ControlError


@pytest.mark.parametrize(
    ("place", "said"),
    [
        (Place("shop", "syslog", 7), "the log goes to syslog (/dev/log), as shop."),
        (
            Place("shop", "syslog://127.0.0.1:9", 7),
            "the log goes to syslog://127.0.0.1:9, as shop: read it there",
        ),
        (Place("shop", "syslog:/run/log", 7), "the log goes to syslog:/run/log, as shop: read it there"),
        (
            Place("shop", "stderr"),
            "and no master runs. Of a systemd service: journalctl -t shop; of a container",
        ),
        (Place("shop", "stderr", 1 << 22), "which whoever started it reads"),
    ],
)
def test_it_is_said_where_and_how_to_read_it(place: Place, said: str) -> None:
    assert not is_readable(place)
    assert said in elsewhere(place)


def test_the_stderr_of_a_master_is_looked_up() -> None:
    target = Path("/proc/self/fd/2").readlink()
    said = elsewhere(Place("shop", "stderr", os.getpid()))
    assert said.startswith(f"the log goes to the stderr of pid {os.getpid()}, ")
    assert str(target).startswith(("pipe:", "socket:")) or str(target) in said


@pytest.mark.parametrize("to", ["journal", "journal:/run/other", "/var/log/events.log", "events.log"])
def test_the_journal_and_files_are_read(to: str) -> None:
    assert is_readable(Place("shop", to))


def nobody_runs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.delenv("PWD", raising=False)
    for name in ("RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(folder))


def test_settings_say_it_where_no_master_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nobody_runs(tmp_path, monkeypatch)
    config = tmp_path / "gw.toml"
    config.write_text(
        '[master]\nname = "no-such-shop"\n[log]\nto = "events.log"\n[pool.web]\napp = "x:y"\nbind = ["127.0.0.1:0"]\n'
    )
    place = place_of(config, None, None)
    assert place == Place("no-such-shop", str(tmp_path / "events.log"))
    assert place_of(config, "no-such-shop", None) == place
    with pytest.raises(ControlError):
        place_of(config, "another", None)
    with pytest.raises(ControlError):
        place_of(config, None, tmp_path / "no.sock")


def test_without_settings_it_is_the_master_that_is_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody_runs(tmp_path, monkeypatch)
    with pytest.raises(ControlError, match="no-such-shop"):
        place_of(None, "no-such-shop", None)
