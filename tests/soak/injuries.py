"""What is done to single workers: killed, stopped, hung, grown.

Never are all workers hurt at once: a second healthy one is required, so that what is tested
is the server and not its absence. Whoever is to be killed by the server, not by us, is
watched until it is gone, so that what it had in hand is known then too.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from tests.soak import owners
from tests.soak.books import Books
from tests.soak.stage import HARD_MIB, SOFT_MIB, Stage

LOOK_S: Final = 0.05
WORKER_MIB: Final = 60
"""More than a worker needs by itself."""
DEATH_TIMEOUT_S: Final = 60.0


@dataclass
class Asked:
    """A request that is under way, and the worker that has it."""

    connection: http.client.HTTPConnection
    death: owners.Death


class Injuries:
    """Each method is one fault; false when it is not possible now."""

    def __init__(self, stage: Stage, dice: random.Random, books: Books) -> None:
        self._stage = stage
        self._dice = dice
        self._books = books
        self._watchers: list[threading.Thread] = []
        self._grown: Counter[int] = Counter()
        self._over = threading.Event()

    def close(self) -> None:
        """Wait until all that was begun has ended."""
        for watcher in self._watchers:
            watcher.join()

    # ---- workers

    def _workers(self) -> list[dict[str, Any]]:
        workers: list[dict[str, Any]] = self._stage.status()["workers"]
        return workers

    def _victim(self, *states: str) -> int | None:
        """One in such a state, when another healthy one remains."""
        hurt = self._books.hurt
        workers = [worker for worker in self._workers() if worker["pid"] and worker["pid"] not in hurt]
        healthy = [worker["pid"] for worker in workers if worker["state"] == "ready"]
        found = [worker["pid"] for worker in workers if worker["state"] in states]
        pid = self._dice.choice(found) if found else None
        return pid if len(healthy) > 1 or pid not in healthy else None

    def kill(self) -> bool:
        pid = self._victim("starting", "ready", "ready", "parked", "draining")
        death = owners.kill(pid, self._stage.port, "SIGKILL") if pid else None
        if death is None:
            return False
        self._books.deaths.append(death)
        self._books.note("kill -9 of a worker", f"pid {pid}")
        return True

    def kill_template(self) -> bool:
        """It takes nobody along. A worker that it was asked for is tried again."""
        found = [template["pid"] for template in self._stage.status()["templates"]]
        death = owners.kill(self._dice.choice(found), self._stage.port, "SIGKILL") if found else None
        if death is None:
            return False
        self._books.deaths.append(death)
        self._books.note("kill -9 of a template", f"pid {death.pid}")
        return True

    def term(self) -> bool:
        pid = self._victim("ready")
        if pid is None:
            return False
        self._books.note("TERM to a worker", f"pid {pid}")
        return self._signal(pid, signal.SIGTERM)

    def stop_a_while(self) -> bool:
        """Costs time, and nothing else."""
        pid = self._victim("starting", "ready", "draining")
        if pid is None or not self._signal(pid, signal.SIGSTOP):
            return False
        self._books.note("worker stopped a while", f"pid {pid}")
        self._over.wait(self._dice.uniform(0.1, 1.0))
        return self._signal(pid, signal.SIGCONT)

    def stop_for_good(self) -> bool:
        pid = self._victim("ready")
        if pid is None:
            return False
        self._books.note("worker stopped for good", f"pid {pid}")
        self._condemn(owners.Death(pid, "stopped", looked_at=time.monotonic()))
        return self._signal(pid, signal.SIGSTOP)

    def _signal(self, pid: int, signum: signal.Signals) -> bool:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signum)
            return True
        return False

    def _condemn(self, death: owners.Death, *, alone: bool = False) -> None:
        """The server is to end it: watch it until it is gone. ``alone``: nothing that it has may be lost."""
        self._books.deaths.append(death)
        self._in_background(self._watch, death, alone)

    def _in_background(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments)
        thread.start()
        self._watchers.append(thread)

    def _watch(self, death: owners.Death, alone: bool) -> None:
        try:
            pidfd = os.pidfd_open(death.pid)
        except ProcessLookupError:
            death.ended_at = time.monotonic()  # at the latest; its connections were last seen before
            return
        end = time.monotonic() + DEATH_TIMEOUT_S
        while time.monotonic() < end:
            now = time.monotonic()
            clients = set() if alone else owners.clients_of(death.pid, self._stage.port)
            if clients is not None:
                death.looked_at = now
                death.clients |= clients
            if owners.wait_for_end(pidfd, LOOK_S):
                death.ended_at = time.monotonic()
                break
        else:
            lines = [
                line for line in self._stage.server.log.splitlines() if re.search(rf"\b{death.pid}\b", line)
            ]
            story = "\n  ".join([*lines, str([each for each in self._workers() if each["pid"] == death.pid])])
            self._books.problems.append(
                f"pid {death.pid} ({death.why}) lives after {DEATH_TIMEOUT_S:g} s\n  {story}"
            )
        os.close(pidfd)

    # ---- what requests do

    def _ask(self, path: str, why: str, *, exact: bool = True) -> Asked | None:
        """Send ``path`` on a connection whose worker is known, and watched before it gets the request."""
        if self._victim("ready") is None:
            return None
        connection = http.client.HTTPConnection("127.0.0.1", self._stage.port, timeout=60)
        try:
            connection.request("GET", "/")
            response = connection.getresponse()
            response.read()
            if connection.sock is None:  # told to close
                return None
            death = owners.Death(int(response.headers["X-Worker"]), why, exact, looked_at=time.monotonic())
            death.clients = owners.clients_of(death.pid, self._stage.port) or set()
            own = connection.sock.getsockname()[1]
            connection.request("GET", path)
            self._follow(death, own)
        except (OSError, http.client.HTTPException):
            return None  # another fault was quicker
        self._books.note(why, f"pid {death.pid}")
        return Asked(connection, death)

    def _follow(self, death: owners.Death, own: int) -> None:
        """A busy worker may have handed the connection to a sibling: that is the one, then."""
        for pid in [worker["pid"] for worker in self._workers() if worker["pid"]]:
            now = time.monotonic()
            if pid != death.pid and own in (clients := owners.clients_of(pid, self._stage.port) or set()):
                death.pid, death.clients, death.looked_at = pid, clients, now

    def _answer(self, connection: http.client.HTTPConnection) -> int:
        """The status; 0 when the connection ended instead."""
        try:
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return 0
        finally:
            connection.close()

    def hang(self) -> bool:
        """sync: the worker is killed and replaced; threads: 504, and replaced at no cost to others; asgi: 504."""
        return self._hang("/hang", "request that hangs")

    def hold_the_gil(self) -> bool:
        return self._hang("/gil", "request that holds the GIL")

    def _hang(self, path: str, kind: str) -> bool:
        alone = path == "/hang" and self._stage.worker == "threads"
        asked = self._ask(path, kind)
        if asked is None:
            return False
        if alone:
            asked.death.clients.clear()
        given_up = path == "/hang" and self._stage.worker != "sync"
        if not given_up or alone:
            self._condemn(asked.death, alone=alone)
        self._in_background(self._expect, asked, 504 if given_up else 0)
        return True

    def _expect(self, asked: Asked, wanted: int) -> None:
        """The answer, or the end, is judged when all deaths are known."""
        status = self._answer(asked.connection)
        if status != wanted:
            near = "\n".join(f"  {each}" for each in self._books.near(time.monotonic(), 10))
            what = f"{asked.death.why}, pid {asked.death.pid}: answered with {status}, not {wanted}\n{near}"
            self._books.answers.append((asked.death.pid, status, what))

    def grow(self) -> bool:
        return self._grow("memory above the soft limit", SOFT_MIB)

    def grow_too_far(self) -> bool:
        return self._grow("memory above the hard limit", HARD_MIB)

    def _grow(self, kind: str, mib: int) -> bool:
        asked = self._ask(f"/hoard?{mib}", kind, exact=False)
        if asked is None:
            return False
        self._grown[asked.death.pid] += mib
        if self._grown[asked.death.pid] >= HARD_MIB - WORKER_MIB:
            self._condemn(asked.death)
        self._answer(asked.connection)
        return True

    # ---- the master

    def stop_the_master(self) -> bool:
        self._books.note("master stopped a while")
        self._stage.server.signal(signal.SIGSTOP)
        self._over.wait(self._dice.uniform(0.2, 1.5))
        self._stage.server.signal(signal.SIGCONT)
        return True
