"""What `gwctl status` says in one word, what of the last minute, and how it reads in 80 columns."""

from __future__ import annotations

import os
import socket
import time
from typing import Any

import msgspec
import pytest

from gwctl.cli.status_view import render
from gwctl.control import health, status
from gwctl.control.latency import percentile_ms
from gwctl.supervisor.children.recent_totals import Recent
from gwctl.supervisor.children.totals import Totals
from gwctl.supervisor.control.pressure import open_files
from gwctl.supervisor.listeners.backlog import waiting
from tests.support.invented_status import master, pool, worker
from tests.support.wait import until


def minute(**more: object) -> status.MinuteStatus:
    return status.MinuteStatus(60.0, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("pools", "more", "word", "why"),
    [
        ([pool()], {}, "healthy", ""),
        ([pool(ready=3)], {}, "degraded", "web: 3 of 4 ready"),
        ([pool(ready=0, note="slot 0 keeps dying")], {}, "down", "web: 0 of 4 ready, slot 0 keeps dying"),
        ([pool(), pool(name="live", ready=0)], {}, "down", "live: 0 of 4 ready"),
        ([pool(ready=0, size=0)], {}, "healthy", ""),
        ([pool(ready=0)], {"phase": "starting"}, "starting", "web 0/4 ready"),
        ([pool(ready=0)], {"phase": "stopping"}, "stopping", "web 0/4 ready"),
        ([pool()], {"phase": "reloading"}, "healthy", ""),
        ([pool()], {"degraded": "disk differs"}, "degraded", "disk differs"),
        ([pool()], {"degraded": "disk differs", "refused_at": 1.0}, "degraded", "disk differs"),
        ([pool()], {"refused_at": 1.0}, "degraded", health.REFUSED),
        ([pool(ready=3)], {"refused_at": 1.0}, "degraded", f"web: 3 of 4 ready; {health.REFUSED}"),
        ([pool(ready=0)], {"refused_at": 1.0}, "down", "web: 0 of 4 ready"),
        ([pool()], {"phase": "stopping", "refused_at": 1.0}, "stopping", "web 4/4 ready"),
        (
            [pool(worker(from_disk=True))],
            {"degraded": "disk differs"},
            "degraded",
            "disk differs, 1 worker runs it",
        ),
        ([pool(worker(active=8), backlog=200)], {}, "overloaded", "web: 200 connections wait"),
        ([pool(worker(active=1), backlog=1)], {}, "healthy", ""),
        ([pool(worker(slots=0), backlog=1)], {}, "overloaded", "web: 1 connection waits"),
    ],
)
def test_one_word_and_why(pools: list[status.PoolStatus], more: dict[str, Any], word: str, why: str) -> None:
    assert health.of(master(*pools, **more)) == (word, why)


def test_who_serves_nobody() -> None:
    assert {"down", "starting"} == health.SERVES_NOBODY


# ---- the last minute


def totals(requests: int, errors: int = 0, bucket: int = 0) -> Totals:
    found = Totals(requests=requests, errors=errors)
    found.latency[bucket] = requests
    return found


def test_the_first_minute_is_the_whole_life() -> None:
    recent = Recent()
    assert recent.window("web", totals(10), 105.0, 100.0).per_s == 2.0
    recent.note("web", totals(10), 105.0)
    window = recent.window("web", totals(40, 2), 120.0, 100.0)
    assert (window.seconds, window.requests, window.errors) == (20.0, 40, 2)


def test_after_that_only_a_minute_counts() -> None:
    """A hundred slow requests ten minutes ago say nothing of the present."""
    recent, sums = Recent(), Totals()
    for step in range(200):
        sums = sums.plus(totals(100, bucket=9) if step == 0 else totals(5, bucket=1))
        recent.note("web", sums, 1000.0 + 5 * step)
    window = recent.window("web", sums, 1000.0 + 5 * 199 + 1, 1000.0)
    assert 60 <= window.seconds <= 66
    assert window.requests in {60, 65}
    assert window.latency[9] == 0
    assert percentile_ms(window.latency, 0.99) < 0.3  # type: ignore[operator]
    assert len(recent._samples["web"]) <= 14


def test_a_program_that_took_over_begins_with_its_first_sample() -> None:
    recent = Recent()
    recent.note("web", totals(1000), 500.0)
    window = recent.window("web", totals(1010), 505.0, 0.0)
    assert (window.seconds, window.requests) == (5.0, 10)


def test_counters_that_run_backwards_are_no_requests() -> None:
    recent = Recent()
    recent.note("web", totals(1000), 500.0)
    assert recent.window("web", totals(10), 570.0, 0.0).requests == 0


# ---- from the kernel


def test_connections_that_wait() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=7) as listener:
        assert waiting(listener) == (0, 7)
        clients = [socket.create_connection(listener.getsockname()) for _ in range(3)]
        until(lambda: waiting(listener) == (3, 7), lambda: f"three to wait: {waiting(listener)}")
        for client in clients:
            client.close()
    with socket.socket(socket.AF_UNIX) as unix:
        assert waiting(unix) is None


def test_open_files() -> None:
    before = open_files(os.getpid())
    assert before is not None
    fds = [os.dup(0) for _ in range(5)]
    after = open_files(os.getpid())
    for fd in fds:
        os.close(fd)
    assert after is not None
    assert after[0] == before[0] + 5
    assert open_files(1 << 22) is None


# ---- text

BUSY = {"active": 3, "connections": 31, "files": 431, "files_max": 1024, "requests_per_s": 54.0}


def bad_day() -> status.MasterStatus:
    """Made by each test: times are shown with the date once they are not of today."""
    return master(
        pool(
            worker(0, request="GET /cart/of/somebody/who/buys/a/lot?… HTTP/1.1", request_s=0.012, **BUSY),
            worker(1, from_disk=True, **BUSY),
            worker(2, state="draining", left_s=18.8, request="GET /export", request_s=41.2, **BUSY),
            ready=3,
            urls=("http://127.0.0.1:8000", "unix:/run/shop/web.sock"),
            note="slot 3 keeps dying: next try in 12 s",
            backlog=200,
            backlog_max=2048,
            restarts=17,
        ),
        adopted_at=time.mktime((*time.localtime()[:3], 10, 14, 2, 0, 0, -1)),
        adopted_by="SIGHUP",
        health="degraded",
        health_reason="web: 3 of 4 ready, slot 3 keeps dying: next try in 12 s; disk differs from what runs, 1 worker runs it",
        last_reload="generation 3 was not adopted: web: cannot import shop.wsgi (SIGHUP)",
        last_reload_at=time.mktime((*time.localtime()[:3], 10, 15, 0, 0, 0, -1)),
    )


def test_a_bad_day_in_80_columns() -> None:
    minute_of = minute(requests=6360, errors=12, requests_per_s=106.0, p50_ms=2.4, p99_ms=34.0)
    day = bad_day()
    web = msgspec.structs.replace(day.pools[0], minute=minute_of)
    text = render(msgspec.structs.replace(day, pools=(web,)), 80)
    assert text.splitlines() == [
        "shop  degraded  pid 4120  up 3 d 4 h  generation 2 (adopted 10:14:02, by SIGHUP)",
        "  degraded: web: 3 of 4 ready, slot 3 keeps dying: next try in 12 s; disk",
        "      differs from what runs, 1 worker runs it",
        "  last reload 10:15:00: generation 3 was not adopted: web: cannot import",
        "      shop.wsgi (SIGHUP)",
        "web   threads x8   3/4 ready   http://127.0.0.1:8000   unix:/run/shop/web.sock",
        "      106 req/s   p50 2.4 ms  p99 34 ms   5xx 0.19 %   busy 38 %",
        "      waiting 200 of 2,048   17 restarts",
        "  slot  pid   state     gen  up    req/s  busy  conns  memory  files",
        "  0     4133  ready     2    14 m  54     3/8   31     71 MiB  431/1024",
        "        GET /cart/of/somebody/who/buys/a/lot?… 12 ms",
        "  1     4134  ready     2    14 m  54     3/8   31     71 MiB  431/1024",
        "        runs what is on disk",
        "  2     4135  draining  2    14 m  54     3/8   31     71 MiB  431/1024",
        "        GET /export 41.2 s, left to finish: 18.8 s",
    ]


def test_lines_of_a_pipe_are_not_broken() -> None:
    lines = render(bad_day()).splitlines()
    assert [line for line in lines if len(line) > 80]
    assert lines[-1].endswith(
        "GET /export 41.2 s                            31     71 MiB  431/1024  left to finish: 18.8 s"
    )
    assert len(lines) == 8


def test_a_refused_reload_is_said_with_since_when_and_why() -> None:
    status_of = master(
        pool(),
        health="degraded",
        health_reason=health.REFUSED,
        refused_at=time.mktime((*time.localtime()[:3], 10, 7, 9, 0, 0, -1)),
        last_reload="generation 3 was not adopted: gw.toml:7: no such setting (SIGHUP)",
        last_reload_at=time.mktime((*time.localtime()[:3], 10, 15, 0, 0, 0, -1)),
    )
    assert render(status_of).splitlines()[1:3] == [
        "  degraded: a reload was refused: what runs is not what is on disk (since 10:07:09)",
        "  last reload 10:15:00: generation 3 was not adopted: gw.toml:7: no such setting (SIGHUP)",
    ]
