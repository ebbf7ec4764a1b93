"""What keys do in `gwctl top`, and which workers they choose."""

from __future__ import annotations

import pytest

from gwctl.cli.top.keys import keys
from gwctl.cli.top.model import Model
from gwctl.cli.top.view import PAGE_LINES_MAX, Mode, Page, Quit, View, chosen, first_shown, press, shown
from gwctl.control.protocol import Dump, Events, Profile, Recycle
from tests.unit.cli.top.invented import model, pool, worker

FLEET = model(
    pool(
        worker(0, memory_bytes=3, served=(("GET /cart", 0.5),)),
        worker(1, memory_bytes=9, active=4),
        worker(2, memory_bytes=5, served=(("POST /export", 12.0),)),
    ),
    pool(worker(0, pool="live", pid=9000, cpu=None), name="live"),
)


def pressed(*names: str, view: View | None = None, of: Model | None = FLEET) -> tuple[View, object]:
    view = view or View()
    answer: object = None
    for name in names:
        answer = press(view, of, name, 80, 10)
    return view, answer


def slots(view: View, of: Model = FLEET) -> list[int]:
    return [each.slot for each in shown(of, view)[0][1]]


def test_order() -> None:
    assert slots(View()) == [0, 1, 2]
    assert slots(View(reverse=True)) == [2, 1, 0]
    orders = {name: slots(View(sort=name)) for name in ("busy", "memory", "longest", "conns")}
    assert orders == {"busy": [1, 0, 2], "memory": [1, 2, 0], "longest": [2, 0, 1], "conns": [0, 1, 2]}


def test_s_goes_round_and_begins_with_the_greatest() -> None:
    view, _ = pressed("r")
    assert (view.sort, view.reverse) == ("slot", True)
    names = [pressed("s", view=view)[0].sort for _ in range(7)]
    assert names == ["busy", "req/s", "cpu", "conns", "memory", "longest", "slot"]
    assert not view.reverse


def test_filter() -> None:
    view, _ = pressed("/", *"EXP")
    assert (view.mode, view.filter, slots(view)) == (Mode.FILTER, "EXP", [2])
    pressed("backspace", "backspace", "enter", view=view)
    assert (view.mode, view.filter) == (Mode.TABLE, "E")
    pressed("esc", view=view)
    assert (view.filter, slots(view)) == ("", [0, 1, 2])
    assert slots(pressed("/", *"web.1")[0]) == [1]
    view, answer = pressed("/", "q", "up", "esc")
    assert (answer, view.filter, view.mode) == (None, "", Mode.TABLE)


def test_arrows_choose() -> None:
    view, _ = pressed("down")
    assert view.chosen == ("web.0", 4133)
    assert pressed("down", "j", "down", view=view)[0].chosen == ("live.0", 9000)
    assert pressed("down", view=view)[0].chosen == ("live.0", 9000)
    assert pressed("k", view=view)[0].chosen == ("web.2", 4135)
    assert pressed("home", view=view)[0].chosen == ("web.0", 4133)
    assert pressed("pagedown", view=view)[0].chosen == ("live.0", 9000)
    assert pressed("up")[0].chosen == ("live.0", 9000)
    assert pressed("down", of=model(pool()))[0].chosen is None


def test_a_successor_is_chosen_in_the_place_of_its_worker() -> None:
    view = View(chosen=("web.1", 4134))
    both = model(pool(worker(1, state="draining"), worker(1, pid=7000)))
    assert (found := chosen(both, view)) is not None
    assert found.pid == 4134
    after = model(pool(worker(0), worker(1, pid=7000)))
    assert (found := chosen(after, view)) is not None
    assert found.pid == 7000
    assert chosen(model(pool(worker(0))), view) is None


def test_stacks_of_the_one_that_is_chosen() -> None:
    view, answer = pressed("d")
    assert (answer, view.message) == (None, "choose a worker first, with the arrow keys")
    view, answer = pressed("down", "d")
    assert answer == Dump("web.0")
    assert view.page is not None
    assert (view.mode, view.page.title) == (Mode.PAGE, "stacks of web.0")
    pressed("esc", view=view)
    assert (view.mode, view.page) == (Mode.TABLE, None)


def test_the_one_that_is_chosen_is_profiled() -> None:
    assert pressed("p")[0].message == "choose a worker first, with the arrow keys"
    view, answer = pressed("down", "p")
    assert answer == Profile("web.0")
    assert view.page is not None
    assert (view.page.title, view.page.waits) == ("profile of web.0", "sampling web.0 for 10 s ...")


def test_recycling_is_confirmed() -> None:
    assert pressed("R")[1] is None
    view, answer = pressed("down", "down", "R")
    assert (view.mode, answer) == (Mode.CONFIRM, None)
    view, answer = pressed("y", view=view)
    assert (view.mode, answer) == (Mode.TABLE, Recycle("web", 1))
    for no in ("n", "esc", "enter", "q"):
        view, answer = pressed("down", "R", no)
        assert (view.mode, answer) == (Mode.TABLE, None)


def test_events_help_and_quit() -> None:
    view, answer = pressed("e")
    assert answer == Events(follow=True, last=200, level="info")
    assert pressed("q", view=view)[1] is None, "back to the table"
    assert pressed("q", view=view)[1] == Quit()
    assert pressed("?")[0].page is not None
    assert pressed("q", of=None)[1] == Quit()
    for name in ("down", "d", "p", "R", "s", "r", "/", "x"):
        pressed(name, of=None)


def test_pages_scroll_and_end() -> None:
    page = Page("stacks", [str(number) for number in range(50)])
    view = View(mode=Mode.PAGE, page=page)
    pressed("down", "pagedown", view=view)
    assert page.first == 11
    pressed("end", view=view)
    assert first_shown(page, 50, 10) == 40
    pressed("up", view=view)
    assert page.first == 39
    pressed("home", "up", view=view)
    assert page.first == 0


def test_a_page_of_events_stays_at_its_end_until_one_scrolls_back() -> None:
    page = Page("events", [str(number) for number in range(50)], first=None, follows=True)
    view = View(mode=Mode.PAGE, page=page)
    pressed("pageup", view=view)
    assert page.first == 30
    page.add("new")
    assert page.first == 30
    pressed("end", view=view)
    assert page.first is None
    for number in range(PAGE_LINES_MAX + 5):
        page.add(str(number))
    assert (len(page.lines), page.lines[-1]) == (PAGE_LINES_MAX, str(PAGE_LINES_MAX + 4))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("q", ["q"]),
        ("\x1b[A\x1b[Bs", ["up", "down", "s"]),
        ("\x1bOA\x1bOF\x1b[H", ["up", "end", "home"]),
        ("\x1b[5~\x1b[6~\x1b[1~\x1b[8~", ["pageup", "pagedown", "home", "end"]),
        ("\r\n\x7f\x08", ["enter", "enter", "backspace", "backspace"]),
        ("\x1b", ["esc"]),
        ("\x1b[", ["esc", "["]),
        ("\x1b[200~\x1b[1;5Aq", ["q"]),
        ("é\x01\x00", ["é"]),
    ],
)
def test_keys(text: str, expected: list[str]) -> None:
    assert keys(text, ended=True) == (expected, "")


@pytest.mark.parametrize("begun", ["\x1b", "\x1b[", "\x1b[1;", "\x1bO"])
def test_the_beginning_of_a_key(begun: str) -> None:
    assert keys("s" + begun, ended=False) == (["s"], begun)
