"""The dashboard in a browser: what it shows of a fleet as things happen, and what it never does."""

from __future__ import annotations

from tests.support import admin_scenes
from tests.support.admin_scenes import HOSTILE, many_workers
from tests.support.browser import PHONE, SQUARE, become, catch_up, text, wait_for

# ---- the fleet


def test_one_sees_whether_all_is_well(serve, show) -> None:
    """Word, reason, generation and the large figures; the title says it, too."""
    page = show(serve())
    assert text(page, "#word") == "healthy"
    assert text(page, "#reason") == "all 6 workers serve"
    assert page.title() == "healthy · shop"
    assert "generation 4" in text(page, "#about")
    for figure in page.locator(".large b").all_inner_texts():
        assert figure[0].isdigit()
    assert page.locator(".pool h2").all_inner_texts() == ["web", "live"]
    assert page.locator(SQUARE).count() == 6
    assert "4 of 4 ready" in text(page, ".pool .head")


def test_figures_are_those_of_the_status(serve, show) -> None:
    stand_in = serve()
    page = show(stand_in)
    stand_in.turn(3)
    web = stand_in.do(lambda world: world.status())["pools"][0]
    wait_for(
        page,
        ".pool .about, .pool .head",
        f"{sum(each['connections'] for each in web['workers'])} connections",
    )
    figures = dict(
        zip(
            page.locator(".pool >> nth=0 >> dt").all_inner_texts(),
            page.locator(".pool >> nth=0 >> dd b").all_inner_texts(),
            strict=True,
        )
    )
    assert figures["requests/s"] == f"{web['minute']['requests_per_s']:.0f}"
    assert figures["busy"] == f"{web['busy'] * 100:.0f} %"
    assert figures["p99"] == f"{web['minute']['p99_ms']:.0f} ms"
    assert figures["waiting"] == "0"


def test_a_reload_runs_through_the_squares(serve, show) -> None:
    """Its phases are named in their order, old and new stand side by side, and the outcome is said."""
    stand_in = serve()
    page = show(stand_in)
    stand_in.play("reload")
    phases, pairs = [], 0
    for _ in range(90):
        stand_in.turn()
        catch_up(page, stand_in)
        now = text(page, "#phases .now")
        if now and now not in phases:
            phases.append(now)
        pairs = max(pairs, page.locator(".pair:has(.parked + .ready)").count())
        if stand_in.do(lambda world: world.generation) == 5:
            break
    assert phases == ["validate", "boot", "settle", "roll", "commit"]
    assert pairs == 6
    wait_for(page, "#outcome", "adopted generation 5")
    stand_in.turn(8)
    become(page, "!document.querySelector('.pair > * + *')")
    assert "generation 5" in text(page, "#about")


def test_a_watch_shows_both_generations_beside_each_other(serve, show) -> None:
    stand_in = serve()
    page = show(stand_in)
    stand_in.play("watched")
    stand_in.turn(12)
    wait_for(page, "#phases .now", "watch")
    phases = page.locator("#phases li").all_inner_texts()
    assert [each.removesuffix(" ✓") for each in phases] == [
        "validate",
        "boot",
        "settle",
        "watch",
        "roll",
        "watch-all",
        "commit",
    ]
    wait_for(page, "#outcome", "web: 5xx 0 % before, 5.00 % now; p95 38 ms before, 41 ms now; of ")


def test_a_refused_reload_says_why(serve, show) -> None:
    """The traceback is folded away until somebody wants it."""
    stand_in = serve()
    page = show(stand_in)
    stand_in.play("refused")
    stand_in.turn(12)
    wait_for(page, "#word", "degraded")
    assert "failed at boot" in text(page, "#reload-title")
    assert "generation 5 was not adopted: web: cannot import shop.wsgi" in text(page, "#outcome summary")
    assert not page.locator("#outcome pre").is_visible()
    page.locator("#outcome summary").click()
    assert 'File "/srv/shop/views.py", line 12' in text(page, "#outcome pre")
    assert "generation 4 serves as before" in text(page, "#outcome pre")


def test_a_slot_without_a_worker_is_seen(serve, show) -> None:
    stand_in = serve()
    page = show(stand_in)
    stand_in.play("degraded")
    stand_in.turn(8)
    wait_for(page, "#word", "degraded")
    wait_for(page, "#reason", "slot 3 keeps dying")
    missing = page.locator(".pair .missing")
    assert missing.get_attribute("aria-label") == "web.3 has no worker"
    missing.hover()
    assert "keeps dying" in text(page, "#tip")


def test_too_much_load_is_seen(serve, show) -> None:
    stand_in = serve()
    page = show(stand_in)
    stand_in.play("overloaded")
    stand_in.turn(40)
    wait_for(page, "#word", "overloaded")
    load = page.locator(SQUARE).first.evaluate("element => element.style.getPropertyValue('--load')")
    assert float(load) > 0.9


def test_the_longest_request_leads_to_its_worker(serve, show) -> None:
    stand_in = serve()
    stand_in.play("calm")
    stand_in.turn()
    page = show(stand_in)
    first = page.locator("#served tbody tr").first
    assert first.locator("td").nth(2).inner_text() == "GET /export?…"
    first.locator("button").click()
    assert text(page, "#dialog-title") == "web.2"
    assert "GET /export?…" in text(page, "#dialog")
    assert "gwctl dump web.2" in text(page, "#dialog")


def test_what_a_worker_is_at_is_told_as_it_changes(serve, show) -> None:
    stand_in = serve()
    page = show(stand_in)
    page.locator(SQUARE).first.click()
    held = page.locator("#dialog .facts")
    before = held.inner_text()
    stand_in.turn(61)
    become(page, "before => document.querySelector('#dialog .facts').innerText !== before", before)


def test_charts_say_value_and_time(serve, show) -> None:
    page = show(serve())
    page.locator(".pool .chart").first.hover()
    assert "requests/s" in text(page, "#tip")
    cursors = page.locator(".chart .cursor").evaluate_all(
        "all => all.map(each => getComputedStyle(each).visibility)"
    )
    assert set(cursors) == {"visible"}
    page.mouse.move(2, 2)
    become(page, "document.getElementById('tip').hidden")


def test_a_heat_line_is_drawn_for_each_worker(serve, show) -> None:
    page = show(serve(many_workers))
    drawn = page.evaluate(
        """() => {
            const canvas = document.querySelector("canvas"), {width, height} = canvas;
            const pixels = canvas.getContext("2d").getImageData(0, 0, width, height).data;
            return [height, pixels.filter((value, at) => at % 4 === 3 && value > 0).length / (width * height)];
        }"""
    )
    assert drawn[0] == 64 * 3
    assert drawn[1] == 1
    page.locator("canvas").hover()
    assert "web." in text(page, "#tip")


# ---- events


def test_events_come_last_and_are_filtered(serve, show) -> None:
    stand_in = serve()
    page = show(stand_in)
    stand_in.play("killed")
    stand_in.turn(9)
    wait_for(page, "#list .error", "request timeout")
    assert not page.locator("#list .debug").first.is_visible()
    assert not page.locator("#list .error pre").first.is_visible()
    page.select_option("#level", "error")
    visible = [row for row in page.locator("#list > li").all() if row.is_visible()]
    assert len(visible) == 1
    page.select_option("#level", "debug")
    assert page.locator("#list .debug").first.is_visible()


def test_who_reads_older_events_is_left_there(serve, show) -> None:
    stand_in = serve()
    page = show(stand_in, viewport=PHONE)
    for _ in range(3):
        stand_in.do(lambda world: world.play(admin_scenes.recycle(world, world.pools["web"])))
        stand_in.turn(20)
    become(page, "list.scrollHeight > list.clientHeight + 200")
    page.evaluate("list.scrollTop = 0")
    stand_in.do(lambda world: world.play(admin_scenes.recycle(world, world.pools["live"])))
    stand_in.turn(3)
    page.wait_for_selector("#newer:not([hidden])")
    assert page.evaluate("list.scrollTop") == 0
    page.locator("#newer").click()
    become(page, "list.scrollHeight - list.scrollTop - list.clientHeight < 2")


def test_a_slow_reader_is_told_what_it_lost(serve, show) -> None:
    stand_in = serve()
    page = show(stand_in)
    stand_in.lose(37)
    stand_in.turn()
    wait_for(page, "#list .lost", "37 events lost")


def test_screen_readers_are_told_politely(serve, show) -> None:
    """What is bad, and a change of the word; not each event, and no countdown."""
    stand_in = serve()
    page = show(stand_in)
    heard = page.evaluate_handle("() => { const heard = []; say = text => heard.push(text); return heard; }")
    stand_in.play("degraded")
    stand_in.turn(30)
    wait_for(page, "#word", "degraded")
    become(page, "page.status.health_reason.includes('next try in 3')")
    said = heard.json_value()
    assert 4 <= len(said) <= 12
    assert any("slot 3 keeps dying" in each for each in said)


# ---- strangers' text


def test_hostile_text_stays_text(serve, show) -> None:
    """Request lines, tracebacks, notes and addresses are shown as they are, and nothing of them runs."""
    stand_in = serve()
    stand_in.play("hostile")
    stand_in.turn(2)
    page = show(stand_in)
    stand_in.play("killed")
    stand_in.turn(6)
    wait_for(page, "#list", "request timeout")
    page.locator(SQUARE).first.hover()
    assert HOSTILE in text(page, "#tip")
    for details in page.locator("details:not([open]) > summary").all():
        if details.is_visible():
            details.click()
    page.locator("#served button").first.click()
    assert HOSTILE in text(page, "#dialog")
    for place in ("#list", "#served", "#reason", "#about", "#outcome", ".pool .head"):
        assert HOSTILE in text(page, place), place
    assert page.locator("img, iframe, body script:not(:last-of-type)").count() == 0
    assert page.evaluate("window.hurt") is None


def test_the_browser_refuses_text_as_html(serve, show) -> None:
    """By the page's own policy: also a mistake in the script would not run what a stranger wrote."""
    page = show(serve(), allow=("TrustedHTML", "TrustedScript", "Content Security Policy"))
    refused = page.evaluate(
        """() => ["innerHTML", "outerHTML"].map(name => {
            try { document.getElementById("foot")[name] = "<b>x</b>"; return "taken"; } catch { return "refused"; }
        })"""
    )
    assert refused == ["refused", "refused"]
    page.evaluate(
        """() => { const script = document.createElement("script"); script.append("window.hurt = 1"); document.body.append(script); }"""
    )
    page.evaluate("() => document.getElementById('foot').setAttribute('style', 'color: red')")
    assert page.evaluate("window.hurt") is None
    assert page.locator("#foot").evaluate("element => getComputedStyle(element).color") != "rgb(255, 0, 0)"
