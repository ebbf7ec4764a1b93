"""``gwctl top`` in a terminal: one loop for keys, signals, the master's answers and the next question."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import msgspec

from gwctl.cli.events_view import EventsView
from gwctl.cli.top.feed import Feed
from gwctl.cli.top.picture import body_rows, picture
from gwctl.cli.top.terminal import Terminal
from gwctl.cli.top.view import Page, Quit, View, press
from gwctl.control.client import ControlClient
from gwctl.control.protocol import (
    Dump,
    Events,
    Happened,
    Lost,
    Method,
    Profile,
    Recycle,
    decode_news,
)
from gwctl.errors import ControlError
from gwctl.profile.collected import label
from gwctl.profile.lines import Frame

_AGE_S: Final = 1.0
"""So often it is drawn anew while the master is away, for the time that is said."""


class Live:
    """What is on the screen, and where it comes from."""

    def __init__(self, feed: Feed, terminal: Terminal) -> None:
        self._feed = feed
        self._terminal = terminal
        self._view = View(message="asking the master ...")
        self._followed: _Followed | _Profiled | None = None
        """What comes onto the page, until that is left."""

    def run(self) -> None:
        """Until the person leaves, or nobody sees it any more."""
        try:
            while self._turn():
                pass
        finally:
            if self._followed is not None:
                self._followed.close()

    def _turn(self) -> bool:
        feed, view, terminal = self._feed, self._view, self._terminal
        pictures = feed.pictures
        feed.turn()
        if feed.pictures == 1 and pictures == 0:
            view.message = ""
        if feed.pictures > pictures and feed.news:
            view.message = feed.news
        view.trouble = feed.trouble
        if self._followed is not None:
            self._followed.turn()
            if view.page is not self._followed.page:
                self._followed.close()
                self._followed = None
        columns, rows = terminal.size
        terminal.draw(picture(feed.model, view, columns, rows, blocks=terminal.blocks))
        fds = feed.fds + (self._followed.fds if self._followed is not None else [])
        timeout_s = min(feed.next_in(), _AGE_S) if feed.trouble else feed.next_in()
        keys, alive = terminal.wait(fds, timeout_s)
        for key in keys:
            asked = press(view, feed.model, key, columns, body_rows(rows))
            if isinstance(asked, Quit):
                return False
            if asked is not None:
                self._ask(asked)
        return alive and not terminal.gone

    def _ask(self, method: Method) -> None:
        view, page = self._view, self._view.page
        match method:
            case Dump() if page is not None:
                self._feed.ask("dump", method, _onto(page))
            case Events() if page is not None:
                self._followed = _Followed(self._feed, method, page)
            case Profile() if page is not None:
                try:
                    self._followed = _Profiled(self._feed, method, page)
                except OSError as error:
                    page.add(f"gwctl profile cannot be started: {error.strerror}")
            case Recycle(pool=pool, slot=slot):

                def told(done: bool, text: str, _result: dict[str, Any]) -> None:
                    view.message = text if done else f"{pool}.{slot} stays: {text}"

                self._feed.ask("recycle", method, told)


def _onto(page: Page) -> Any:
    """What puts an answer onto ``page``."""

    def told(_done: bool, text: str, _result: dict[str, Any]) -> None:
        page.lines[:] = text.splitlines() or ["nothing was said"]

    return told


class _Followed:
    """The events on a page, by a connection of their own: its end is the end of following."""

    def __init__(self, feed: Feed, method: Events, page: Page) -> None:
        self.page = page
        self._show = EventsView(_Lines(page), as_json=False).show  # type: ignore[arg-type]
        self._client: ControlClient | None = None
        try:
            self._client = ControlClient(feed.path)
            self._client.ask("events", method)
        except ControlError as error:
            page.add(str(error))

    @property
    def fds(self) -> list[int]:
        return [self._client.fileno()] if self._client is not None else []

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def turn(self) -> None:
        try:
            for incoming in self._client.take() if self._client is not None else ():
                if incoming.error is not None:
                    self.page.add(incoming.error.message)
                news = decode_news(incoming) if incoming.method is not None else None
                if isinstance(news, Happened | Lost):
                    self._show(news)
        except (ControlError, ValueError, msgspec.ValidationError) as error:
            self.page.add(f"({error}; e shows them again)")
            self.close()


class _Profiled:
    """A profile onto a page, by ``gwctl profile``: what workers tell is read and drawn there."""

    def __init__(self, feed: Feed, method: Profile, page: Page) -> None:
        self.page = page
        self._told = bytearray()
        words = [sys.executable, "-m", "gwctl", "profile", "--json", f"--control={feed.path}"]
        self._process = subprocess.Popen(  # noqa: S603 - a list of words, no shell
            [*words, f"--seconds={method.seconds}", method.worker],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        self._output = self._process.stdout
        os.set_blocking(self._output.fileno(), False)

    @property
    def fds(self) -> list[int]:
        return [] if self._output.closed else [self._output.fileno()]

    def close(self) -> None:
        """The workers see that nobody listens any more, and end it."""
        self._output.close()
        self._process.kill()
        self._process.wait()

    def turn(self) -> None:
        if self._output.closed:
            return
        try:
            data = os.read(self._output.fileno(), 1 << 16)
        except BlockingIOError:
            return
        self._told += data
        if not data:
            self._show()
            self.close()

    def _show(self) -> None:
        try:
            document = json.loads(self._told)
            top = [(each["seconds"], _place(each)) for each in document.get("top", ())]
            lines = [str(document["text"]), "", *(f"{spent:9.3f} s  {place}" for spent, place in top)]
            if file := document.get("file"):
                lines += ["", f"wrote {Path.cwd() / file}: open it in a browser"]
        except (ValueError, KeyError, TypeError):
            lines = ["gwctl profile has ended without an answer"]
        for line in lines:
            self.page.add(line)


def _place(each: dict[str, Any]) -> str:
    return label(Frame(str(each["function"]), str(each["file"]), int(each["line"])))


class _Lines:
    """A file whose lines go onto a page."""

    def __init__(self, page: Page) -> None:
        self._page = page

    def write(self, text: str) -> int:
        for line in text.splitlines():
            self._page.add(line)
        return len(text)

    def flush(self) -> None:
        """Nothing waits."""

    def isatty(self) -> bool:
        return False
