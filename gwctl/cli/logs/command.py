"""``gwctl logs``: the event log, read back."""

from __future__ import annotations

import datetime as dt
import functools
import sys
from pathlib import Path
from typing import Final

import click

from gwctl.cli import output
from gwctl.cli.completion import worker_names
from gwctl.cli.excerpt import FOLLOWED_AFTER, excerpt
from gwctl.cli.logs import files, journal
from gwctl.cli.logs.entries import LEVELS, Wanted
from gwctl.cli.logs.place import Place, elsewhere, is_readable, place_of
from gwctl.cli.logs.view import LogsView
from gwctl.cli.targeted import fail, which_master, worker_name
from gwctl.errors import ControlError, GwctlError
from gwctl.log.destination import is_file
from gwctl.log.level import Level

SHOWN: Final = 100
"""Entries, where nobody has said how many or since when."""


@click.command(short_help="Read the event log, wherever it is.")
@excerpt("Go on with what comes", f"without --since: {SHOWN}, with --follow {FOLLOWED_AFTER}")
@click.option(
    "--worker",
    metavar="POOL[.SLOT]",
    default="",
    callback=worker_name,
    shell_complete=worker_names,
    help="Only of this pool, as in web, or worker, as in web.2.",
)
@click.option(
    "--level",
    type=click.Choice(sorted(LEVELS), case_sensitive=False),
    metavar="LEVEL",
    help="Only this and more severe: debug, info, warning, err.",
)
@functools.partial(
    which_master,
    config_help="Of the master that was started with this file; it need not run.",
    json_help="Write one JSON object a line, as docs/logs.md has them.",
)
def logs(
    *,
    follow: bool,
    since: float | None,
    last: int | None,
    worker: str,
    level: str | None,
    config: Path | None,
    name: str | None,
    control: Path | None,
    as_json: bool,
) -> None:
    """Show the event log from where the setting log.to has put it, the oldest entry first.

    \b
    gwctl logs -f                            the last ten, and what comes
    gwctl logs --since 10m --level err       what went wrong lately
    gwctl logs --worker web.2 -n 20          of one worker and its successors
    gwctl logs -c /srv/shop/gw.toml          also of a master that runs no more
    gwctl logs --json | jq .text             for programs

    It reads systemd's journal (by journalctl) and files, and follows those over a rotation. Of stderr and
    syslog it says where they lead and how to read them there, with exit status 1, which is also that of a log
    that cannot be read. gwctl events shows what happened in the master itself, wherever its log is.
    """  # noqa: D301 - \b is click's mark for lines to leave as they are
    if last is None and (follow or since is None):
        last = FOLLOWED_AFTER if follow and since is None else SHOWN if since is None else None
    pool, _, slot = worker.partition(".")
    wanted = Wanted(pool, int(slot) if slot else None, LEVELS[level] if level else Level.DEBUG)
    try:
        _show(place_of(config, name, control), wanted, since, last, follow=follow, as_json=as_json)
    except GwctlError as error:
        fail(error, {}, None, as_json=as_json)


def _show(
    place: Place, wanted: Wanted, since_s: float | None, last: int | None, *, follow: bool, as_json: bool
) -> None:
    """Raises ControlError: It cannot be read, or not from here."""
    if not is_readable(place):
        raise ControlError(elsewhere(place))
    view = LogsView(sys.stdout, as_json=as_json)
    if not is_file(place.to):
        query = journal.Query(place.instance, place.to, wanted, since_s, last, follow)
        journal.read(query, view.show, output.stdout_has_failed)
        return
    since = None
    if since_s is not None:
        since = dt.datetime.now().astimezone() - dt.timedelta(seconds=since_s)
    files.read(
        files.Query(Path(place.to), wanted, since, last, follow),
        view.show,
        output.stdout_has_failed,
        output.stdout_descriptor(),
    )
