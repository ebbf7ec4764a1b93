"""The answer to `gwctl.control.protocol.Requests`, as any version of a master gives it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec


class RequestUnderWay(msgspec.Struct, frozen=True):
    """One request: its method and target, and how long it has been served, in seconds."""

    request: str
    age_s: float


class WorkerRequests(msgspec.Struct, frozen=True):
    """What one worker serves, and how many ``more`` it has; ``loop_held``: what else it has is not known."""

    pool: str
    slot: int
    generation: int
    pid: int
    requests: tuple[RequestUnderWay, ...] = ()
    more: int = 0
    loop_held: bool = False


def workers_of(document: Mapping[str, Any]) -> tuple[WorkerRequests, ...]:
    """Read the answer; one without workers has none.

    Raises:
        msgspec.ValidationError: It is no such document.
    """
    return msgspec.convert(document.get("workers", ()), tuple[WorkerRequests, ...])


def longest_first(workers: Iterable[WorkerRequests]) -> list[tuple[RequestUnderWay, WorkerRequests]]:
    """Return the requests of all, each with who serves it."""
    found = [(each, worker) for worker in workers for each in worker.requests]
    return sorted(found, key=lambda pair: -pair[0].age_s)
