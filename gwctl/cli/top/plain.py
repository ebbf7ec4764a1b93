"""``gwctl top`` for what is no terminal: text without control codes, or a JSON document a line."""

from __future__ import annotations

import json
import select
import shutil
import sys
import time

import click
import msgspec

from gwctl.cli import output
from gwctl.cli.top.feed import Feed
from gwctl.cli.top.model import Model
from gwctl.cli.top.picture import picture
from gwctl.cli.top.terminal import can_show
from gwctl.cli.top.view import View
from gwctl.errors import ControlError

FIRST_S = 10.0
"""For the first answer; later ones are waited for as long as it takes."""


def run(feed: Feed, *, as_json: bool, once: bool) -> None:
    """Write a picture for each answer, until nobody reads them; only the first with ``once``.

    Raises:
        ControlError: There was no first answer.
    """
    begin, trouble = time.monotonic(), ""
    while not output.stdout_has_failed():
        pictures = feed.pictures
        feed.turn()
        if feed.pictures > pictures and feed.model is not None:
            _write(feed.model, feed.news, as_json=as_json, first=pictures == 0)
            if once:
                return
        if feed.trouble and not trouble:
            if not feed.pictures and (once or time.monotonic() - begin > FIRST_S):
                raise ControlError(feed.trouble)
            _say(feed.trouble, as_json=as_json)
        trouble = feed.trouble
        _wait(feed)


def _wait(feed: Feed) -> None:
    """For the master, or for the end of who reads."""
    poll = select.poll()
    for fd in feed.fds:
        poll.register(fd, select.POLLIN)
    if (reader := output.stdout_descriptor()) >= 0:
        poll.register(reader, 0)
    if any(fd == reader for fd, _ in poll.poll(feed.next_in() * 1000)):
        raise SystemExit(0)


def _write(model: Model, news: str, *, as_json: bool, first: bool) -> None:
    if as_json:
        click.echo(json.dumps({"at": round(time.time(), 3)} | msgspec.to_builtins(model)))
    else:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
        lines = picture(model, View(), width, 0, blocks=can_show("▁█░", sys.stdout.encoding))
        click.echo(
            "\n".join([*([] if first else [""]), *([news] if news else []), *(line.text for line in lines)])
        )
    sys.stdout.flush()


def _say(text: str, *, as_json: bool) -> None:
    click.echo(json.dumps({"ok": False, "text": text}) if as_json else f"\n{text}")
    sys.stdout.flush()
