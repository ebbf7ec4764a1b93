"""What workers are at, for whoever asks (``gwctl dump``, ``gwctl requests``): they say it, and serve on.

Their loops say it: requests, tasks, and where all threads are. A loop that is held, as under ``sync`` by each
request, says nothing; such a worker is asked by a signal `NUDGE_S` later, whose handler runs where the main
thread is, in Python. (faulthandler's, which would run in any case, walks the frames of threads that run on.
That ends processes; so it is used on those alone that are to be killed, see `incident_report`.) What does not
come to Python for `PATIENCE_S` says nothing, and the kernel has to say what it knows. For requests no signal
is sent: of a worker whose loop is held the scoreboard has one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from math import inf
from typing import Any, Final, NamedTuple

import msgspec

from gwctl.errors import ControlError
from gwctl.records.report_words import seen
from gwctl.supervisor.children.child import Child
from gwctl.supervisor.children.children import Children
from gwctl.wording import workers as count_of_workers

NUDGE_S: Final = 0.1
PATIENCE_S: Final = 1.0
DUMPED_MAX: Final = 16
"""So many workers write their stacks at once; each may have much to say."""

Answer = Callable[[int, bool, str, dict[str, Any]], None]


End = Callable[[list[Child], list[Child], float], None]
"""Takes those that were asked, those of them that live on, and the time."""


class _Inspecting(NamedTuple):
    until: float
    asked: list[Child]
    stacks: bool
    end: End


class Inspections:
    """Those that are under way in one master. ``answer`` is called for each when it is over."""

    def __init__(self, children: Children, answer: Answer) -> None:
        self.children = children
        self._answer = answer
        self._open: list[_Inspecting] = []

    @property
    def under_way(self) -> bool:
        return bool(self._open)

    @property
    def next_at(self) -> float:
        """When `turn` has something to do that no descriptor tells of: monotonic seconds, or infinite."""
        return min(map(self._due, self._open), default=inf)

    def _due(self, inspection: _Inspecting) -> float:
        silent = [
            each.inspected
            for each in inspection.asked
            if inspection.stacks and not self._is_done(each, inspection)
        ]
        nudges = [each.began_at + NUDGE_S for each in silent if each is not None and not each.signalled]
        return min([inspection.until, *nudges])

    def dump(self, request: int, target: str, now: float) -> None:
        """Ask for all there is whom ``target`` names: ``web.2``, or all of ``web``.

        Raises:
            ControlError: There is no such worker, or there are too many.
        """
        found = self.meant(target)
        if len(found) > DUMPED_MAX:
            pool, one = found[0].pool, found[0].process.name
            raise ControlError(f"{pool} has {count_of_workers(len(found))}: name one, as in {one}")
        self.begin(found, now, partial(self._answer_dump, request), stacks=True)

    def inspect(self, child: Child, now: float, end: Callable[[Child, float], None]) -> None:
        """Have one say what it is at, and where; ``end`` is called with it if it lives then."""

        def ended(_asked: list[Child], living: list[Child], now: float) -> None:
            for each in living:
                end(each, now)

        self.begin([child], now, ended, stacks=True)

    def requests(self, request: int, target: str, now: float) -> None:
        """Ask the same for what they serve; all workers if ``target`` is empty.

        Raises:
            ControlError: There is no such worker.
        """
        found = self.meant(target) if target else self._living()
        self.begin(found, now, partial(self._answer_requests, request), stacks=False)

    def begin(
        self, found: list[Child], now: float, end: End, *, stacks: bool, reads_on: bool = False
    ) -> None:
        """Ask ``found``; ``end`` is called when they have said it, or will not.

        ``reads_on``: they are to read what was just sent them, also those who have answered another by now.
        """
        for child in found:
            if child.inspected is None or (stacks and not child.inspected.stacks):
                self.children.inspect(child, now, stacks=stacks)
            elif reads_on:
                self.children.inspect_by_signal(child)
        self._open.append(_Inspecting(now + PATIENCE_S, found, stacks, end))

    def _living(self) -> list[Child]:
        living = [each for each in self.children if each.pid and not each.template]
        return sorted(living, key=lambda each: (each.pool, each.slot, each.generation))

    def meant(self, target: str) -> list[Child]:
        """Those whom ``target`` names: ``web.2``, or all of ``web``.

        Raises:
            ControlError: There is none.
        """
        pool, _, slot = target.partition(".")
        living = self._living()
        of_pool = [each for each in living if each.pool == pool]
        found = [each for each in of_pool if not slot or str(each.slot) == slot]
        if not found:
            raise ControlError(_no_such_worker(target, of_pool, living))
        return found

    def turn(self, now: float) -> None:
        """Answer those that have all that comes."""
        for inspection in list(self._open):
            if inspection.stacks:
                self._nudge(inspection, now)
            if now >= inspection.until or all(self._is_done(each, inspection) for each in inspection.asked):
                self._open.remove(inspection)
                self._end(inspection, now)

    def _nudge(self, inspection: _Inspecting, now: float) -> None:
        for child in inspection.asked:
            inspected = child.inspected
            if inspected is None or inspected.signalled or self._is_done(child, inspection):
                continue
            if now >= inspected.began_at + NUDGE_S:
                inspected.signalled = True
                self.children.inspect_by_signal(child)

    def _is_done(self, child: Child, inspection: _Inspecting) -> bool:
        if self._is_gone(child) or child.inspected is None or child.inspected.has_said:
            return True
        return not (inspection.stacks or child.serves_many)  # the scoreboard has it

    def _is_gone(self, child: Child) -> bool:
        return self.children.get(child.worker) is not child

    def _end(self, inspection: _Inspecting, now: float) -> None:
        asked = [each for each in inspection.asked if not self._is_gone(each) and each.inspected is not None]
        inspection.end(inspection.asked, asked, now)
        for child in asked:
            if not any(child in other.asked for other in self._open):
                child.end_inspection()

    def _answer_requests(self, request: int, _named: list[Child], asked: list[Child], now: float) -> None:
        result = {"text": "", "workers": [_requests_of(each, now) for each in asked]}
        self._answer(request, True, "", result)

    def _answer_dump(self, request: int, named: list[Child], asked: list[Child], now: float) -> None:
        texts, documents = [], []
        for child in named:
            process = child.process
            report = child.inspection_report(now) if child in asked else None
            if report is None:
                texts.append(
                    f"{process.subject} pid {process.pid} has ended meanwhile; gwctl events says why"
                )
                documents.append(msgspec.to_builtins(process) | {"report": None})
                continue
            texts.append(seen(process, report))
            documents.append(msgspec.to_builtins(process) | {"report": msgspec.to_builtins(report)})
        self._answer(request, bool(asked), "\n\n".join(texts), {"workers": documents})


def _requests_of(child: Child, now: float) -> dict[str, Any]:
    requests, more = child.under_way(now)
    shown = [{"request": each.what, "age_s": each.age_s} for each in requests]
    answers = child.inspected is not None and child.inspected.known.told is not None
    held = child.serves_many and not answers
    document: dict[str, Any] = msgspec.to_builtins(child.process)
    return document | {"requests": shown, "more": more, "loop_held": held}


def _no_such_worker(target: str, of_pool: list[Child], living: Iterable[Child]) -> str:
    if of_pool:
        names = dict.fromkeys(each.process.name for each in of_pool)
        return f"no worker {target}: there are {', '.join(names)}"
    pools = sorted({each.pool for each in living})
    others = f": there are {', '.join(pools)}" if pools else ""
    return f"no pool {target.partition('.')[0]!r} with a worker{others}"
