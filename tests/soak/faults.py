"""The faults: each is done to a real server under load, and written down with what it may cost.

A fault may take from the load only what `owners.Death` says a killed process had in hand, and
it may make a reload fail that ran meanwhile. The dice come from the seed; the moments do not,
since they depend on the machine.
"""

from __future__ import annotations

import contextlib
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from gwctl.cli import COMMANDS
from gwctl.errors import ControlError
from tests.soak.books import Books, Outcome
from tests.soak.hostility import Hostility
from tests.soak.injuries import Injuries
from tests.soak.stage import POOL, SIZE, SIZE_MAX, Stage

RELOAD_TIMEOUT_S: Final = 120.0
OUTCOME: Final = r"adopted generation \d+|generation \d+ was not adopted"


class Faults:
    """See the module. `one` does one of them; `close` waits for what still goes on."""

    def __init__(self, stage: Stage, seed: int, only: Sequence[str] = (), *, hostile: bool = False) -> None:
        """``only``: names of methods; none: all. ``hostile``: those of `Hostility`, too."""
        self._stage = stage
        self._server = stage.server
        self._dice = random.Random(seed)
        self._disk = ThreadPoolExecutor(1, "disk")
        self._reload: Future[None] | None = None
        self._size = SIZE
        self.books = Books()
        self._injuries = hurt = Injuries(stage, self._dice, self.books)
        self._table: dict[Callable[[], bool], int] = {
            self.reload: 5,
            self.reload_by_signal: 3,
            self.reload_twice: 2,
            self.reload_broken: 5,
            self.upgrade: 3,
            hurt.kill: 6,
            hurt.kill_template: 2,
            hurt.stop_a_while: 3,
            hurt.stop_for_good: 1,
            hurt.hang: 2,
            hurt.hold_the_gil: 1,
            hurt.grow: 1,
            hurt.grow_too_far: 1,
            self.scale: 4,
            hurt.term: 2,
            self.reopen: 1,
            hurt.stop_the_master: 1,
        }
        if "rollback" in COMMANDS:
            self._table[self.rollback] = 2
        self._hostility = enemy = Hostility(stage, self._dice, self.books) if hostile else None
        if enemy is not None:
            self._table |= {enemy.fork: 6, enemy.leave_thread: 6, enemy.exit: 4, enemy.leave: 8}
            if stage.worker == "asgi":
                self._table |= {enemy.cookies: 4, enemy.cancel: 3}
        if only:
            self._table = {fault: n for fault, n in self._table.items() if fault.__name__ in only}

    def one(self) -> None:
        """Do one that is possible now."""
        (fault,) = self._dice.choices(list(self._table), list(self._table.values()))
        with contextlib.suppress(ControlError):  # a master that executes a new program, say: another time
            fault()

    def close(self) -> None:
        """Wait until all that was begun has ended; undo what lasts."""
        self._disk.shutdown(wait=True)
        if self._reload is not None:
            self._reload.result()
        self._injuries.close()
        if self._hostility is not None:
            self._hostility.close()

    # ---- reloads: one at a time, beside everything else

    def _begin(self, work: Callable[[], None]) -> bool:
        if self._reload is not None:
            if not self._reload.done():
                return False
            self._reload.result()
        self._reload = self._disk.submit(work)
        return True

    def _command(self, what: str, *arguments: str, wanted: bool = True) -> None:
        began_at = time.monotonic()
        run = self._server.gwctl(*arguments, "-c", str(self._server.config), timeout_s=RELOAD_TIMEOUT_S)
        self._outcome(what, run, began_at, wanted=wanted)

    def _outcome(
        self, what: str, run: subprocess.CompletedProcess[str], began_at: float, *, wanted: bool
    ) -> None:
        text = (run.stdout + run.stderr).strip()
        self.books.outcomes.append(
            Outcome(what, wanted, run.returncode == 0, began_at, time.monotonic(), text)
        )

    def reload(self) -> bool:
        def work() -> None:
            self._stage.deploy()
            self.books.note("reload")
            self._command("reload", "reload")

        return self._begin(work)

    def reload_by_signal(self) -> bool:
        def work() -> None:
            self._stage.deploy()
            self.books.note("reload by SIGHUP")
            began_at, offset = time.monotonic(), self._stage.log_size()
            self._server.signal(signal.SIGHUP)
            said = self._stage.wait_for_log(OUTCOME, offset, RELOAD_TIMEOUT_S)
            ok = said.startswith("adopted")
            text = self._stage.log_after(offset)[-2000:]
            self.books.outcomes.append(Outcome("SIGHUP", True, ok, began_at, time.monotonic(), text))

        return self._begin(work)

    def reload_twice(self) -> bool:
        def work() -> None:
            self._stage.deploy()
            self.books.note("two reloads at once")
            second = threading.Thread(target=self._command, args=("reload at once", "reload"))
            second.start()
            self._command("reload at once", "reload")
            second.join()

        return self._begin(work)

    def reload_broken(self) -> bool:
        kind = self._dice.choice(self._stage.broken_releases)

        def work() -> None:
            self._stage.deploy(kind)
            self.books.note("broken reload", kind)
            try:
                began_at = time.monotonic()
                run = self._server.gwctl("reload", "--name", "test", timeout_s=RELOAD_TIMEOUT_S)
                self._outcome(f"reload of {kind}", run, began_at, wanted=False)
            finally:
                self._stage.deploy()

        return self._begin(work)

    def upgrade(self) -> bool:
        def work() -> None:
            self.books.note("upgrade")
            self._command("upgrade", "upgrade")

        return self._begin(work)

    def rollback(self) -> bool:
        """Right after a reload: there is a generation to go back to."""

        def work() -> None:
            self._stage.deploy()
            self.books.note("rollback")
            self._command("reload", "reload")
            if self.books.outcomes[-1].ok:
                self._command("rollback", "rollback")

        return self._begin(work)

    # ---- the master

    def scale(self) -> bool:
        up = self._size < SIZE_MAX and (self._size <= SIZE - 1 or self._dice.random() < 0.5)
        self._size += 1 if up else -1
        self.books.note("scaled up" if up else "scaled down", f"to {self._size}")
        if self._dice.random() < 0.5:
            self._server.signal(signal.SIGTTIN if up else signal.SIGTTOU)
        else:
            self._command("scale", "scale", POOL, str(self._size))
        return True

    def back_to_size(self) -> None:
        if any(each.what == "rollback" for each in self.books.outcomes):
            self._command("reload", "reload")  # what was rolled back to starts no worker before one
        self._size = SIZE
        self._command("scale", "scale", POOL, str(SIZE))

    def reopen(self) -> bool:
        self.books.note("logs reopened")
        self._server.signal(signal.SIGUSR1)
        return True
