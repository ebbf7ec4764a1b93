"""What hostile applications and clients do, while everybody else is to notice nothing.

Each has an answer that is right: of one process alone, in whole, or 500. What it may cost others is
nothing, but for an application that cancels the tasks of others: they are in its hands.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import random
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gwctl.errors import ControlError
from tests.soak import owners
from tests.soak.books import Books
from tests.soak.stage import Stage
from tests.support.raw import reset_at_close
from tests.support.wait import until

LEAVERS: Final = 5
END_S: Final = 60.0
"""For what was begun to come to its end: threads, and connections of clients that have left."""


@dataclass
class Answer:
    """What came on one connection."""

    status: int
    body: bytes
    cookies: list[str]
    worker: int


class Hostility:
    """Each method is one deed; `close` judges what shows only afterwards."""

    def __init__(self, stage: Stage, dice: random.Random, books: Books) -> None:
        self._stage = stage
        self._dice = dice
        self._books = books
        self._names = itertools.count()
        self._threads: list[tuple[int, Path]] = []
        self._left: set[int] = set()

    def close(self) -> None:
        """Wait for what was promised: threads are through, and clients that left are forgotten."""
        for pid, file in self._threads:
            if pid not in self._books.hurt:
                self._expect(file.exists, f"pid {pid} ended before its thread was through ({file.name})")
        self._expect(lambda: not self._still_there(), "connections of clients that have left are still there")

    def _expect(self, condition: object, problem: str) -> None:
        assert callable(condition)
        try:
            until(condition, problem, END_S)
        except AssertionError as error:
            self._books.problems.append(str(error))

    def _still_there(self) -> set[int]:
        """Their ports. Another client may have one of these by now: it has not left."""
        with contextlib.suppress(ControlError):
            workers = [worker["pid"] for worker in self._stage.status()["workers"] if worker["pid"]]
            held = [owners.clients_of(pid, self._stage.port, gone=True) or set() for pid in workers]
            return self._left & set().union(*held)
        return {0}  # nobody could be asked: once more

    # ---- applications

    def _ask(self, path: str) -> Answer | None:
        """None: the connection was one that a fault of another kind cut."""
        connection = http.client.HTTPConnection("127.0.0.1", self._stage.port, timeout=60)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            cookies = response.headers.get_all("Set-Cookie") or []
            worker = int(response.headers.get("X-Worker") or 0)
            return Answer(response.status, response.read(), cookies, worker)
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    def _judge(self, what: str, answer: Answer, *, right: bool) -> bool:
        self._books.note(what, f"pid {answer.worker}")
        if not right:
            self._books.problems.append(f"{what}: {answer}")
        return True

    def fork(self) -> bool:
        """The child returns from the call, too: one answer, of the worker."""
        answer = self._ask("/fork")
        if answer is None:
            return False
        whole = answer.status == 200 and answer.body == str(answer.worker).encode()
        return self._judge("application that forks", answer, right=whole)

    def leave_thread(self) -> bool:
        name = f"thread-{next(self._names)}"
        answer = self._ask(f"/thread?{name}")
        if answer is None:
            return False
        self._threads.append((answer.worker, self._stage.folder / f"{name}.done"))
        return self._judge("application that leaves a thread", answer, right=answer.status == 200)

    def exit(self) -> bool:
        answer = self._ask("/exit")
        if answer is None:
            return False
        return self._judge("application that exits", answer, right=answer.status == 500)

    def cookies(self) -> bool:
        answer = self._ask("/cookies")
        if answer is None:
            return False
        right = answer.cookies == ["sid=1", "theme=2"]
        return self._judge("headers that can be read once", answer, right=right)

    def cancel(self) -> bool:
        """All that the worker had in its hands may be cut, and it serves on."""
        connection = http.client.HTTPConnection("127.0.0.1", self._stage.port, timeout=60)
        try:
            connection.request("GET", "/")
            response = connection.getresponse()
            response.read()
            pid = int(response.headers["X-Worker"])
            looked_at = time.monotonic()
            clients = owners.clients_of(pid, self._stage.port) or set()
            connection.request("GET", "/cancel")
            with contextlib.suppress(OSError, http.client.HTTPException):
                connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
        clients |= owners.clients_of(pid, self._stage.port) or set()
        cut = owners.Death(pid, "all tasks cancelled", exact=False, looked_at=looked_at, clients=clients)
        cut.ended_at = time.monotonic()
        self._books.cancelled.append(cut)
        self._books.note("application that cancels all tasks", f"pid {pid}")
        return True

    # ---- clients

    def leave(self) -> bool:
        """Some that ask and go: with a FIN, a reset, in the middle of a request, or before one."""
        for _ in range(LEAVERS):
            with (
                contextlib.suppress(OSError),
                socket.create_connection(("127.0.0.1", self._stage.port)) as sock,
            ):
                self._left.add(sock.getsockname()[1])
                request = b"GET /silent HTTP/1.1\r\nHost: x\r\n\r\n"
                sock.sendall(request[: self._dice.choice((0, 9, len(request), len(request)))])
                if self._dice.random() < 0.5:
                    reset_at_close(sock)
        self._books.note("clients that leave without a word")
        return True
