"""One soak: a quiet phase, the same load with faults, a calm end, the verdict."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass
from typing import Final

from gwctl.supervisor.children.procfs import resident_bytes
from tests.load.result import Result
from tests.load.runner import MixedLoad
from tests.soak import report
from tests.soak.faults import Faults
from tests.soak.stage import SIZE, Stage, parts
from tests.soak.verdict import Resources, judge
from tests.support.processes import children, descriptors, title
from tests.support.server import ROOT

PAUSE_S: Final = 1.0
"""Mean pause between two faults; most go on meanwhile."""
MEMORY_GROWTH_MAX_BYTES: Final = 16 << 20
REQUESTS_AT_LEAST: Final = 20
LOOKS: Final = 5
NOTICED_S: Final = 10.0
LOGS: Final = ROOT / "build" / "soak"
"""The log of the last run of each class."""


OF_A_CHILD: Final = 3
"""Descriptors: a channel, a pidfd, a file for stacks."""


@dataclass(frozen=True)
class Wish:
    """What is wanted of a run. ``seconds``: of the phase with faults."""

    worker: str
    seconds: float
    seed: int
    broken: str = ""
    pause_s: float = PAUSE_S
    only: tuple[str, ...] = ()
    """Names of the faults; none: all."""
    fail_fast: bool = False
    """End with the first failure that is found: for broken builds."""

    preload: bool = False
    """Workers are forked from templates, which are killed, too."""

    hostile: bool = False
    """The application and some clients do what none should, besides."""

    haste: float = 1.0
    """The pauses of all clients are divided by it."""

    faults_at_least: int = 0
    """So many are waited for, however slow the machine is."""

    @property
    def quiet_s(self) -> float:
        return min(60.0, max(1.0, self.seconds / 10))


def resources(stage: Stage) -> Resources:
    """What the master holds. A template may be gone, and is then begun when it is needed: it does not count.

    The least of some looks: a client of the control socket may be there for a moment.
    """
    pid, pause, counts = stage.server.pid, threading.Event(), []
    templates = sum(title(child).startswith("gwctl: template") for child in children(pid))
    for _ in range(LOOKS):
        counts.append(len(descriptors(pid)))
        pause.wait(0.02)
    return Resources(min(counts) - OF_A_CHILD * templates, resident_bytes(pid))


def resources_left(stage: Stage, before: Resources) -> Resources:
    """The same afterwards. A busy master may not have noticed yet who has left its control socket."""
    end = time.monotonic() + NOTICED_S
    after = resources(stage)
    while after.descriptors > before.descriptors and time.monotonic() < end:
        after = resources(stage)
    return after


def soak(wish: Wish) -> report.Run:
    """Run it. What the server does wrong is in the verdict; an exception is the harness's, or its end's."""
    module = "soaked_hostile" if wish.hostile else "soaked"
    with Stage(wish.worker, broken=wish.broken, preload=wish.preload, module=module) as stage:
        quiet = _quiet(stage, wish)
        stage.wait_until_calm(SIZE)
        before = resources(stage)
        faults = Faults(stage, wish.seed, wish.only, hostile=wish.hostile)
        with MixedLoad(parts(stage.server.url, wish.worker, wish.haste)) as load:
            _inflict(faults, load, wish)
            faults.close()
            faults.back_to_size()
            try:
                stage.wait_until_calm(SIZE)
            except AssertionError as error:
                faults.books.problems.append(str(error))
            load.wait_for_requests(REQUESTS_AT_LEAST)
        after = resources_left(stage, before)
        log = stage.server.log
        _keep(log, wish)
    verdict = judge(load.results, faults.books, log)
    if after.descriptors > before.descriptors:
        verdict.problems.append(
            f"the master had {before.descriptors} descriptors and now has {after.descriptors}"
        )
    if after.memory_bytes - before.memory_bytes > MEMORY_GROWTH_MAX_BYTES:
        verdict.problems.append("the master has grown")
    return report.Run(
        worker=wish.worker,
        seed=wish.seed,
        seconds=wish.seconds,
        broken=wish.broken,
        books=faults.books,
        quiet=quiet,
        results=load.results,
        before=before,
        after=after,
        verdict=verdict,
    )


def _keep(log: str, wish: Wish) -> None:
    """For whoever looks into a failure."""
    LOGS.mkdir(parents=True, exist_ok=True)
    (LOGS / f"{wish.worker}{wish.broken and '-' + wish.broken}.log").write_text(log, "utf-8")


def _quiet(stage: Stage, wish: Wish) -> list[Result]:
    with MixedLoad(parts(stage.server.url, wish.worker, wish.haste)) as load:
        threading.Event().wait(wish.quiet_s)
    return load.results


def _inflict(faults: Faults, load: MixedLoad, wish: Wish) -> None:
    dice = random.Random(-wish.seed)
    end = time.monotonic() + wish.seconds
    pause = threading.Event()
    done = faults.books.counts.values
    while time.monotonic() < end or sum(done()) < wish.faults_at_least:
        if wish.fail_fast and load.failed:
            break
        faults.one()
        pause.wait(dice.uniform(0, 2 * wish.pause_s))
