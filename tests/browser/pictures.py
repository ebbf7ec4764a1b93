"""Writes docs/images/dashboard-*.png: ``python -m tests.browser.pictures`` (after ``make test-browser``; with pngquant)."""

from __future__ import annotations

import datetime as dt
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import sync_playwright

from tests.support import admin_scenes
from tests.support.admin_stand_in import StandIn
from tests.support.admin_world import World
from tests.support.browser import DESK, PHONE, TOKEN, become, catch_up, chromium
from tests.support.server import ROOT

FOLDER: Final = ROOT / "docs/images"
NOON: Final = dt.datetime(2026, 11, 28, 12, 2, 11, tzinfo=dt.UTC).timestamp()


def _quiet(stand_in: StandIn) -> None:
    """Ten minutes with a kill and a worker that is recycled, and a request that lasts."""
    stand_in.play("killed")
    stand_in.turn(240)
    stand_in.do(lambda world: world.play(admin_scenes.recycle(world, world.pools["web"], 3)))
    stand_in.turn(300)
    stand_in.play("calm")
    stand_in.turn(4)


def _reload(stand_in: StandIn) -> None:
    stand_in.turn(5)
    stand_in.play("reload")
    stand_in.turn(34)


def _refused(stand_in: StandIn) -> None:
    stand_in.play("refused")
    stand_in.turn(14)


@dataclass(frozen=True)
class Picture:
    name: str
    play: Callable[[StandIn], None]
    make: Callable[..., World] = admin_scenes.two_pools
    theme: str = "light"
    size: dict[str, int] = field(default_factory=lambda: DESK)
    click: str = ""
    scale: float = 1.25


PICTURES: Final = (
    Picture("dashboard", _quiet),
    Picture("dashboard-reload", _reload, theme="dark"),
    Picture("dashboard-refused", _refused, click="#outcome summary"),
    Picture("dashboard-phone", _quiet, admin_scenes.many_workers, "dark", PHONE, scale=1.5),
)


def take(browser: Any, picture: Picture, folder: Path) -> None:
    with StandIn(picture.make(now=NOON), token=TOKEN) as stand_in:
        picture.play(stand_in)
        context = browser.new_context(
            viewport=picture.size,
            color_scheme=picture.theme,
            reduced_motion="reduce",
            device_scale_factor=picture.scale,
            timezone_id="Europe/Berlin",
        )
        page = context.new_page()
        page.clock.set_fixed_time(dt.datetime.fromtimestamp(stand_in.do(lambda world: world.now), dt.UTC))
        page.add_init_script(f"sessionStorage.setItem('gwctl-token', '{TOKEN}')")
        page.goto(stand_in.url)
        become(page, "page.link.state === 'live'")
        stand_in.turn()
        catch_up(page, stand_in)
        if picture.click:
            page.locator(picture.click).click()
            page.mouse.move(0, 0)
        path = folder / f"{picture.name}.png"
        page.screenshot(path=path)
        subprocess.run(["pngquant", "--force", "--output", path, "64", path], check=True)
        context.close()


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        for picture in PICTURES:
            take(browser, picture, FOLDER)
        browser.close()


if __name__ == "__main__":
    main()
