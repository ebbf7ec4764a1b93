"""A log in the journal is read by journalctl: what it is asked, and what becomes of its answers."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from gwctl.cli.logs.entries import Entry, Wanted
from gwctl.cli.logs.journal import Query, command, read
from gwctl.errors import ControlError
from gwctl.log.level import Level


def shown(query: Query) -> list[Entry]:
    entries: list[Entry] = []
    read(query, entries.append, lambda: False)
    return entries


def a_journalctl(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    path = folder / "journalctl"
    path.write_text(f"#!{sys.executable}\nimport json, sys, time\n{script}")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


def test_it_is_asked_for_one_master_and_what_is_wanted() -> None:
    assert command(Query("shop", "journal", last=100))[-2:] == ["--lines=100", "GWCTL_INSTANCE=shop"]
    words = command(Query("shop", "journal", Wanted("web", 2, Level.ERROR), 600.0, None, follow=True))
    assert words[-7:] == [
        "--since=-600s",
        "--lines=all",
        "--follow",
        "--priority=err",
        "GWCTL_INSTANCE=shop",
        "GWCTL_POOL=web",
        "GWCTL_SLOT=2",
    ]


def test_who_wrote_an_entry_is_not_asked_and_the_documentation_says_so() -> None:
    """Workers may have users of their own, which change: what is asked for is what the sender says."""
    words = command(Query("shop", "journal", Wanted("web"), None, 10))
    assert {word.partition("=")[0] for word in words if word.startswith(("_", "GWCTL"))} == {
        "GWCTL_INSTANCE",
        "GWCTL_POOL",
    }


def test_one_that_complains_much_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody reads its stderr before it has ended."""
    a_journalctl(
        tmp_path,
        monkeypatch,
        "sys.stderr.write('Journal file is truncated.\\n' * 10000)\n"
        "print(json.dumps({'MESSAGE': 'web.0 g1: tea', 'GWCTL_SUBJECT': 'web.0 g1', 'PRIORITY': '6'}))\n",
    )
    assert [entry.fields["text"] for entry in shown(Query("shop", "journal"))] == ["tea"]


def test_a_namespace_is_named() -> None:
    assert "--namespace=shop" in command(Query("x", "journal:/run/systemd/journal.shop/socket"))
    assert not [word for word in command(Query("x", "journal:/elsewhere")) if "namespace" in word]


def test_entries_are_shown_and_what_is_none_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a_journalctl(
        tmp_path,
        monkeypatch,
        "for n in range(3000):\n"
        " print(json.dumps({'MESSAGE': f'web.0 g1: {n}', 'GWCTL_SUBJECT': 'web.0 g1', 'PRIORITY': '6'}))\n"
        "print('-- No entries --')\n",
    )
    assert [entry.fields["text"] for entry in shown(Query("shop", "journal"))] == list(map(str, range(3000)))


def test_it_ends_when_nobody_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = json.dumps({"MESSAGE": "x"})
    a_journalctl(tmp_path, monkeypatch, f"print('''{entry}''', flush=True)\ntime.sleep(600)\n")
    entries: list[Entry] = []
    read(Query("shop", "journal", follow=True), entries.append, lambda: bool(entries))
    assert len(entries) == 1


def test_what_it_complains_of_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a_journalctl(tmp_path, monkeypatch, "sys.stderr.write('No journal files were opened\\n')\nsys.exit(1)\n")
    with pytest.raises(ControlError, match="journalctl: No journal files were opened"):
        shown(Query("shop", "journal"))


def test_where_there_is_none_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        ControlError, match=r"journalctl cannot be run here .*: journalctl GWCTL_INSTANCE=shop"
    ):
        shown(Query("shop", "journal"))
