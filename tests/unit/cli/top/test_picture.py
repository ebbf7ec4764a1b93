"""What `gwctl top` shows, as text: on small and large screens, on good days and bad ones."""

from __future__ import annotations

import pytest

from gwctl.cli.top.picture import Line, picture
from gwctl.cli.top.view import Mode, Page, View
from tests.support.invented_status import MIB
from tests.unit.cli.top.invented import model, pool, worker

KEYS = "s sort: slot  r reverse  / filter  d stacks  R recycle  e events  ? help  q quit"
BUSY = model(
    pool(
        worker(0, served=(("GET /cart", 0.012), ("GET /", 0.001), ("GET /", 0.001))),
        worker(1, served=(("GET /export", 12.0),), active=8, requests_per_s=51.2, connections=29),
        worker(
            2, state="draining", generation=4, left_s=18.8, served=(("GET /long", 41.2),), requests_per_s=0.4
        ),
        worker(3, state="starting", up_s=0.4, connections=0, memory_bytes=0, requests_per_s=0.0),
        size=4,
        ready=2,
        backlog=12,
    ),
    health="degraded",
    health_reason="web: 2 of 4 ready",
)


def texts(found: list[Line]) -> list[str]:
    return [line.text for line in found]


def test_a_common_terminal() -> None:
    lines = texts(picture(BUSY, View(), 80, 24))
    assert lines[:9] == [
        "shop  generation 5  degraded  up 3 d 4 h        212 req/s  p99 41 ms  5xx 0.02 %",
        "web: 2 of 4 ready",
        "",
        "web  2/4 ready  busy ▁▁▃▅█▄ 38 %  backlog 12  web.2 for 41.2 s: GET /long",
        "  slot  state     busy      req/s  conns   memory  longest  now",
        "     0  ready     ███░░░░░     54     31   71 MiB    12 ms  GET /cart, 2 more",
        "     1  ready     ████████     51     29   71 MiB   12.0 s  GET /export, 7 more",
        "     2  draining  █░░░░░░░    0.4     31   71 MiB   41.2 s  18.8 s left; GET /lo",
        "     3  starting  ░░░░░░░░      0      0                    for 400 ms",
    ]
    assert lines[9:] == [""] * 14 + [KEYS]


def test_a_wide_one_has_more_columns() -> None:
    lines = texts(picture(BUSY, View(), 120, 24))
    assert (
        lines[0]
        == f"{'shop  generation 5  degraded  up 3 d 4 h  pid 4120':<88}212 req/s  p99 41 ms  5xx 0.02 %"
    )
    assert lines[4:6] == [
        "  slot      pid  state     gen       up  busy      req/s    cpu  conns   memory  longest  now",
        "     0     4133  ready       5     14 m  ███░░░░░     54   12 %     31   71 MiB    12 ms  GET /cart, 2 more",
    ]


def test_several_pools_have_figures_of_their_own() -> None:
    live = pool(
        *(worker(slot, pool="live", slots=0, active=120, served=()) for slot in range(2)),
        name="live",
        worker="asgi",
        busy=None,
        backlog=None,
        errors=0.5,
        load=(0.5, 1.0),
        restarts=3,
    )
    lines = texts(picture(model(pool(worker(0)), live), View(), 80, 24))
    assert lines[2:9] == [
        "web  1/1 ready  busy ▁▁▃▅█▄ 38 %  backlog 0  106 req/s  p99 41 ms  5xx 0.02 %",
        "  slot  state  busy      req/s  conns   memory  longest  now",
        "     0  ready  ░░░░░░░░     54     31   71 MiB",
        "",
        "live  2/2 ready  busy ▅█ 240 requests  106 req/s  p99 41 ms  5xx 50.00 %",
        "  slot  state  busy      req/s  conns   memory  longest  now",
        "     0  ready  120          54     31   71 MiB",
    ]


def test_sixty_four_workers_scroll_below_the_heads() -> None:
    many = model(pool(*(worker(slot) for slot in range(64))))
    lines = texts(picture(many, View(), 80, 24))
    assert lines[1] == f"{'1-19 of 64 workers':>80}"
    assert lines[22].startswith("    18  ready")
    lines = texts(picture(many, View(chosen=("web.40", 4173)), 80, 24))
    assert lines[1] == f"{'33-51 of 64 workers':>80}"
    assert lines[2].startswith("web  64/64 ready")
    assert lines[3].startswith("  slot  state")
    assert [line for line in lines if line.startswith(">")] == [
        f"{'>   40  ready  ░░░░░░░░     54     31   71 MiB':<80}"
    ]
    last = texts(picture(many, View(chosen=("web.63", 4196)), 80, 24))
    assert last[22].startswith(">   63  ready")


@pytest.mark.parametrize("width", [1, 7, 20, 40, 60, 79, 80, 81, 132, 300])
@pytest.mark.parametrize("height", [1, 2, 3, 5, 8, 24, 100])
def test_it_fits_every_screen(width: int, height: int) -> None:
    many = model(*(pool(*(worker(slot) for slot in range(9)), name=name) for name in ("web", "live")))
    views = [
        View(),
        View(chosen=("web.5", 4138), filter="ready"),
        View(mode=Mode.FILTER, filter="x" * 60),
        View(mode=Mode.CONFIRM, chosen=("web.5", 4138)),
        View(mode=Mode.PAGE, page=Page("stacks", ["x y" * 70] * 50)),
        View(mode=Mode.PAGE, page=Page("events", first=None, waits="nothing yet")),
        View(trouble="the master went away 4 s ago"),
    ]
    for each in (None, BUSY, many, model()):
        for view in views:
            lines = picture(each, view, width, height)
            assert len(lines) == height
            assert max(len(line.text) for line in lines) <= width
            assert all(0 <= a <= b <= width for line in lines for a, b, _ in line.marks)


def test_without_a_screen_nothing_is_cut() -> None:
    long = model(pool(worker(0, served=(("GET /" + "x" * 200, 1.0),))))
    lines = texts(picture(long, View(), 0, 0))
    assert lines[-1].endswith("x" * 200)
    assert lines[0] == "shop  generation 5  healthy  up 3 d 4 h  pid 4120  212 req/s  p99 41 ms  5xx 0.02 %"
    assert len(lines) == 5


def test_what_a_client_asks_for_does_not_control_the_terminal() -> None:
    """Nor does what an application's threads are called, or a pool's trouble; nor does it turn the text round."""
    evil = "GET /\x1b[2J\x9b31m\u202e\u2028\r\n\tx"
    hostile = model(pool(worker(0, served=((evil, 1.0),), replaced=evil), note=evil), health_reason=evil)
    views = (
        View(),
        View(message=evil),
        View(trouble=evil),
        View(mode=Mode.FILTER, filter=evil),
        View(page=Page(evil, [evil])),
    )
    for view in views:
        for width in (80, 0):
            assert all(line.text.isprintable() for line in picture(hostile, view, width, width and 24))
    assert "GET /\\x1b[2J\\x9b31m" in texts(picture(hostile, View(), 0, 0))[-1]


def test_a_terminal_without_blocks() -> None:
    lines = texts(picture(BUSY, View(), 80, 24, blocks=False))
    assert lines[3].startswith("web  2/4 ready  busy __:=#- 38 %")
    assert lines[5].startswith("     0  ready     ###.....")
    assert all(line.isascii() for line in lines)


def test_one_request_at_a_time() -> None:
    lines = texts(picture(model(pool(worker(0, slots=1, active=1), worker(1, slots=1))), View(), 80, 24))
    assert [line[16:20] for line in lines[4:6]] == ["    ", "    "]
    assert [line[15] for line in lines[4:6]] == ["█", "░"]
    assert " 71 MiB" in lines[4]


def test_memory_in_the_unit_it_is_read_in() -> None:
    assert "1.5 GiB" in texts(picture(model(pool(worker(0, memory_bytes=1536 * MIB))), View(), 80, 24))[4]


def test_marks_name_what_is_wrong() -> None:
    lines = picture(BUSY, View(), 80, 24)

    def marked(line: Line, how: str) -> list[str]:
        return [line.text[a:b].strip() for a, b, each in line.marks if each == how]

    assert marked(lines[0], "warn") == ["degraded"]
    assert marked(lines[3], "warn") == ["2/4 ready", "backlog 12"]
    assert marked(lines[6], "warn") == ["████████", "12.0 s"]
    assert marked(lines[7], "warn") == ["draining", "41.2 s"]


def test_the_last_line() -> None:
    def last(**more: object) -> str:
        return picture(BUSY, View(**more), 80, 24)[-1].text

    assert last(mode=Mode.FILTER, filter="exp") == "/exp_  Enter keeps it, Esc shows all"
    assert last(filter="exp").startswith("filter: exp  s sort: slot")
    assert last(sort="memory", reverse=True).startswith("s sort: memory reversed")
    assert last(message="web: 1 worker is replaced") == "web: 1 worker is replaced"
    assert (
        last(mode=Mode.CONFIRM, chosen=("web.1", 4134))
        == "Replace web.1 (pid 4134) by a new worker? It finishes what it serves.  y / n"
    )
    assert last(page=Page("events")) == "Up, Down, PageUp, PageDown  Esc back"


def test_a_master_that_is_away_is_shown_as_it_was() -> None:
    lines = texts(picture(BUSY, View(trouble="the master went away 4 s ago; waiting for it"), 80, 24))
    assert lines[0].startswith("shop  generation 5  master away")
    assert lines[-1] == "the master went away 4 s ago; waiting for it"
    assert any("GET /export" in line for line in lines)
    assert texts(picture(None, View(message="asking the master ..."), 80, 24))[-1] == "asking the master ..."


def test_a_page_is_broken_between_words_and_says_where_one_is() -> None:
    page = Page("stacks of web.1", [f"line {number} " + "word " * 30 for number in range(20)], first=4)
    lines = texts(picture(BUSY, View(mode=Mode.PAGE, page=page), 60, 12))
    assert lines[0] == f"stacks of web.1{'lines 5-13 of 60':>45}"
    assert lines[3] == "      word word word word word word word word word"
    assert lines[4].startswith("line 2 word")


def test_the_longest_request_of_a_pool_is_cut_and_not_left_out() -> None:
    long = model(pool(worker(0, served=(("GET /export/of/everything/there/is", 12.0),)), load=(0.5,) * 16))
    line = texts(picture(long, View(), 80, 24))[2]
    assert line == "web  1/1 ready  busy ▅▅▅▅▅▅▅▅ 38 %  backlog 0  web.0 for 12.0 s: GET /export/..."
    assert "▅" * 16 in texts(picture(long, View(), 132, 24))[2]
