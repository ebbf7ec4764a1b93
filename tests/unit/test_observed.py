"""What the shell reads of a worker's record for the core."""

from __future__ import annotations

import os
import time
from socket import socketpair

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
