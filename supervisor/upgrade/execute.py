"""The old program's part of an upgrade: take the snapshot, have it checked, execute the new one.

The check is a child like others: the loop goes on, its exit is an event. It gets a copy of the state and
nothing else but the scoreboards to look into. It must say what it is: a program that knows nothing of
upgrades would start another master, find everything taken, and end.

Signals are blocked from before the last look at the news until the new program's handlers stand: what
arrives in between waits in the kernel.
"""

from __future__ import annotations

import os
import platform
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import msgspec

from gwctl import __version__, memory_limits
from gwctl.errors import UpgradeError
from gwctl.log.event_log import Log
from gwctl.records.reloads import NoProgramCopy, ProgramChanged
from gwctl.supervisor.core import events
from gwctl.supervisor.core.upgrade import CHECK_TIMEOUT_S
from gwctl.supervisor.event_loop import MASTERS_ONLY, Loop, signals_blocked
from gwctl.supervisor.recorder import Recorder
from gwctl.supervisor.upgrade import snapshot as handed_over
from gwctl.supervisor.upgrade.program import Program
from gwctl.supervisor.upgrade.role import CHECK, RESTORE, VARIABLE
from gwctl.supervisor.upgrade.snapshot import State

if TYPE_CHECKING:
    from gwctl.supervisor.children.children import Children

_ALARM_S: Final = int(CHECK_TIMEOUT_S) + 5
"""The check ends itself then, should its master not live to see to it."""
_LINES_MAX: Final = 30


class Verdict(msgspec.Struct, frozen=True):
    """What a check that succeeds writes to its stdout."""

    upgrade_to: str


def this_program() -> str:
    return f"gwctl {__version__}, Python {platform.python_version()}"


class Handover:
    """Checks and executes. ``snapshot`` makes the state of this moment; ``report`` takes events."""

    def __init__(
        self,
        program: Program,
        snapshot: Callable[[], State],
        loop: Loop,
        children: Children,
        report: Callable[[events.Event], None],
    ) -> None:
        self.program = program
        self._snapshot = snapshot
        self._loop = loop
        self._children = children
        self._report = report
        self._checking = 0
        """Pid of the check under way."""
        self._files: list[int] = []
        """Of checks that have not ended: the state, with all settings, and what they say."""

    # ---- the program that runs

    def keep_program(self, recorder: Recorder) -> None:
        """Copy it, while the first workers boot."""
        try:
            self.program.keep()
        except OSError as error:
            recorder.write(NoProgramCopy(reason=error.strerror or str(error)))
        except MemoryError as error:
            recorder.write(NoProgramCopy(reason=memory_limits.reason(error)))

    def stay_one_version(self, recorder: Recorder) -> None:
        """To be called before anything is imported late: the package on disk may be another by now."""
        if installed := self.program.other_version():
            recorder.write(ProgramChanged(installed=installed, runs=__version__))

    # ---- check

    def check(self) -> None:
        """Start the check. Reports UpgradeChecked or UpgradeFailed, unless it is abandoned."""
        files: list[int] = []
        try:
            state = self._snapshot()
            files.append(handed_over.write(state))
            files += [os.memfd_create(name, os.MFD_CLOEXEC) for name in ("gwctl-said", "gwctl-errors")]
            with signals_blocked():
                pid = os.fork()
                if pid == 0:
                    self._run_check(files, [board.fd for board in state.boards])
        except (OSError, UpgradeError) as error:
            for fd in files:
                os.close(fd)
            reason = error.strerror if isinstance(error, OSError) else error
            self._report(events.UpgradeFailed(f"the check could not be started: {reason}"))
            return
        self._checking = pid
        self._files += files
        self._children.others[pid] = lambda status: self._checked(pid, status, files)

    def _run_check(self, files: list[int], boards: list[int]) -> None:
        """In the child: become the new program, with nothing but what it shall read."""
        try:
            self._loop.close_in_child()
            os.setpgid(0, 0)
            state, said, errors = files
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(said, 1)
            os.dup2(errors, 2)
            for fd in (state, *boards):
                os.set_inheritable(fd, True)
            signal.alarm(_ALARM_S)
            environment = {name: text for name, text in os.environ.items() if name not in MASTERS_ONLY}
            environment[VARIABLE] = f"{CHECK}:{state}"
            signal.pthread_sigmask(signal.SIG_SETMASK, self.program.mask)
            self._enter_folder()
            os.execve(self.program.path, self.program.arguments, environment)  # noqa: S606 - that is the point
        except BaseException as error:  # noqa: BLE001 - last frame of the child
            os.write(2, f"cannot execute {self.program.path}: {error}\n".encode())
        finally:
            os._exit(127)

    def _checked(self, pid: int, status: int, files: list[int]) -> None:
        _, said, errors = files
        verdict, complaints = (os.pread(fd, 1 << 16, 0) for fd in (said, errors))
        for fd in files:
            os.close(fd)
            self._files.remove(fd)
        if pid != self._checking:
            return  # abandoned
        self._checking = 0
        if status == 0:
            with suppress(ValueError, RecursionError):
                to = msgspec.json.decode(verdict, type=Verdict).upgrade_to
                self._report(events.UpgradeChecked(to))
                return
        ended = f"ended with {'status' if status >= 0 else 'signal'} {abs(status)}"
        lines = complaints.decode("utf-8", "replace").strip().splitlines()[-_LINES_MAX:]
        if lines and lines[0].startswith("Traceback"):
            ended += f": {lines[-1]}"
        if status == 0:
            ended = "said nothing of an upgrade: it may be older than upgrades in place"
        self._report(events.UpgradeFailed("\n".join([f"the check of the program on disk {ended}", *lines])))

    def close_in_child(self) -> None:
        """In a new worker: the settings of other pools are none of its business."""
        for fd in self._files:
            os.close(fd)
        self._files.clear()

    def abandon(self) -> None:
        """Kill the check that runs; it is not reaped yet, so its number is its own."""
        pid, self._checking = self._checking, 0
        if pid:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    # ---- execute

    def execute(self, log: Log) -> str:
        """Become the new program, with all signals blocked; returns why that was not possible."""
        log.flush()
        sys.stdout.flush()
        fd = -1
        fds: set[int] = set()
        try:
            state = self._snapshot()
            fd = handed_over.write(state)
            fds = {fd, *state.descriptors}
            for each in fds:
                os.set_inheritable(each, True)
            self._enter_folder()
            environment = {**os.environ, VARIABLE: f"{RESTORE}:{fd}"}
            os.execve(self.program.path, self.program.arguments, environment)  # noqa: S606 - that is the point
        except (OSError, UpgradeError) as error:
            for each in fds:
                with suppress(OSError):
                    os.set_inheritable(each, False)
            if fd >= 0:
                os.close(fd)
            reason = error.strerror if isinstance(error, OSError) else error
            return f"cannot execute {self.program.path}: {reason}"

    def _enter_folder(self) -> None:
        os.chdir(self.program.folder)
