"""The pid file between real processes: a live master keeps it, a dead one does not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gwctl.control.paths import InstanceError
from gwctl.supervisor.service.pidfile import Pidfile
from tests.support import child

HOLDER = """
import os, sys
from pathlib import Path
from gwctl.supervisor.service.pidfile import Pidfile
held = Pidfile.write(Path(sys.argv[1]))
if len(sys.argv) > 2:   # a worker: forked, holds a copy of every descriptor
    if os.fork() == 0:
        os.close(1)
        sys.stdin.read()
        os._exit(0)
print("held", flush=True)
sys.stdin.read()
held.remove()
"""


class Holder:
    """Another process that holds the pid file until its stdin is closed."""

    def __init__(self, path: Path, *more: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(path), *more],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "held\n"

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(20)

    def end(self) -> None:
        if self.process.stdin is not None:
            self.process.stdin.close()
        self.process.wait(20)
        if self.process.stdout is not None:
            self.process.stdout.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shop.pid"


@pytest.fixture
def holders() -> Iterator[list[Holder]]:
    started: list[Holder] = []
    yield started
    for holder in started:
        holder.end()


def test_written_and_removed(path: Path) -> None:
    held = Pidfile.write(path)
    assert path.read_text() == f"{os.getpid()}\n"
    assert list(path.parent.iterdir()) == [path]
    held.remove()
    assert not path.exists()
    held.remove()


def test_a_live_master_keeps_its_file(path: Path, holders: list[Holder]) -> None:
    holders.append(Holder(path))
    pid = holders[0].process.pid
    with pytest.raises(InstanceError, match=rf"is held by pid {pid} \(.*\), which runs"):
        Pidfile.write(path)
    assert path.read_text() == f"{pid}\n"
    assert list(path.parent.iterdir()) == [path]


def test_a_killed_master_leaves_a_stale_file_though_its_workers_live(
    path: Path, holders: list[Holder]
) -> None:
    """Forked workers have a copy of the descriptor, not the lock."""
    holders.append(Holder(path, "fork"))
    holders[0].kill()
    held = Pidfile.write(path)
    assert path.read_text() == f"{os.getpid()}\n"
    held.remove()


def test_the_number_of_a_stranger_is_stale(path: Path) -> None:
    """A pid that lives is no evidence: it was given out again."""
    path.write_text(f"{os.getppid()}\n")
    held = Pidfile.write(path)
    assert path.read_text() == f"{os.getpid()}\n"
    held.remove()


def test_only_our_own_file_is_removed(path: Path) -> None:
    held = Pidfile.write(path)
    path.unlink()
    path.write_text("77\n")
    held.remove()
    assert path.read_text() == "77\n"


def test_a_file_that_is_no_pid_file_is_left_alone(path: Path) -> None:
    path.write_text("root:x:0:0\n")
    with pytest.raises(InstanceError, match="holds something else than a pid"):
        Pidfile.write(path)
    assert path.read_text() == "root:x:0:0\n"


def test_a_folder_or_a_link_is_refused(path: Path) -> None:
    path.mkdir()
    with pytest.raises(InstanceError):
        Pidfile.write(path)
    path.rmdir()
    path.symlink_to("/etc/passwd")
    with pytest.raises(InstanceError):
        Pidfile.write(path)
    assert path.is_symlink()


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InstanceError, match=r"no/shop\.pid: No such file or directory"):
        Pidfile.write(tmp_path / "no/shop.pid")


def test_the_copy_in_a_child_does_not_drop_the_lock(path: Path, holders: list[Holder]) -> None:
    """close_in_child, as every worker calls it, leaves the master's lock alone."""
    held = Pidfile.write(path)

    def close() -> str:
        held.close_in_child()
        return "closed"

    assert child.result(*child.start(close)) == "closed"
    outcome = subprocess.run(
        [sys.executable, "-c", HOLDER, str(path)], input="", capture_output=True, text=True, timeout=30
    )
    assert f"is held by pid {os.getpid()}" in outcome.stderr
    held.remove()
