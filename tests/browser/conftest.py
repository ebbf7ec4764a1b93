"""A browser, and the dashboard in it. Both are had by ``make test-browser``; without them these tests are skipped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support import admin_scenes
from tests.support.admin_stand_in import StandIn
from tests.support.admin_world import World
from tests.support.browser import AXE, DESK, TOKEN, become, chromium

Show = Callable[..., Any]


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    api = pytest.importorskip(
        "playwright.sync_api", reason="no playwright here: make test-browser installs it"
    )
    path = chromium()
    if path is None:
        pytest.skip("no chromium here, and CHROMIUM names none: make test-browser says how to get it")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def axe() -> str:
    if not AXE.exists():
        pytest.skip("no axe-core here: make test-browser installs it where there is npm")
    return AXE.read_text("utf-8")


@pytest.fixture
def serve() -> Iterator[Callable[..., StandIn]]:
    """Start a stand-in, of two small pools unless told otherwise; time passes in it when the test says so."""
    running: list[StandIn] = []

    def start(make: Callable[[], World] = admin_scenes.two_pools, **options: Any) -> StandIn:
        stand_in = StandIn(make(), **options)
        stand_in.__enter__()
        running.append(stand_in)
        return stand_in

    yield start
    for each in running:
        each.__exit__()


@pytest.fixture
def show(browser: Any) -> Iterator[Show]:
    """Open the dashboard. What the page complains of fails the test, unless it is of ``allow``."""
    contexts: list[Any] = []
    complaints: list[str] = []
    allowed: list[str] = []

    def note(message: Any) -> None:
        if message.type in {"error", "warning"}:
            complaints.append(message.text)

    def open_page(
        stand_in: StandIn, *, allow: tuple[str, ...] = (), ready: bool = True, **options: Any
    ) -> Any:
        options = {"viewport": DESK, "color_scheme": "light", "reduced_motion": "reduce"} | options
        context = browser.new_context(**options)
        contexts.append(context)
        allowed.extend(allow)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("console", note)
        page.on("pageerror", lambda error: complaints.append(f"{error.name}: {error.message}\n{error.stack}"))
        page.goto(stand_in.url)
        if ready:
            become(
                page, "page.link.state === 'live' && page.requests && !document.querySelector('main').hidden"
            )
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert [each for each in complaints if not any(text in each for text in allowed)] == []


@pytest.fixture
def unlock(serve: Callable[..., StandIn], show: Show) -> Callable[..., tuple[StandIn, Any]]:
    """A stand-in with a token, and a page into which it was entered."""

    def enter(**options: Any) -> tuple[StandIn, Any]:
        stand_in = serve(token=TOKEN)
        page = show(stand_in, allow=("401", "409"), **options)
        page.locator("#do-token").click()
        page.get_by_label("Token of the admin process").fill(TOKEN)
        page.keyboard.press("Enter")
        page.wait_for_selector("#do-reload:not([hidden])")
        return stand_in, page

    return enter
