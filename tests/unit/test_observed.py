"""What the shell reads of a worker's record for the core."""

from __future__ import annotations

import os
import time
from socket import socketpair
from types import SimpleNamespace
from typing import Any

import pytest

from gwctl import scoreboard
from gwctl.channel import Channel
from gwctl.config.settings import PoolSettings
from gwctl.supervisor.children import Child


def a_child(pid: int) -> Child:
    record = scoreboard.Scoreboard(1).allocate()
    assert record is not None
    ours, theirs = socketpair()
    theirs.close()
    settings = PoolSettings(app="shop.wsgi:application")
    return Child(7, "web", 2, 1, settings, Channel(ours), record, spawned_at=100.0, pid=pid)


def test_idle_worker() -> None:
    child = a_child(os.getpid())
    child.record.floats[scoreboard.HEARTBEAT_AT] = 123.5
    child.record.words[scoreboard.REQUESTS] = 41
    facts = child.observed(0.25)
    assert (facts.worker, facts.luck, facts.requests, facts.heartbeat_at) == (7, 0.25, 41, 123.5)
    assert (facts.active, facts.busy_since, facts.serving) == (0, 0.0, "")
    assert facts.memory_bytes > 1 << 20  # that of this process, from the kernel


def test_busy_worker() -> None:
    child = a_child(os.getpid())
    since = time.monotonic()
    scoreboard.note_request(child.record.request, 0, since, b"GET /cart HTTP/1.1\r\nHost: x\r\n\r\n")
    facts = child.observed(0.0)
    assert (facts.active, facts.busy_since, facts.serving) == (1, since, "GET /cart")


def test_without_proc_the_memory_is_what_the_worker_said() -> None:
    child = a_child(pid=1 << 30)
    child.record.words[scoreboard.MEMORY_BYTES] = 5 << 20
    assert child.observed(0.0).memory_bytes == 5 << 20


def test_request_rate_since_the_last_sample() -> None:
    child = a_child(os.getpid())
    child.record.words[scoreboard.REQUESTS] = 10
    child.sample(5.0)
    assert child.rate == 2.0
    child.record.words[scoreboard.REQUESTS] = 12
    child.sample(4.0)
    assert child.rate == 0.5


class EndsWhileItIsRead:
    """The floats of a record whose request is over, and another one begun, after the first look at it."""

    def __init__(self, floats: memoryview, then: float) -> None:
        self._floats = floats
        self._then = then
        self._looks = 0

    def __getitem__(self, index: int) -> float:
        if index == scoreboard.BUSY_SINCE:
            self._looks += 1
            return 50.0 if self._looks == 1 else self._then
        return self._floats[index]


@pytest.mark.parametrize("then", [0.0, 900.0])
def test_of_a_request_that_ends_while_it_is_read_no_limit_is_told(then: float) -> None:
    child = a_child(os.getpid())
    scoreboard.note_request(child.record.request, 0, 50.0, b"GET /cart HTTP/1.1\r\n\r\n")
    facts = child.observed(0.0)
    assert (facts.busy_since, facts.request_limit_s, facts.request_due_at) == (50.0, 60.0, 110.0)
    busy_since, _, limit_s, due_at = _request_of(child, then)
    assert (busy_since, limit_s, due_at) == (50.0, 0.0, 0.0)


def _request_of(child: Child, then: float) -> tuple[float, str, float, float]:
    record: Any = SimpleNamespace(
        floats=EndsWhileItIsRead(child.record.floats, then), request_line=child.record.request_line
    )
    child.record = record
    return child._request()
