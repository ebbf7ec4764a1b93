"""What can be changed from the dashboard: with the token, after a question, and refusals are said."""

from __future__ import annotations

from tests.support.admin_stand_in import DUMP, PROFILE
from tests.support.browser import SQUARE, TOKEN, become, text, wait_for


def test_without_a_token_nothing_can_be_changed_and_that_is_said(serve, show) -> None:
    page = show(serve())
    assert "the admin process has no token" in text(page, "#foot")
    assert not any(
        page.locator(each).is_visible() for each in ("#do-token", "#do-reload", ".pool .tools >> nth=0")
    )


def test_a_wrong_token_is_refused(serve, show) -> None:
    page = show(serve(token=TOKEN))
    assert not page.locator("#do-reload").is_visible()
    page.locator("#do-token").click()
    page.get_by_label("Token of the admin process").fill("not-it")
    page.get_by_role("button", name="Unlock", exact=True).click()
    wait_for(page, "#dialog .bad", "This is not the token.")
    assert not page.evaluate("sessionStorage.getItem('gwctl-token')")


def test_the_token_is_kept_for_the_tab_and_forgotten_when_asked(unlock) -> None:
    _, page = unlock()
    page.reload()
    page.wait_for_selector("#do-reload:not([hidden])")
    page.locator("#do-token").click()
    page.wait_for_selector("#do-reload", state="hidden")
    assert not page.evaluate("sessionStorage.getItem('gwctl-token')")


def test_a_worker_is_recycled(unlock) -> None:
    """Asked first; then the answer is said, and the successor seen beside it."""
    stand_in, page = unlock()
    page.locator(SQUARE).nth(2).click()
    page.get_by_role("button", name="Recycle…", exact=True).click()
    assert stand_in.posts == []
    assert "web.2 is replaced" in text(page, "#dialog")
    page.get_by_role("button", name="Recycle", exact=True).click()
    wait_for(page, "#notice", "1 of its workers are replaced")
    assert stand_in.posts == [("/api/recycle", {"pool": "web", "slot": 2})]
    stand_in.turn(2)
    page.wait_for_selector(".pair:has(.ready + .starting)")
    page.locator("#notice button").click()
    assert not page.locator("#notice").is_visible()


def test_a_worker_is_recycled_because_of_what_it_serves(unlock) -> None:
    stand_in, page = unlock()
    stand_in.play("calm")
    stand_in.turn()
    wait_for(page, "#served tbody", "GET /export")
    page.get_by_role("button", name="web.2 g4").first.click()
    page.get_by_role("button", name="Recycle…", exact=True).click()
    page.get_by_role("button", name="Recycle", exact=True).click()
    wait_for(page, "#notice", "web: 1 of its workers")
    assert stand_in.posts == [("/api/recycle", {"pool": "web", "slot": 2})]


def test_a_pool_is_recycled_and_scaled(unlock) -> None:
    stand_in, page = unlock()
    page.get_by_role("button", name="Recycle… live").click()
    page.get_by_role("button", name="Recycle", exact=True).click()
    wait_for(page, "#notice", "live: 2 of its workers")
    page.get_by_role("button", name="Scale… web").click()
    page.get_by_label("Workers", exact=True).fill("6")
    page.get_by_role("button", name="Scale", exact=True).click()
    wait_for(page, "#notice", "web: 4 -> 6 workers")
    assert stand_in.posts == [("/api/recycle", {"pool": "live"}), ("/api/scale", {"pool": "web", "size": 6})]
    stand_in.turn(12)
    become(page, "document.querySelectorAll('.pool .cells')[0].children.length === 6")


def test_a_pool_is_reloaded(unlock) -> None:
    stand_in, page = unlock()
    page.get_by_role("button", name="Reload… live").click()
    assert "All other pools stay as they are" in text(page, "#dialog")
    page.get_by_role("button", name="Reload", exact=True).click()
    stand_in.turn(2)
    wait_for(page, "#reload-title", "Reloading")
    assert stand_in.posts == [("/api/reload", {"pools": ["live"]})]


def test_reload_and_rollback(unlock) -> None:
    """Of one under way a second is refused, and the reason said."""
    stand_in, page = unlock()
    assert not page.locator("#do-rollback").is_visible()
    page.locator("#do-reload").click()
    page.get_by_role("button", name="Reload", exact=True).click()
    stand_in.turn(2)
    wait_for(page, "#reload-title", "Reloading")
    page.locator("#do-reload").click()
    page.get_by_role("button", name="Reload", exact=True).click()
    wait_for(page, "#notice", "a reload is under way")
    stand_in.turn(30)
    wait_for(page, "#notice", "generation 5 adopted")
    page.locator("#do-rollback").click()
    assert "Generation 4 serves again" in text(page, "#dialog")
    page.get_by_role("button", name="Roll back", exact=True).click()
    stand_in.turn(2)
    wait_for(page, "#reload-title", "Rolling back: generation 5 → 4")
    stand_in.turn(6)
    wait_for(page, "#outcome", "rolled back to generation 4")
    assert [path for path, _ in stand_in.posts] == ["/api/reload", "/api/reload", "/api/rollback"]


def test_stacks_are_shown_and_copied(unlock) -> None:
    stand_in, page = unlock(permissions=["clipboard-read", "clipboard-write"])
    page.locator(SQUARE).nth(2).click()
    page.get_by_role("button", name="Stacks…").click()
    wait_for(page, "#dialog pre", "reports.py")
    assert page.locator("#dialog pre").text_content() == DUMP
    page.get_by_role("button", name="Copy").click()
    wait_for(page, "#dialog .main", "Copied")
    assert page.evaluate("navigator.clipboard.readText()") == DUMP
    assert stand_in.posts == [("/api/dump", {"worker": "web.2"})]


def test_a_flame_graph_opens_in_a_tab_of_its_own(unlock) -> None:
    stand_in, page = unlock()
    page.locator(SQUARE).nth(2).click()
    page.get_by_role("button", name="Profile…").click()
    wait_for(page, "#dialog pre", "samples in 10 s")
    assert page.locator("#dialog pre").text_content() == PROFILE
    with page.context.expect_page() as opened:
        page.get_by_role("button", name="Flame graph").click()
    assert opened.value.url == f"{stand_in.url}profile/0123abc"
    assert opened.value.evaluate("window.opener") is None
    assert stand_in.posts == [("/api/profile", {"worker": "web.2", "keep": True})]


def test_where_reading_needs_the_token_it_is_asked_for(serve, show) -> None:
    stand_in = serve(token=TOKEN, locked=True)
    page = show(stand_in, allow=("401",), ready=False)
    page.get_by_label("Token of the admin process").fill(TOKEN)
    assert text(page, "#word") == "locked"
    page.get_by_role("button", name="Unlock", exact=True).click()
    become(page, "page.link.state === 'live'")
    wait_for(page, "#word", "healthy")
    assert page.locator(SQUARE).count() == 6
