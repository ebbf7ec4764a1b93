"""Events as a person and as a program sees them."""

from __future__ import annotations

import datetime as dt
import io
import json
from typing import Any

import click
import pytest

from gwctl.cli.control_commands import events as command
from gwctl.cli.events_view import EventsView
from gwctl.control.protocol import Happened, Lost
from gwctl.errors import ControlError


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def at(days: int, clock: str) -> str:
    """``clock`` of the day that is so many after today, where this test runs; as it is sent."""
    day = dt.datetime.now().astimezone() + dt.timedelta(days=days)
    hour, minute, second = clock.split(":")
    local = day.replace(hour=int(hour), minute=int(minute), second=int(second), microsecond=204318)
    return local.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")


def event(time: str, **fields: Any) -> Happened:
    shown = {
        "kind": "worker_ready",
        "level": "info",
        "subject": "web.0 g1",
        "text": "pid 4133 ready in 0.42 s",
    }
    return Happened(1, {"time": time} | shown | fields)


def seen(*news: Happened | Lost, as_json: bool = False, out: io.StringIO | None = None) -> str:
    out = out or io.StringIO()
    view = EventsView(out, as_json=as_json)
    for each in news:
        view.show(each)
    return out.getvalue()


def test_as_the_log_has_it() -> None:
    assert seen(event(at(0, "10:02:11"))) == "10:02:11.204 info  web.0 g1   pid 4133 ready in 0.42 s\n"


def test_further_lines_are_indented_and_nothing_controls_the_terminal() -> None:
    text = seen(event(at(0, "10:02:11"), level="error", text="died\n  File \x1b[2J\n  more"))
    assert text == "10:02:11.204 error web.0 g1   died\n    File \\x1b[2J\n    more\n"


def test_another_day_is_named_once() -> None:
    text = seen(event(at(-1, "23:59:58")), event(at(-1, "23:59:59")), event(at(0, "00:00:01")))
    first, *rest = text.splitlines()
    yesterday, today = (dt.datetime.now().astimezone() + dt.timedelta(days=day) for day in (-1, 0))
    assert first == f"-- {yesterday:%A, %d %B %Y}"
    assert [line[:8] for line in rest] == ["23:59:58", "23:59:59", f"-- {today:%A}"[:8], "00:00:01"]


def test_warnings_and_errors_are_coloured_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    warning = event(at(0, "10:02:11"), level="warning")
    assert seen(warning, out=Terminal()).startswith("\x1b[33m10:02:11.204 warn ")
    assert "\x1b" not in seen(warning)
    monkeypatch.setenv("NO_COLOR", "")
    assert "\x1b" not in seen(warning, out=Terminal())


def test_json_has_all_of_it_and_no_colour() -> None:
    happened = event(at(-3, "10:02:11"), level="error", from_the_future={"a": 1})
    lines = seen(happened, Lost(1, 12), as_json=True, out=Terminal()).splitlines()
    assert [json.loads(line) for line in lines] == [happened.event, {"lost": 12}]


def test_losses_are_told() -> None:
    assert seen(Lost(1, 12)) == "(12 events were lost: more happened than was read)\n"


def test_a_level_that_a_newer_master_has() -> None:
    assert " info  web.0" in seen(event(at(0, "10:02:11"), level="fatal"))


def test_what_is_no_event() -> None:
    with pytest.raises(ControlError, match=r"is not understood .* try --json"):
        seen(event("yesterday"))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("1.5m", 90), ("10m", 600), ("2h", 7200), ("1d", 86400), ("0", 0)],
)
def test_since(text: str, seconds: float) -> None:
    assert (
        command.make_context("events", ["--since", text], resilient_parsing=False).params["since"] == seconds
    )


@pytest.mark.parametrize("text", ["", "m", "-5m", "5x", "5 m", "1e9", "10:00", "9999999999s"])
def test_since_when(text: str) -> None:
    with pytest.raises(click.BadParameter, match="write 90s, 10m, 2h or 1d"):
        command.make_context("events", ["--since", text])
