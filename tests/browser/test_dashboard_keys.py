"""The dashboard by keys alone, in the theme of the reader, and without anything that jumps."""

from __future__ import annotations

import pytest

from tests.support import admin_scenes
from tests.support.admin_scenes import many_workers
from tests.support.browser import DESK, PHONE, SQUARE, become, catch_up, text

SHIFT_MAX = 0.02
"""Of all that moves by itself, in the measure of the browser (layout-shift)."""


# ---- keys


def test_everything_is_reached_by_keys(unlock) -> None:
    """One Tab for the squares of a pool and one for its charts; the table, lists and all buttons."""
    _, page = unlock()
    seen = []
    for _ in range(80):
        page.keyboard.press("Tab")
        seen.append(
            page.evaluate(
                "(({id, className, tagName}) => id || String(className) || tagName.toLowerCase())(document.activeElement)"
            )
        )
        if len(seen) > 3 and seen[-1] == seen[0]:
            break
    assert {
        "do-reload",
        "do-token",
        "theme",
        "served",
        "level",
        "list",
        "worker ready",
        "chart",
        "canvas",
        "muted",
        "link",
    } <= set(seen)
    assert seen.count("worker ready") == 2
    assert seen.count("chart") == 3 + 2


def test_arrows_go_through_the_squares_and_escape_closes(serve, show) -> None:
    stand_in = serve(many_workers)
    page = show(stand_in)

    def focused() -> str:
        return str(page.evaluate("document.activeElement.getAttribute('aria-label')")).split(" ")[0]

    page.locator(".large .chart").last.focus()
    page.keyboard.press("Tab")
    assert focused() == "web.0"
    assert "pid 4133" in " ".join(text(page, "#tip").split())
    for key, name in (
        ("ArrowRight", "web.1"),
        ("ArrowDown", "web.22"),
        ("ArrowLeft", "web.21"),
        ("ArrowUp", "web.0"),
        ("End", "web.63"),
        ("Home", "web.0"),
    ):
        page.keyboard.press(key)
        assert focused() == name
    page.keyboard.press("Escape")
    become(page, "document.getElementById('tip').hidden")
    page.keyboard.press("Enter")
    assert text(page, "#dialog-title") == "web.0"
    page.keyboard.press("Escape")
    assert not page.locator("#dialog").is_visible()
    assert focused() == "web.0"
    stand_in.turn(2)
    assert focused() == "web.0"


def test_the_focus_stays_in_its_slot_when_a_worker_goes(serve, show) -> None:
    stand_in = serve()
    page = show(stand_in)
    page.locator(SQUARE).nth(1).focus()
    stand_in.do(lambda world: world.play(admin_scenes.recycle(world, world.pools["web"], 1)))
    pid = page.evaluate("page.status.pools[0].workers[1].pid")
    stand_in.turn(10)
    become(page, "pid => page.status.pools[0].workers[1].pid !== pid", pid)
    become(page, "document.activeElement.getAttribute('aria-label')?.startsWith('web.1 ready')")


def test_arrows_go_through_time_in_a_chart(serve, show) -> None:
    page = show(serve())
    page.locator(".large .chart").first.focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    chart = page.locator(".large .chart").first
    assert chart.get_attribute("aria-valuenow") == "177"
    assert " at " in chart.get_attribute("aria-valuetext")
    page.keyboard.press("Home")
    assert chart.get_attribute("aria-valuenow") == "0"
    page.locator("canvas").first.focus()
    page.keyboard.press("ArrowDown")
    assert text(page, "#tip").startswith("web.1: ")


# ---- how it looks


def test_the_theme_is_chosen_and_kept(serve, show) -> None:
    page = show(serve(), color_scheme="dark")
    shown = "document.documentElement.dataset.theme"
    assert page.evaluate(shown) == "dark"
    page.locator("#theme").click()
    assert text(page, "#theme") == "Theme: light"
    page.reload()
    page.wait_for_selector(SQUARE)
    assert page.evaluate(shown) == "light"


WATCH_SHIFTS = """
    window.shifts = [];
    new PerformanceObserver(list => {
        for (const entry of list.getEntries()) if (!entry.hadRecentInput)
            shifts.push([entry.value, entry.sources.map(source => source.node?.outerHTML?.slice(0, 80))]);
    }).observe({type: "layout-shift", buffered: true});
"""


@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("scene", ["calm", "reload", "refused", "overloaded"])
def test_nothing_jumps(serve, show, viewport, scene) -> None:
    """64 workers, from the first figure on, through whatever happens."""
    stand_in = serve(many_workers)
    page = show(stand_in, viewport=viewport, ready=False)
    page.evaluate(WATCH_SHIFTS)
    become(page, "page.link.state === 'live'")
    stand_in.play(scene)
    for _ in range(50):
        stand_in.turn()
        catch_up(page, stand_in)
    shifts = page.evaluate("shifts")
    assert sum(value for value, _ in shifts) < SHIFT_MAX, shifts


@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desk", "phone"])
def test_it_fits(serve, show, viewport) -> None:
    """No width beyond the window's, whatever is shown."""
    stand_in = serve(many_workers)
    page = show(stand_in, viewport=viewport)
    for scene in ("hostile", "reload"):
        stand_in.play(scene)
        stand_in.turn(8)
        catch_up(page, stand_in)
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
