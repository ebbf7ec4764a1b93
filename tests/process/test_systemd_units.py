"""The unit files in examples/systemd/ are ones that systemd accepts without a word."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.debian import need
from tests.support.server import ROOT

UNITS = ROOT / "examples" / "systemd"
NAMES = ("gwctl-shop.service", "gwctl-shop.socket")


def complaints(folder: Path) -> list[str]:
    """What systemd-analyze says, apart from programs that are not installed here."""
    analyze = need("systemd-analyze", "systemd")
    done = subprocess.run(
        [analyze, "verify", "--man=no", *(str(folder / name) for name in NAMES)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return [line for line in done.stderr.splitlines() if "gwctl is not executable" not in line]


def test_the_units_are_accepted() -> None:
    assert complaints(UNITS) == []


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("Type=notify", "Type=notifies"),
        ("LockPersonality=", "LockPersonalities="),
        ("Backlog=2048", "Backlog=many"),
    ],
)
def test_a_mistake_is_noticed(tmp_path: Path, right: str, wrong: str) -> None:
    """systemd-analyze returns 0 for unknown keys: only what it says tells."""
    for name in NAMES:
        shutil.copy(UNITS / name, tmp_path / name)
        path = tmp_path / name
        path.write_text(path.read_text("utf-8").replace(right, wrong), "utf-8")
    assert complaints(tmp_path)
