"""The status document as text, from invented figures."""

from __future__ import annotations

import time

import pytest
from msgspec.structs import replace

from gwctl.cli.status_view import render
from gwctl.control.status import PressureStatus, ReloadStatus, TemplateStatus, from_json_ready
from gwctl.supervisor.children.totals import Totals
from gwctl.supervisor.control.status import pool_status
from gwctl.watched import Served, Watched
from tests.support.invented_status import MIB, master, pool, worker


def test_the_whole_text() -> None:
    """As the sketch of the user's view has it."""
    totals = Totals(requests=10_000, errors=2)
    totals.latency[5], totals.latency[9] = 9_850, 150
    workers = (
        worker(
            0, requests_per_s=54.0, active=3, request="GET /cart HTTP/1.1", request_s=0.012, connections=31
        ),
        worker(1, requests_per_s=51.0, active=2, connections=29, memory_bytes=70 * MIB),
        worker(
            2,
            state="draining",
            generation=1,
            up_s=3 * 86400.0,
            requests_per_s=1.0,
            active=1,
            request="GET /export HTTP/1.1",
            request_s=41.2,
            connections=1,
            memory_bytes=96 * MIB,
            left_s=18.8,
        ),
    )
    web = pool_status(
        totals,
        workers,
        name="web",
        worker="threads",
        threads=8,
        size=4,
        ready=4,
        urls=["http://127.0.0.1:8000"],
    )
    at = time.mktime((*time.localtime()[:3], 10, 14, 2, 0, 0, -1))
    text = render(master(web, adopted_at=at, adopted_by="SIGHUP", degraded="disk differs from what runs"))
    assert text.splitlines() == [
        "shop  pid 4120  up 3 d 4 h  generation 2 (adopted 10:14:02, by SIGHUP)  degraded: disk differs from what runs",
        "web   threads x8   4/4 ready   http://127.0.0.1:8000   106 req/s   p50 2.4 ms  p99 34 ms   5xx 0.02 %   busy 31 %",
        "  slot  pid   state     gen  up       req/s  busy  now                 conns  memory",
        "  0     4133  ready     2    14 m     54     3/8   GET /cart 12 ms     31     71 MiB",
        "  1     4134  ready     2    14 m     51     2/8                       29     70 MiB",
        "  2     4135  draining  1    3 d 0 h  1.0    1/8   GET /export 41.2 s  1      96 MiB  left to finish: 18.8 s",
    ]


def test_what_a_worker_said_controls_no_terminal() -> None:
    status = replace(master(), last_reload="generation 2 was not adopted: web: \x1b[2J (SIGHUP)")
    assert "web: \\x1b[2J (SIGHUP)" in render(status)


def test_before_the_first_request() -> None:
    lines = render(master(pool(worker(0)), up_s=1.0)).splitlines()
    assert lines[1] == "web   threads x8   4/4 ready   http://127.0.0.1:8000   0 req/s   busy 0 %"


def test_several_pools_are_aligned() -> None:
    live = pool(worker(0, slots=0, active=120), name="live", worker="asgi", urls=("unix:/run/live.sock",))
    lines = render(master(pool(), live)).splitlines()
    assert lines[1].startswith("web    threads x8   4/4 ready")
    assert lines[2].startswith("live   asgi   4/4 ready   unix:/run/live.sock   0 req/s")
    assert "busy" not in lines[2], "asgi has no limit of requests at once"
    assert " 120 " in lines[4]


@pytest.mark.parametrize(("rollback", "what"), [(False, "reloading"), (True, "rolling back")])
def test_a_reload_under_way_says_where_it_is(rollback: bool, what: str) -> None:
    reload = ReloadStatus(5, "SIGHUP", 2.1, rollback, {"web": "roll", "live": "settle"})
    text = render(master(pool(), phase="reloading", reload=reload))
    assert f"{what} to generation 5 for 2.1 s (SIGHUP): web roll, live settle" in " ".join(text.split())


def test_a_watch_under_way_says_what_it_has_seen() -> None:
    """Not any more when its pool is further."""
    seen = [
        Watched(name, "watch", 12.0, Served(4, 1204, 1, 0.038), Served(5, 391, 19, 0.0412), 2.0, 2.0, 50)
        for name in ("web", "live")
    ]
    phases = {"web": "watch", "live": "roll"}
    reload = ReloadStatus(5, "SIGHUP", 14.0, False, phases, watches=("web", "live"), watched=tuple(seen))
    text = " ".join(render(master(pool(), phase="reloading", reload=reload)).split())
    assert "(SIGHUP): web watch (5xx 0.08 % -> 4.9 %, p95 38 ms -> 41 ms), live roll" in text


def test_phase_and_note() -> None:
    text = render(master(pool(note="slot 2 keeps dying: trying once a minute"), phase="reloading"))
    assert text.splitlines()[0].endswith("generation 2  reloading")
    assert "\n  slot 2 keeps dying: trying once a minute" in text


def test_templates_stand_below_the_workers() -> None:
    template = TemplateStatus(4130, "ready", 2, 840.0, 58 * MIB)
    text = render(master(pool(worker(), templates=(template,))))
    assert text.splitlines()[-1] == "  template of generation 2: pid 4130, ready, up 14 m, 58 MiB"


def test_a_request_line_cannot_steer_the_terminal() -> None:
    evil = worker(0, active=1, request="GET /\x1b[2J\r\nfake " + "x" * 200, request_s=1.0)
    text = render(master(pool(evil)))
    assert "\x1b" not in text
    assert "GET /?[2J??fake" in text
    assert "..." in text


def test_an_older_master_may_say_less() -> None:
    least = {"name": "shop", "pid": 1, "version": "0", "up_s": 1, "generation": 1, "phase": "serving"}
    assert render(from_json_ready(least)) == "shop  pid 1  up 1 s  generation 1"


def test_pressure_and_why_auto_is_as_many() -> None:
    web = pool_status(
        Totals(), [], name="web", worker="sync", threads=1, size=2, ready=2, urls=[], allowed_as="quota 2.0"
    )
    pressed = PressureStatus("group", cpu=0.124, memory=0.0, io=None)
    lines = render(replace(master(web), pressure=pressed)).splitlines()
    assert lines[1] == "  pressure of the control group, last 10 s: cpu 12.4 %, memory 0.0 %"
    assert lines[3] == "  auto: quota 2.0"
    assert "pressure" not in render(replace(master(web), pressure=PressureStatus("machine", cpu=0.009)))
