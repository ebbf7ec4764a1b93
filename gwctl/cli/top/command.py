"""The command ``gwctl top``: chooses how it is shown."""

from __future__ import annotations

import functools
import os
import signal
import sys

import click

from gwctl.cli.targeted import targeted
from gwctl.cli.top import plain
from gwctl.cli.top.feed import Feed
from gwctl.cli.top.live import Live
from gwctl.cli.top.terminal import EndedError, Terminal
from gwctl.control.client import ControlClient


@click.command(short_help="Watch the workers of a running master.")
@click.option(
    "-i",
    "--interval",
    "interval_s",
    type=click.FloatRange(0.2, 3600),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="From one picture to the next.",
)
@click.option("--once", is_flag=True, help="Write one picture, and end.")
@functools.partial(targeted, json_help="Write one JSON object a line for each picture.", indent=None)
def top(client: ControlClient, *, as_json: bool, interval_s: float, once: bool) -> None:
    """Watch the workers of a running master: how busy they are, and what they serve.

    \b
    gwctl top                      in a terminal; ? says what columns and keys mean
    gwctl top --once               one picture, as text
    gwctl top -i 5 > load.txt      text without control codes, every five seconds
    gwctl top --json | jq .health  for programs

    A master that goes away or is upgraded is waited for. The exit status is 0; 130 after Ctrl-C; 1 when
    no master could be asked at first.
    """  # noqa: D301 - \b is click's mark for lines to leave as they are
    feed = Feed(client, interval_s)
    try:
        if as_json or once or not _interactive():
            plain.run(feed, as_json=as_json, once=once)
            return
        with Terminal() as terminal:
            Live(feed, terminal).run()
    except EndedError as ended:  # the terminal is as it was
        signal.signal(ended.number, signal.SIG_DFL)
        os.kill(os.getpid(), ended.number)
    finally:
        feed.close()


def _interactive() -> bool:
    dumb = os.environ.get("TERM", "") in {"", "dumb"}
    return not dumb and sys.stdin is not None and os.isatty(0) and os.isatty(1)
