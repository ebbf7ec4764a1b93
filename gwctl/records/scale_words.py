"""What is said about the size of a pool: who changed it, and why it is no other number."""

from __future__ import annotations

from typing import Final, assert_never

from gwctl.records.registry import says as _of
from gwctl.records.scaling import GroupNearLimit, PoolNotScaled, PoolScaled, ScaleFigures
from gwctl.wording import size, workers

NOT_STARTED: Final = "No worker is started before the next reload"
AUTOSCALE: Final = "autoscale"
"""Who changed a size that nobody asked for."""


@_of(PoolScaled)
def _scaled(record: PoolScaled) -> str:
    who = f" ({record.source})" if record.source else ""
    return _said(record, f"{change(record)}{who}")


def answer(record: PoolScaled) -> str:
    """What whoever asked for it is told: who that is they know."""
    return _said(record, change(record))


def change(record: PoolScaled) -> str:
    """``2 -> 4 workers``."""
    now = workers(record.size)
    return f"{record.was} -> {now}" if record.size != record.was or record.asked < 1 else f"stays at {now}"


def _said(record: PoolScaled, text: str) -> str:
    if record.asked < 1:
        text = f"{text}: a pool has at least one"
    figures = record.figures
    if record.cause is not None and figures is not None:
        text = f"{text}: {_why(record, figures)}"
    elif record.fixed:
        text = f"{text}. It stays so until `gwctl scale {record.pool} auto`"
    elif record.released and figures is not None:
        text = f"{text}, from now on {figures.min} to {figures.max} by load"
    return f"{text}. {NOT_STARTED}: {record.held}" if record.held else text


def _why(record: PoolScaled, figures: ScaleFigures) -> str:
    used = f"{figures.busy:.1f} of {record.was} in use"
    match record.cause:
        case "waits":
            return f"{_waiting(figures.waiting)}, {used}"
        case "busy":
            return used
        case "quiet":
            return f"fewer were enough for long, {used}"
        case "bounds":
            return f"{figures.min} to {figures.max} are allowed"
        case None:
            raise ValueError("somebody asked for it")
        case _:
            assert_never(record.cause)


@_of(PoolNotScaled)
def _not_scaled(record: PoolNotScaled) -> str:
    figures = record.figures
    waiting = f", {_waiting(figures.waiting)}" if figures.waiting else ""
    seen = f"{figures.busy:.1f} of {record.size} in use{waiting}"
    return f"{figures.need} workers are needed ({seen}), and it stays at {record.size}: {_obstacle(record)}"


def _obstacle(record: PoolNotScaled) -> str:
    figures = record.figures
    match record.obstacle:
        case "max":
            return f"more than max = {figures.max} are not allowed"
        case "fails":
            return "workers of it keep failing, and more of them would, too"
        case "cpu":
            used = f"{figures.cpus:.1f} of {figures.cpus_max:g} CPUs"
            return f"they use {used}, and more of them would only take turns"
        case "memory":
            free = size(figures.free_bytes or 0)
            return f"{free} of memory are left, and one takes {size(figures.worker_bytes)}"
        case _:
            assert_never(record.obstacle)


@_of(GroupNearLimit)
def _near_limit(record: GroupNearLimit) -> str:
    held = f"the control group holds {size(record.used_bytes)} of its {size(record.limit_bytes)} of memory"
    if record.ours:
        return (
            f"{held}, and no worker has grown since it was ready: they need more memory, or have to be fewer"
        )
    return f"{held}, and the workers no more than {size(record.workers_bytes)}: others need more memory"


def _waiting(count: int) -> str:
    return "1 request waits" if count == 1 else f"{count:,} requests wait"
