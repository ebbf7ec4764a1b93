"""`gwctl unit` and `gwctl check --unit` as they are called."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import Result

from gwctl.cli import cli
from tests.support.command import runner


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gw.toml").write_text(
        '[master]\nname = "shop"\n[pool.web]\napp = "shop:app"\nbind = ["127.0.0.1:8000"]\n'
    )
    return tmp_path


def gwctl(*arguments: str) -> Result:
    return runner().invoke(cli, arguments, prog_name="gwctl")


def test_it_is_printed_with_its_reasons_if_asked_for(folder: Path) -> None:
    plain, explained = gwctl("unit"), gwctl("unit", "--explain")
    assert plain.exit_code == explained.exit_code == 0
    assert plain.stdout.startswith("# /etc/systemd/system/gwctl-shop.service\n[Unit]\n")
    assert f"start -c {folder}/gw.toml\n" in plain.stdout
    comments = [line for line in explained.stdout.splitlines() if line.startswith("#")]
    without = [line for line in explained.stdout.splitlines() if line not in comments[1:]]
    assert without == plain.stdout.splitlines()
    assert len(comments) > 20


def test_what_is_written_fits(folder: Path) -> None:
    result = gwctl("unit", "-o", str(folder), "--run-as", "daemon")
    assert (result.exit_code, result.stdout) == (0, f"wrote {folder}/gwctl-shop.service\n")
    checked = gwctl("check", "--unit", "gwctl-shop.service")
    seen = [line for line in checked.stderr.splitlines() if "cannot be seen" not in line]
    assert seen == [], "but for the folder of this test, which is in /tmp"


def test_a_unit_that_contradicts(folder: Path) -> None:
    (folder / "old.service").write_text("[Service]\nType=simple\n")
    result = gwctl("check", "--unit", "old.service")
    assert result.exit_code == 1
    assert result.stdout.startswith(f"{folder}/gw.toml: no problems.")
    assert "old.service: Type=simple: what is ordered after it starts before it serves" in result.stderr


def test_what_was_edited_counts(folder: Path) -> None:
    """`systemctl edit` writes a file beside it; and a socket unit of its name belongs to it."""
    gwctl("unit", "-o", str(folder), "--run-as", "daemon")
    (folder / "gwctl-shop.service.d").mkdir()
    (folder / "gwctl-shop.service.d" / "override.conf").write_text("[Service]\nKillMode=mixed\n")
    assert "KillMode=mixed" in gwctl("check", "--unit", "gwctl-shop.service").stderr
    (folder / "gwctl-shop.socket").write_text("[Socket]\nListenStream=80\n")
    (folder / "gwctl-shop.service").write_text("[Service]\nType=notify\n")
    bound = gwctl("check", "--unit", "gwctl-shop.service", "--set", "pool.web.bind=systemd:web")
    assert "names no socket unit" not in bound.stderr
    assert "beside it pass gwctl-shop.socket. Set FileDescriptorName=web there" in bound.stderr
    (folder / "gwctl-shop.socket").write_text("[Socket]\nListenStream=80\nFileDescriptorName=web\n")
    bound = gwctl("check", "--unit", "gwctl-shop.service", "--set", "pool.web.bind=systemd:web")
    assert "FileDescriptorName" not in bound.stderr
    swapped = gwctl("check", "--unit", "gwctl-shop.socket")
    assert (swapped.exit_code, "give the service unit" in swapped.stderr) == (1, True)


def test_a_socket_unit_says_what_to_change_in_the_settings() -> None:
    result = gwctl("unit", "--socket")
    assert result.exit_code == 0
    assert "\n# /etc/systemd/system/gwctl-shop.socket\n" in result.stdout
    assert result.stderr == 'gw.toml: set bind = ["systemd:web"] in [pool.web]\n'


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("--listen", "web=:80"), 1, "--listen is about the socket unit: add --socket"),
        (("--socket", "--template"), 1, "each instance of a template"),
        (("-o", "nowhere"), 1, "cannot write nowhere/gwctl-shop.service: No such file or directory"),
        (("-c", "none.toml"), 2, "none.toml"),
        (("--set", "pool.web.processes=x"), 2, "processes"),
    ],
)
def test_what_cannot_be(arguments: tuple[str, ...], status: int, said: str) -> None:
    result = gwctl("unit", *arguments)
    assert result.exit_code == status
    assert said in result.stderr


def test_for_the_user_manager() -> None:
    result = gwctl("unit", "--user")
    assert result.stdout.startswith("# ~/.config/systemd/user/gwctl-shop.service\n")
    assert "WantedBy=default.target\n" in result.stdout
    assert "DynamicUser" not in result.stdout
