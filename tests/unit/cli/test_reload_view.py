"""A reload as it is drawn on a terminal and as it is written elsewhere."""

from __future__ import annotations

import io

import pytest

from gwctl.cli.reload_view import ReloadView
from gwctl.control.protocol import Progress
from gwctl.watched import Served, Watched


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


def watched(phase: str, outcome: str, detail: str, new: Served) -> Progress:
    seen = Watched("web", phase, 12.0, Served(1, 1204, 1, 0.038), new, 2.0, 2.0, 50)
    return Progress(1, "web", phase, outcome, detail, seen)


WATCHED = [
    *TWO_POOLS[:2],
    watched("watch", "", "0 of 30 s", Served(2)),
    watched("watch", "", "12 of 30 s", Served(2, 391, 19, 0.0412)),
]


def test_what_is_watched_is_shown_side_by_side_for_who_asked() -> None:
    """In place on a terminal, and in the end elsewhere; else it is one phase among others."""
    quiet, beside, live = io.StringIO(), io.StringIO(), Terminal()
    views = [ReloadView(quiet), ReloadView(beside, beside=True), ReloadView(live, beside=True)]
    for each in WATCHED:
        for view in views:
            view.progress(each)
    for view in views:
        view.finish()
    line = "web  g1 -> g2  validate ok  watch 12 of 30 s\n"
    assert quiet.getvalue() == line
    assert beside.getvalue() == (
        f"{line}"
        "          g1        g2\n"
        "     5xx  0.08 %    4.9 %     of 1,204 and 391 requests\n"
        "     p95  38 ms     41 ms\n"
    )
    assert live.getvalue().count("\x1b[4F") == 1, "the table is drawn in place, too"
    assert live.getvalue().endswith("     p95  38 ms     41 ms\n")


def test_what_has_no_figures_yet_has_dashes() -> None:
    out = io.StringIO()
    view = ReloadView(out, beside=True)
    view.progress(WATCHED[2])
    view.finish()
    assert "     5xx  0.08 %    0 %       of 1,204 and 0 requests\n     p95  38 ms     -\n" in out.getvalue()
