"""What is being served, in a terminal."""

from __future__ import annotations

from typing import Any

import pytest

from gwctl.cli.requests_view import render
from gwctl.errors import ControlError


def worker(slot: int, *requests: tuple[str, float], pool: str = "web", **more: Any) -> dict[str, Any]:
    shown = [{"request": what, "age_s": age_s} for what, age_s in requests]
    return {
        "pool": pool,
        "slot": slot,
        "generation": 1,
        "pid": 4130 + slot,
        "requests": shown,
        "more": 0,
    } | more


BUSY = {
    "workers": [
        worker(0, ("GET /a", 0.0412)),
        worker(1),
        worker(12, ("POST /checkout", 31.24), ("GET /b?…", 0.2), more=2),
        worker(0, ("GET /long", 4000.0), pool="live"),
    ]
}


def test_the_longest_first() -> None:
    assert render(BUSY, 0).splitlines() == [
        " 1 h 6 m  live.0 g1     4130  GET /long",
        "  31.2 s  web.12 g1     4142  POST /checkout",
        "  200 ms  web.12 g1     4142  GET /b?…",
        "   41 ms  web.0 g1      4130  GET /a",
        "6 requests under way, in 3 of 4 workers; the 4 longest are shown",
    ]


def test_so_many() -> None:
    assert render(BUSY, 1).splitlines()[1:] == [
        "6 requests under way, in 3 of 4 workers; the longest is shown"
    ]


def test_a_narrow_terminal() -> None:
    assert max(map(len, render(BUSY, 0, 30).splitlines()[:-1])) == 30


def test_nothing_and_nobody() -> None:
    assert render({"workers": [worker(0), worker(1)]}, 20) == "0 requests under way, in 0 of 2 workers"
    assert render({"workers": []}, 20) == "no worker runs"


def test_a_loop_that_does_not_answer() -> None:
    text = render({"workers": [worker(0, ("GET /a", 2.0), loop_held=True)]}, 20)
    assert text.endswith(
        "1 request under way, in 1 of 1 worker. What else they have is not known, as their loop does not answer: web.0 g1"
    )


def test_a_master_that_says_something_else() -> None:
    with pytest.raises(ControlError, match="not understood"):
        render({"workers": [{"pool": 1}]}, 20)
    assert "GET /a" in render({"workers": [worker(0, ("GET /a", 2.0), from_the_future=1)]}, 20)


def test_what_a_client_asks_for_does_not_control_the_terminal() -> None:
    text = render({"workers": [worker(0, ("GET /\x1b[2J\x9b31m", 2.0))]}, 20)
    assert "GET /\\x1b[2J\\x9b31m" in text
