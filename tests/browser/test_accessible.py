"""The dashboard under axe-core: in both themes, on a desk and on a phone, in each situation."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.admin_scenes import many_workers
from tests.support.browser import DESK, PHONE, TOKEN, catch_up

RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}

by_theme = pytest.mark.parametrize("theme", ["light", "dark"])
by_size = pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desk", "phone"])


def violations(page: Any, axe: str) -> list[str]:
    page.evaluate(axe)
    found = page.evaluate("rules => axe.run(document, rules)", RULES)["violations"]
    return [
        f"{each['id']} ({each['help']}): {node['html']} {node['failureSummary']}"
        for each in found
        for node in each["nodes"]
    ]


@by_theme
@by_size
@pytest.mark.parametrize("scene", ["calm", "reload", "refused", "degraded", "overloaded", "killed"])
def test_no_violations(serve, show, axe, theme, viewport, scene) -> None:
    stand_in = serve(token=TOKEN)
    page = show(stand_in, viewport=viewport, color_scheme=theme, bypass_csp=True)
    stand_in.play(scene)
    stand_in.turn(12)
    catch_up(page, stand_in)
    for summary in page.locator("details:not([open]) > summary").all():
        if summary.is_visible():
            summary.click()
    assert violations(page, axe) == []


@by_theme
@by_size
def test_no_violations_of_many_workers(serve, show, axe, theme, viewport) -> None:
    page = show(serve(many_workers), viewport=viewport, color_scheme=theme, bypass_csp=True)
    assert violations(page, axe) == []


@by_theme
def test_no_violations_when_the_connection_is_lost(serve, show, axe, theme) -> None:
    """What is dimmed can still be read."""
    stand_in = serve()
    page = show(stand_in, color_scheme=theme, bypass_csp=True, allow=("ERR_", "Failed to load"))
    stand_in.drop()
    page.wait_for_selector("body.stale")
    assert violations(page, axe) == []


@by_theme
def test_no_violations_of_dialogs(serve, show, axe, theme) -> None:
    page = show(serve(token=TOKEN), color_scheme=theme, bypass_csp=True)
    page.locator(".pair .worker").first.click()
    assert violations(page, axe) == []
    page.keyboard.press("Escape")
    page.locator("#do-token").click()
    assert violations(page, axe) == []
    page.get_by_label("Token of the admin process").fill(TOKEN)
    page.keyboard.press("Enter")
    page.wait_for_selector("#do-reload:not([hidden])")
    page.locator("#do-reload").click()
    assert violations(page, axe) == []
    page.keyboard.press("Escape")
    page.locator(".pair .worker").first.hover()
    page.wait_for_selector("#tip:not([hidden])")
    assert violations(page, axe) == []
