"""What workers are at, for a person who asks (``gwctl dump``): they say it, and serve on.

It is the way in which a worker explains itself before it is killed (`incident_report`): stacks by a signal
whose handler writes them, requests and tasks over the channel, the rest by the kernel. A worker whose loop
turns has said all of it in a moment. Of one whose loop is held, as that of class ``sync`` is by each request,
only the stacks come, and nothing says that they are whole: it has `PATIENCE_S`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import inf
from typing import Any, Final

import msgspec

from gwctl.errors import ControlError
from gwctl.records.report_words import seen
from gwctl.supervisor.children.child import Child
from gwctl.supervisor.children.children import Children
from gwctl.wording import workers as count_of_workers

PATIENCE_S: Final = 1.0
AT_ONCE_MAX: Final = 16
"""So many workers are asked at once; each may have much to say."""

Answer = Callable[[int, bool, str, dict[str, Any]], None]


class Inspections:
    """Those that are under way in one master. ``answer`` is called for each when it is over."""

    def __init__(self, children: Children, answer: Answer) -> None:
        self._children = children
        self._answer = answer
        self._open: dict[int, tuple[float, list[Child]]] = {}
        """By request: until when it waits, and for whom."""

    @property
    def under_way(self) -> bool:
        return bool(self._open)

    @property
    def next_at(self) -> float:
        """When `turn` has something to do that no descriptor tells of: monotonic seconds, or infinite."""
        return min((until for until, _ in self._open.values()), default=inf)

    def begin(self, request: int, target: str, now: float) -> None:
        """Ask whom ``target`` names: ``web.2``, or all of ``web``.

        Raises:
            ControlError: There is no such worker, or there are too many.
        """
        found = self._meant(target)
        for child in found:
            if child.inspected is None:
                self._children.inspect(child, now)
        self._open[request] = now + PATIENCE_S, found

    def _meant(self, target: str) -> list[Child]:
        pool, _, slot = target.partition(".")
        living = [each for each in self._children if each.pid and not each.template]
        of_pool = sorted([each for each in living if each.pool == pool], key=_place)
        found = [each for each in of_pool if not slot or str(each.slot) == slot]
        if not found:
            raise ControlError(_no_such_worker(target, of_pool, living))
        if len(found) > AT_ONCE_MAX:
            raise ControlError(
                f"{pool} has {count_of_workers(len(found))}: name one, as in {found[0].process.name}"
            )
        return found

    def turn(self, now: float) -> None:
        """Answer those that have all that comes."""
        for request, (until, asked) in list(self._open.items()):
            if now >= until or all(_has_said(each) or self._is_gone(each) for each in asked):
                del self._open[request]
                self._end(request, asked, now)

    def _is_gone(self, child: Child) -> bool:
        return self._children.get(child.worker) is not child

    def _end(self, request: int, asked: list[Child], now: float) -> None:
        texts, documents = [], []
        for child in asked:
            process = child.process
            report = None if self._is_gone(child) else child.inspection_report(now)
            if report is None:
                texts.append(f"{process.subject} pid {process.pid} has ended meanwhile")
                continue
            texts.append(seen(process, report))
            documents.append(msgspec.to_builtins(process) | {"report": msgspec.to_builtins(report)})
            if not any(child in others for _, others in self._open.values()):
                child.end_inspection()
        self._answer(request, bool(documents), "\n\n".join(texts), {"workers": documents})


def _place(child: Child) -> tuple[int, int]:
    return child.slot, child.generation


def _has_said(child: Child) -> bool:
    return child.inspected is None or child.inspected.told is not None


def _no_such_worker(target: str, of_pool: list[Child], living: Iterable[Child]) -> str:
    if of_pool:
        names = dict.fromkeys(each.process.name for each in of_pool)
        return f"no worker {target}: there are {', '.join(names)}"
    pools = sorted({each.pool for each in living})
    others = f": there are {', '.join(pools)}" if pools else ""
    return f"no pool {target.partition('.')[0]!r} with a worker{others}"
