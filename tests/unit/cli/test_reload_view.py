"""A reload as it is drawn on a terminal and as it is written elsewhere."""

from __future__ import annotations

import io

import pytest

from gwctl.cli.reload_view import ReloadView
from gwctl.control.protocol import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def news(pool: str, phase: str, outcome: str, detail: str = "") -> Progress:
    return Progress(1, pool, phase, outcome, detail)


TWO_POOLS = [
    news("", "validate", "", "g1 -> g2"),
    news("web", "validate", "ok"),
    news("live", "validate", "ok"),
    news("web", "boot", ""),
    news("live", "boot", ""),
    news("live", "boot", "ok", "0.2 s"),
    news("web", "boot", "FAILED", "could not import"),
]


def test_elsewhere_each_line_is_written_once() -> None:
    out = io.StringIO()
    view = ReloadView(out)
    for each in TWO_POOLS:
        view.progress(each)
        assert out.getvalue() == ""
    view.finish()
    assert out.getvalue() == (
        "web   g1 -> g2  validate ok  boot FAILED\nlive  g1 -> g2  validate ok  boot ok (0.2 s)\n"
    )


def test_on_a_terminal_the_lines_are_drawn_in_place() -> None:
    out = Terminal()
    view = ReloadView(out)
    for each in TWO_POOLS[:4]:
        view.progress(each)
    assert "boot ..." in out.getvalue()
    out.truncate(0)
    view.progress(TWO_POOLS[4])
    assert out.getvalue().lstrip("\0") == (
        "\x1b[2F\x1b[2Kweb   g1 -> g2  validate ok  boot ...\n\x1b[2Klive  g1 -> g2  validate ok  boot ...\n"
    )
    view.finish()


def test_lines_longer_than_the_terminal_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that wraps would spoil the drawing in place."""
    monkeypatch.setenv("COLUMNS", "20")
    out = Terminal()
    view = ReloadView(out)
    view.progress(news("web", "validate", "ok", "x" * 100))
    assert out.getvalue() == "\x1b[2Kweb  validate ok (x\n"


def test_the_master_failing_ends_every_line() -> None:
    out = io.StringIO()
    view = ReloadView(out)
    for each in (*TWO_POOLS[:3], news("", "roll", "FAILED", "made no progress")):
        view.progress(each)
    view.finish()
    assert (
        out.getvalue()
        == "web   g1 -> g2  validate ok  roll FAILED\nlive  g1 -> g2  validate ok  roll FAILED\n"
    )
