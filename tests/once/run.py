"""One run: a server with atomic reloads, POSTs with numbers of their own, faults, the verdict."""

from __future__ import annotations

import os
import random
import re
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, Final

from tests.once.client import Sent
from tests.once.verdict import Switch, Verdict, judge, runs_of, text
from tests.soak.books import Books, Outcome
from tests.soak.faults import Faults
from tests.soak.stage import SETTINGS, SIZE, Stage
from tests.support import started

FAULTS: Final = ("reload", "rollback", "upgrade", "kill", "kill_template", "term", "scale")
KINDLY: Final = tuple(each for each in FAULTS if not each.startswith("kill"))
"""Those that may not cost a single answer."""
ENDS_S: Final = 120.0
"""For the last answers, from the end of the faults on."""
_ADOPTED: Final = re.compile(r"^(?:adopted|rolled back to) generation (\d+)", re.MULTILINE)
_READY: Final = re.compile(r"^\S+ \w+ +web\.\d+ g(\d+) +pid (\d+) ready", re.MULTILINE)
_LATE: Final = re.compile(r"\b\d+ late\b")


@dataclass(frozen=True)
class Wish:
    """What is wanted of a run."""

    worker: str
    posts: int
    seed: int
    broken: str = ""
    pause_s: float = 0.5
    only: tuple[str, ...] = FAULTS
    connections: int = 24
    preload: bool = False


@dataclass
class Run:
    """What came of it."""

    wish: Wish
    books: Books
    verdict: Verdict
    took_s: float

    @property
    def ok(self) -> bool:
        return not self.verdict.problems

    def text(self) -> str:
        done = ", ".join(f"{count} x {kind}" for kind, count in sorted(self.books.counts.items()))
        rate = self.verdict.posts / self.took_s
        return f"{text(self.verdict)}\n{self.took_s:.0f} s, {rate:.0f} POSTs/s; faults: {done or 'none'}"


class OnceStage(Stage):
    """A server of `tests/apps/once.py`, whose reloads are atomic."""

    def __init__(self, wish: Wish) -> None:
        recycle: dict[str, Any] = {
            **SETTINGS["recycle"],
            "requests_max": max(500, min(20_000, wish.posts // 10)),
        }
        super().__init__(
            wish.worker,
            broken=wish.broken,
            timeouts={**SETTINGS["timeouts"], "body_timeout_s": 5, "header_timeout_s": 5},
            reload={"settle_s": 0.2, "strategy": "atomic"},
            recycle=recycle,
            preload=wish.preload,
        )

    def source(self, release: int) -> str:
        return f"from once import {self.interface} as application  # {release}\n"


def once(wish: Wish) -> Run:
    """Run it. What the server does wrong is in the verdict; an exception is the harness's, or its end's."""
    with OnceStage(wish) as stage:
        faults = Faults(stage, wish.seed, wish.only)
        began_at = time.monotonic()
        client = started.start(
            [str(stage.port), str(wish.posts), str(wish.connections), str(stage.folder)],
            module="tests.once.client",
            environ={**os.environ, "PYTHONPATH": str(started.ROOT)},
            cwd=started.ROOT,
            stdout=1,
            stderr=2,
        )
        try:
            _inflict(faults, client, wish)
            faults.close()
            status = client.wait(ENDS_S)
        finally:
            client.kill()
            client.wait()
        assert status == 0, f"the client ended with status {status}"
        took_s = time.monotonic() - began_at
        faults.back_to_size()
        stage.wait_until_calm(SIZE)
        runs = list(runs_of(stage.folder, generations(stage.server.log)))
        sent = Sent.read(stage.folder)
    verdict = judge(sent, iter(runs), list(switches(faults.books.outcomes)), killed=bool(faults.books.deaths))
    return Run(wish, faults.books, verdict, took_s)


def _inflict(faults: Faults, client: started.Started, wish: Wish) -> None:
    dice, pause = random.Random(-wish.seed), threading.Event()
    if "reload" in wish.only:
        faults.reload()  # a short run has a switch, too
    while client.poll() is None:
        if wish.only:
            faults.one()
        pause.wait(dice.uniform(0, 2 * wish.pause_s))


def switches(outcomes: Sequence[Outcome]) -> Iterator[Switch]:
    """Those that came as they were promised.

    Not those in which a sync call was so long that its worker read the order late, which the answer says, and
    not what an upgrade reloads.
    """
    steps = [each for each in outcomes if each.what in {"reload", "rollback", "upgrade"}]
    ends = [each.began_at for each in steps[1:]] + [inf]
    for step, until in zip(steps, ends, strict=False):
        to = _ADOPTED.search(step.output)
        if step.ok and to and step.what != "upgrade" and not _LATE.search(step.output):
            yield Switch(int(to[1]), step.began_at, until)


def generations(log: str) -> dict[int, int]:
    """Of which generation each worker was, by its pid."""
    return {int(pid): int(generation) for generation, pid in _READY.findall(log)}
