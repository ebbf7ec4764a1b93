"""What the shell reads of a worker's record for the core."""

from __future__ import annotations

import os
import time
from socket import socketpair

import pytest

from gwctl.config.model.settings import PoolSettings
from gwctl.ipc import scoreboard
from gwctl.ipc.channel import Channel
from gwctl.supervisor.children.children import Child


def a_child(pid: int) -> Child:
    record = scoreboard.Scoreboard(1).allocate()
    assert record is not None
    record.words[scoreboard.PID] = pid
    ours, theirs = socketpair()
    theirs.close()
    settings = PoolSettings(app="shop.wsgi:application")
    return Child(7, "web", 2, 1, settings, Channel(ours), record, spawned_at=100.0, pid=pid)


def test_idle_worker() -> None:
    child = a_child(os.getpid())
    child.record.floats[scoreboard.HEARTBEAT_AT] = 123.5
    child.record.words[scoreboard.REQUESTS] = 41
    observed = child.observed(0.25, 124.0)
    assert (observed.worker, observed.jitter, observed.requests, observed.heartbeat_at) == (
        7,
        0.25,
        41,
        123.5,
    )
    assert (observed.active, observed.busy_since, observed.serving) == (0, 0.0, "")
    assert observed.memory_bytes > 1 << 20  # that of this process, from the kernel


def test_busy_worker() -> None:
    child = a_child(os.getpid())
    since = time.monotonic()
    scoreboard.note_request(child.record.request, 0, since, b"GET /cart HTTP/1.1\r\nHost: x\r\n\r\n")
    observed = child.observed(0.0, since)
    assert (observed.active, observed.busy_since, observed.serving) == (1, since, "GET /cart")


def test_without_proc_the_memory_is_what_the_worker_said() -> None:
    child = a_child(pid=1 << 30)
    child.record.words[scoreboard.MEMORY_BYTES] = 5 << 20
    assert child.observed(0.0, 101.0).memory_bytes == 5 << 20


def test_request_rate_since_the_last_sample() -> None:
    child = a_child(os.getpid())
    child.record.words[scoreboard.REQUESTS] = 10
    child.sample(5.0, 105.0)
    assert child.rate == 2.0
    child.record.words[scoreboard.REQUESTS] = 12
    child.sample(4.0, 109.0)
    assert child.rate == 0.5


@pytest.mark.parametrize("then", [0.0, 900.0])
def test_of_a_request_that_ends_while_it_is_read_no_limit_is_told(then: float) -> None:
    """Its copy is made; by the next look it is over, and maybe another one has begun."""
    child = a_child(os.getpid())
    scoreboard.note_request(child.record.request, 0, 150.0, b"GET /cart HTTP/1.1\r\n\r\n")
    observed = child.observed(0.0, 151.0)
    assert (observed.busy_since, observed.request_limit_s, observed.request_due_at) == (150.0, 60.0, 210.0)
    copy = child.trusted_record(151.0)
    child.record.floats[scoreboard.BUSY_SINCE] = then
    busy_since, _, limit_s, due_at = child._request(copy)
    assert (busy_since, limit_s, due_at) == (150.0, 0.0, 0.0)
