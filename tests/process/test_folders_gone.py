"""Commands called from a folder that is no more, or with a settings file that cannot be read."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import started
from tests.support.server import ROOT, GwctlServer

GONE = "the working directory has been removed or replaced"


def called(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run gwctl in a folder that is removed, and made again, as a deployment does, before it starts."""
    folder.mkdir()
    environ = {**os.environ, "PWD": str(folder), "PYTHONPATH": str(ROOT)}
    replaced = f"import os; os.rmdir({str(folder)!r}); os.mkdir({str(folder)!r})\n"
    done = started.run(arguments, cwd=folder, environ=environ, prelude=replaced)
    folder.rmdir()
    return done


@pytest.mark.parametrize(
    "command",
    ["start wsgi_bare", "start -c gw.toml", "check", "config show", "init", "status", "reload -c gw.toml"],
)
def test_a_folder_that_was_replaced_is_told_of(tmp_path: Path, command: str) -> None:
    done = called(command.split(), tmp_path / "gone")
    assert done.returncode == 1
    assert done.stderr.startswith(GONE), done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def server() -> Iterator[GwctlServer]:
    with GwctlServer("wsgi_bare:application", worker="sync", master={"control": "own.sock"}) as running:
        yield running


def test_a_master_that_is_named_otherwise_is_found_from_there(server: GwctlServer, tmp_path: Path) -> None:
    socket = str(server.folder / "own.sock")
    for which in (["-c", str(server.config)], ["--control", socket]):
        done = called(["status", *which], tmp_path / "gone")
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("text", "reason"),
    [("[master\n", "at line 1"), (None, "No such file or directory")],
    ids=["not-toml", "removed"],
)
def test_a_control_socket_that_cannot_be_read_from_the_file(
    server: GwctlServer, tmp_path: Path, text: str | None, reason: str
) -> None:
    """The master runs; that its file cannot be read any more is why it is not found."""
    broken = tmp_path / "gw.toml"
    if text == "pipe":
        os.mkfifo(broken)
    elif text is not None:
        broken.write_text(text)
    done = server.gwctl("status", "-c", str(broken))
    assert done.returncode == 1
    assert f"{broken} cannot be read" in done.stderr
    assert reason in done.stderr
    assert "--control PATH" in done.stderr


@pytest.mark.parametrize("closed", [">&-", "<&- >&- 2>&-"], ids=["stdout", "all"])
def test_commands_whose_output_is_closed_do_what_they_are_asked(server: GwctlServer, closed: str) -> None:
    """A scheduler that wants the exit status only."""
    for command in ("status", "config show", "scale web 1"):
        line = f"{sys.executable} -m gwctl {command} -c {server.config} {closed}"
        environ = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(["sh", "-c", line], env=environ, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), command
