"""``gwctl requests`` as text: a line for each request that is being served, the longest first."""

from __future__ import annotations

from typing import Any

import msgspec

from gwctl.control.requests import WorkerRequests, longest_first, workers_of
from gwctl.errors import ControlError
from gwctl.log.text_lines import escaped
from gwctl.wording import duration, requests
from gwctl.wording import workers as count_of_workers


def render(document: dict[str, Any], most: int, width: int = 0) -> str:
    """``most`` lines at most; 0: all. Lines are cut to ``width`` characters; 0: they are not.

    Raises:
        ControlError: It is not such a document.
    """
    try:
        workers = workers_of(document)
    except msgspec.ValidationError as error:
        raise ControlError(f"the master's answer is not understood ({error}); try --json") from None
    found = longest_first(workers)
    shown = found[: most or len(found)]
    names = max((len(_name(worker)) for _, worker in shown), default=0)
    lines = []
    for each, worker in shown:
        request = escaped(each.request)
        line = f"{duration(each.age_s):>8}  {_name(worker):<{names}}  {worker.pid:>7}  {request}"
        lines.append(line[: width or None])
    total = len(found) + sum(worker.more for worker in workers)
    busy = sum(1 for worker in workers if worker.requests)
    last = f"{requests(total)} under way, in {busy} of {count_of_workers(len(workers))}"
    if total > len(shown) > 0:
        last += f"; the {len(shown)} longest are shown" if len(shown) > 1 else "; the longest is shown"
    held = [_name(worker) for worker in workers if worker.loop_held]
    if held:
        last += f". What else they have is not known, as their loop does not answer: {', '.join(held)}"
    return "\n".join([*lines, last if workers else "no worker runs"])


def _name(worker: WorkerRequests) -> str:
    return f"{worker.pool}.{worker.slot} g{worker.generation}"
