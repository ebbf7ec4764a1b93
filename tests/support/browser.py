"""A browser and what tests do with the dashboard in it. The tests are in tests/browser.

``python -m tests.support.browser`` says what they need and is not here.
"""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec
from typing import Any, Final

from tests.support.admin_stand_in import StandIn
from tests.support.server import ROOT
from tests.support.wait import until

DESK: Final = {"width": 1280, "height": 900}
PHONE: Final = {"width": 360, "height": 740}
TOKEN: Final = "the-token"
AXE: Final = ROOT / "build/browser/node_modules/axe-core/axe.min.js"
SQUARE: Final = ".pair .worker"
_WAIT_S: Final = 20
_NAMES: Final = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")


def chromium() -> str | None:
    """Where it is; the variable CHROMIUM names one."""
    names = (os.environ.get("CHROMIUM", ""), *_NAMES)
    return next(filter(None, map(shutil.which, names)), None)


def missing() -> list[str]:
    """What the tests need and is not here, and how to get it."""
    have = {
        "playwright (pip install playwright)": find_spec("playwright") is not None,
        "chromium (apt install chromium, or CHROMIUM=/path/to/chrome)": chromium() is not None,
        "axe-core (npm install --prefix build/browser axe-core)": AXE.exists(),
    }
    return [what for what, is_here in have.items() if not is_here]


def become(page: Any, condition: str, argument: Any = None) -> None:
    """Wait until that is so in the page. (Playwright's own way of waiting needs eval, which the page forbids.)"""

    def told() -> str:
        return f"{condition}; the page says:\n{page.inner_text('body')}"

    until(lambda: page.evaluate(condition, argument), told, _WAIT_S)


def wait_for(page: Any, selector: str, words: str) -> None:
    """Wait until an element says them."""
    has = "([selector, words]) => document.querySelector(selector)?.textContent.includes(words)"
    become(page, has, [selector, words])


def catch_up(page: Any, stand_in: StandIn) -> None:
    """Wait until the page has drawn what the stand-in told last."""
    become(page, "at => page.sample.at > at - 0.01", stand_in.do(lambda world: world.now))
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => setTimeout(done)))")


def text(page: Any, selector: str) -> str:
    return " ".join(page.locator(selector).all_inner_texts())


if __name__ == "__main__":
    for each in missing():
        print(f"not here, so what needs it is skipped: {each}")
