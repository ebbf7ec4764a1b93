"""Commands that talk to a running master: ``status``, ``reload``, ``rollback``, ``upgrade``, ``stop`` ...

What was asked for is on stdout, errors are on stderr; with ``--json`` stdout has one JSON
object, errors included (``{"ok": false, "text": ...}``). The exit status is 0 only if what
was asked for has happened.
"""

from __future__ import annotations

import functools
import re
import shutil
import sys
import time
from contextlib import suppress
from typing import Any, Final, get_args

import click
import msgspec

from gwctl.cli import output
from gwctl.cli.completion import pool_names, worker_names
from gwctl.cli.events_view import EventsView
from gwctl.cli.excerpt import FOLLOWED_AFTER, excerpt, span
from gwctl.cli.reload_view import ReloadView
from gwctl.cli.requests_view import render as render_requests
from gwctl.cli.status_view import render
from gwctl.cli.targeted import interrupted, succeed, targeted, worker_name, write_json
from gwctl.config.model.types import POOL_NAME, WEEK_S, WORKERS_MAX
from gwctl.control import health
from gwctl.control.client import ControlClient, NobodyReadsError
from gwctl.control.protocol import (
    Dump,
    Events,
    LevelName,
    LogLevel,
    Method,
    News,
    Progress,
    Recycle,
    Reload,
    Requests,
    Restart,
    Rollback,
    Scale,
    Status,
    Stop,
    Upgrade,
)
from gwctl.control.status import from_json_ready
from gwctl.errors import ControlError, ExitStatus
from gwctl.wording import seconds
from gwctl.wording import workers as count_of_workers

ANSWER_TIMEOUT_S: Final = 10.0
"""For what the master answers at once. What takes its time (reload, stop) it bounds itself."""
_GONE_TIMEOUT_S: Final = 10.0
_READY_TIMEOUT_S: Final = 120.0
_POLL_S: Final = 0.1
LEVELS: Final = get_args(LevelName)
_NOBODY_COMES_S: Final = 2.0
"""So long no worker of a pool boots, and nothing goes on that starts some: then none is going to."""


@click.command()
@targeted
def status(client: ControlClient, *, as_json: bool) -> None:
    """Show the pools and workers of a running master.

    The exit status is 1 when a pool has no worker that serves.
    """
    document = client.call("status", Status(), timeout_s=ANSWER_TIMEOUT_S)
    if as_json:
        write_json(document)
    else:
        try:
            click.echo(render(from_json_ready(document), _width()))
        except msgspec.ValidationError as error:
            raise ControlError(f"the master's answer is not understood ({error}); try --json") from None
    if document.get("health") in health.SERVES_NOBODY:
        raise SystemExit(int(ExitStatus.FAILED))


def _width() -> int:
    """Of the terminal; 0 for a pipe or a file, whose lines are not broken."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 0


def _pools(_ctx: click.Context, _param: click.Parameter, names: tuple[str, ...]) -> tuple[str, ...]:
    """Names as pools can have them, each once."""
    for name in names:
        if not re.fullmatch(POOL_NAME, name):
            raise click.BadParameter(f"{name!r} cannot be the name of a pool")
    return tuple(dict.fromkeys(names))


@click.command(short_help="Start a new generation, of all pools or of some.")
@click.argument("pools", metavar="[POOL]...", nargs=-1, shell_complete=pool_names, callback=_pools)
@click.option("--watch", is_flag=True, help="Show both generations side by side where watch_s is set.")
@targeted
def reload(client: ControlClient, *, as_json: bool, pools: tuple[str, ...], watch: bool) -> None:
    """Start a new generation; wait until it is adopted or refused.

    \b
    gwctl reload          # settings and code of all pools
    gwctl reload web      # those of pool web; all else stays as it is
    gwctl reload --watch  # and show how the new workers fare beside the old ones

    The settings are always read and checked as a whole. Of what differs in them, a reload of some pools
    applies what is of these, and says what else there is. A pool that is new in the settings, or no longer
    in them, can be named to come or go.

    The exit status is 1 when it was not adopted: then the previous generation serves on.
    """  # noqa: D301 - \b is click's mark for lines to leave as they are
    if pools:
        _require_pools_told_apart(client)
    result = _follow(client, "reload", Reload(pools), as_json=as_json, beside=watch)
    if watch and not as_json and not result.get("watched"):
        click.echo("nothing was watched: none of these pools has reload.watch_s")


@click.command(short_help="Reload without overlap: what serves ends first.")
@click.argument("pools", metavar="[POOL]...", nargs=-1, shell_complete=pool_names, callback=_pools)
@targeted
def restart(client: ControlClient, *, as_json: bool, pools: tuple[str, ...]) -> None:
    """End the workers, then start new ones; wait until these serve.

    For an application of which two versions must not run at the same time. Nobody is served in between:
    clients wait, and none is refused. Where two may run, gwctl reload does without that.

    \b
    gwctl restart          # settings and code of all pools
    gwctl restart web      # those of pool web; all else stays as it is

    The settings are checked first: if they are refused, nothing has happened. If a new worker cannot be
    started, the exit status is 1: the settings of before are gone back to if they were others, with the code
    that is on disk, and otherwise it is tried again and again.
    """  # noqa: D301 - \b is click's mark for lines to leave as they are
    _follow(client, "restart", Restart(pools), as_json=as_json)


def _require_pools_told_apart(client: ControlClient) -> None:
    """An older master would not see the names, and do it to all pools."""
    document = client.call("status", Status(), timeout_s=ANSWER_TIMEOUT_S)
    if not all(pool.get("generation") for pool in document.get("pools", ()) if pool.get("size")):
        runs = f"the master is gwctl {document.get('version')}"
        raise ControlError(f"{runs}, which reloads all pools or none: gwctl upgrade first")


@click.command()
@targeted
def upgrade(client: ControlClient, *, as_json: bool) -> None:
    """Go on with the version of gwctl that is installed now.

    And with the Python that is: both take the place of what runs. The master keeps its pid, its workers
    and their connections; then it reloads. The exit status is 0 when a generation of the new program was
    adopted. If the new program cannot take over, the one that runs goes on.
    """
    _follow(client, "upgrade", Upgrade(), as_json=as_json)


@click.command()
@targeted
def rollback(client: ControlClient, *, as_json: bool) -> None:
    """Go back to the generation before the last reload.

    It must still be kept (master.keep_s); a second rollback goes forward again. The exit status is 1
    when that could not be done: then the present generation serves on.
    """
    _follow(client, "rollback", Rollback(), as_json=as_json)


def _follow(
    client: ControlClient, name: str, method: Method, *, as_json: bool, beside: bool = False
) -> dict[str, Any]:
    """Ask for what takes its time, and show how it goes; returns what came of it."""
    view = ReloadView(sys.stdout, beside=beside)

    def hear(news: News) -> None:
        if isinstance(news, Progress) and not as_json:
            view.progress(news)

    try:
        result = client.call(name, method, hear)
    except KeyboardInterrupt:
        view.finish()
        interrupted(f"the {name} goes on, no longer watched; gwctl status shows how it ends", as_json=as_json)
    except ControlError:
        view.finish()
        raise
    view.finish()
    succeed(result, as_json=as_json)
    return result


@click.command()
@click.option("--quick", is_flag=True, help="Do not wait for requests that are being served.")
@targeted
def stop(client: ControlClient, *, as_json: bool, quick: bool) -> None:
    """Stop a running master and wait until it is gone.

    A second stop, or --quick after a first, ends the workers at once.
    """
    try:
        result = client.call("stop", Stop(quick))
    except KeyboardInterrupt:
        interrupted("the master goes on stopping; gwctl stop --quick ends it at once", as_json=as_json)
    if not client.wait_gone(_GONE_TIMEOUT_S):
        raise ControlError("the master said that it stops, but it is still there")
    succeed(result, as_json=as_json)


def _change(_ctx: click.Context, _param: click.Parameter, value: str) -> tuple[int | None, int | None]:
    """``4``, ``+1`` or ``-1``, as the size and delta of a `Scale`; neither for ``auto``."""
    if value == "auto":
        return None, None
    if not re.fullmatch(r"[+-]?[0-9]{1,9}", value):
        raise click.BadParameter(f"{value!r} is not a number of workers: write 4, +1, -1 or auto")
    if value[0] in "+-" and abs(int(value)) <= WORKERS_MAX:
        return None, int(value)
    if not 1 <= int(value) <= WORKERS_MAX:
        raise click.BadParameter(f"a pool has 1 to {WORKERS_MAX} workers")
    return int(value), None


@click.command(
    short_help="Set the number of workers of POOL.",
    context_settings={"ignore_unknown_options": True},  # -1 is not an option
)
@click.argument("pool", shell_complete=pool_names)
@click.argument("change", metavar="N|+N|-N|auto", callback=_change)
@targeted
def scale(client: ControlClient, *, as_json: bool, pool: str, change: tuple[int | None, int | None]) -> None:
    """Set the number of workers of POOL, or change it by +N or -N.

    It ends when they are ready, with 1 if one cannot be started. The number stays until the master is
    started anew, or a reload finds another `processes`. With auto it is again what the settings say: a
    number, or whatever the load takes within bounds.
    """
    size, delta = change
    auto = size is None and delta is None
    before = _pool_of(client, pool).get("restarts", 0)
    result = client.call("scale", Scale(pool, size, delta, auto), timeout_s=ANSWER_TIMEOUT_S)
    if result.get("held"):  # nobody will come
        raise ControlError(result["text"])
    try:
        trouble = _until_ready(client, pool, result.get("size", 0), before)
    except KeyboardInterrupt:
        interrupted("the workers go on booting; gwctl status shows them", as_json=as_json)
    if trouble:
        raise ControlError(f"{result['text']}, but {trouble}")
    succeed(result, as_json=as_json)


@click.command(short_help="Replace workers, each when its successor serves.")
@click.argument("worker", metavar="POOL[.SLOT]", shell_complete=worker_names, callback=worker_name)
@targeted
def recycle(client: ControlClient, *, as_json: bool, worker: str) -> None:
    """Replace workers by new ones of the same code: each successor serves before the other drains.

    \b
    gwctl recycle web.2     the worker in slot 2 of pool web
    gwctl recycle web       all of web, one after the other

    It ends when the successors serve, with 1 if one cannot be started: then the old worker serves on, and
    another try follows. It is refused during a reload, and while what is on disk is not what runs.
    """  # noqa: D301 - \b is click's mark for lines to leave as they are
    pool, _, slot = worker.partition(".")
    before = _pool_of(client, pool).get("restarts", 0)
    wish = Recycle(pool, int(slot) if slot else None)
    result = client.call("recycle", wish, timeout_s=ANSWER_TIMEOUT_S)
    begin = time.monotonic()
    try:
        trouble = _until_replaced(client, pool, {*result.get("pids", ())}, before)
    except KeyboardInterrupt:
        interrupted("the workers are replaced all the same; gwctl status shows them", as_json=as_json)
    if trouble:
        raise ControlError(f"{result['text']}, but {trouble}")
    count, took = len(result["pids"]), seconds(time.monotonic() - begin)
    text = f"{pool}: {count_of_workers(count)} replaced in {took}"
    succeed(result | {"text": text}, as_json=as_json)


def _until_replaced(client: ControlClient, pool: str, pids: set[int], restarts: int) -> str:
    """Wait until none of ``pids`` serves; return what went wrong, or nothing."""
    last_move, left = time.monotonic(), len(pids) + 1
    while True:
        document = client.call("status", Status(), timeout_s=ANSWER_TIMEOUT_S)
        found = _pool_in(document, pool)
        serving = [
            each for each in found.get("workers", ()) if each["pid"] in pids and each["state"] == "ready"
        ]
        if not serving:
            return ""
        now = time.monotonic()
        if len(serving) < left:
            last_move, left = now, len(serving)
        if found.get("restarts", 0) > restarts:
            why = found.get("note") or "one ended before it was ready"
            return f"{len(serving)} of {len(pids)} serve on: {why}. gwctl status and the log say more"
        if document["phase"] == "stopping" or now - last_move > _READY_TIMEOUT_S:
            return f"{len(serving)} of {len(pids)} serve on after {now - last_move:.0f} s"
        time.sleep(_POLL_S)


def _pool_of(client: ControlClient, pool: str) -> dict[str, Any]:
    return _pool_in(client.call("status", Status(), timeout_s=ANSWER_TIMEOUT_S), pool)


def _pool_in(document: dict[str, Any], pool: str) -> dict[str, Any]:
    found: dict[str, Any] = next((each for each in document.get("pools", ()) if each["name"] == pool), {})
    return found


def _until_ready(client: ControlClient, pool: str, size: int, restarts: int) -> str:
    """Wait for the workers of a pool; return what went wrong, or nothing.

    Somebody else may give it another size meanwhile: then nobody waits for this one.
    """
    begin = last_move = time.monotonic()
    while True:
        document = client.call("status", Status(), timeout_s=ANSWER_TIMEOUT_S)
        found = _pool_in(document, pool)
        ready = found.get("ready", size)
        if ready >= size or found["size"] != size:
            return ""
        short = f"{ready} of {size} are ready"
        if found.get("restarts", 0) > restarts:
            why = found.get("note") or "one ended before it was ready"
            return f"{short}: {why}. gwctl status and the log say more"
        now = time.monotonic()
        if now - begin > _READY_TIMEOUT_S:
            return f"{short} after {_READY_TIMEOUT_S:.0f} s"
        boots = any(worker["state"] == "starting" for worker in found["workers"])
        if boots or document["phase"] != "serving":
            last_move = now
        elif now - last_move > _NOBODY_COMES_S:  # as after a rollback: its code cannot be started again
            degraded = document.get("degraded", "")
            return f"{short}, and no other is started before the next reload{degraded and f' ({degraded})'}"
        time.sleep(_POLL_S)


@click.command(short_help="Show what happened, and what happens.")
@excerpt("Go on with what happens from now on", f"with --follow: {FOLLOWED_AFTER}")
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    metavar="KIND",
    help="Only these, as worker_died or reload_*; may be repeated.",
)
@click.option(
    "--level",
    type=click.Choice(LEVELS),
    default="info",
    show_default=True,
    help="Only this and more severe.",
)
@functools.partial(
    targeted, json_help="Write one JSON object a line, as docs/events.md has them.", indent=None
)
def events(
    client: ControlClient,
    *,
    as_json: bool,
    follow: bool,
    since: float | None,
    last: int | None,
    kinds: tuple[str, ...],
    level: LevelName,
) -> None:
    """Show what happened in a running master: the last thousand events, the oldest first.

    \b
    gwctl events --since 10m --level warning    what went wrong lately
    gwctl events -f --kind 'reload_*'           how reloads go, as they do
    gwctl events --json | jq .text              for programs

    With --follow it ends with the master. The exit status is 1 if that vanished without saying that it stops.
    """  # noqa: D301 - \b is click's mark for lines to leave as they are
    view = EventsView(sys.stdout, as_json=as_json)
    if follow and since is None and last is None:
        last = FOLLOWED_AFTER

    def hear(news: News) -> None:
        view.show(news)
        if output.stdout_has_failed():  # the rest would go nowhere, too
            raise NobodyReadsError("nobody reads what is written")

    timeout_s, reader = (None, output.stdout_descriptor()) if follow else (ANSWER_TIMEOUT_S, -1)
    with suppress(NobodyReadsError):  # as after | head -1
        client.call("events", Events(follow, since, last, kinds, level), hear, timeout_s, reader)


@click.command("log-level", short_help="Show or change the level of the log, for a while.")
@click.argument("level", type=click.Choice(LEVELS, case_sensitive=False), required=False, metavar="[LEVEL]")
@click.option(
    "--for", "for_s", metavar="TIME", callback=span, help="For 90s, 10m, 2h, 1d; else until a reload."
)
@targeted
def log_level(client: ControlClient, *, as_json: bool, level: LevelName | None, for_s: float | None) -> None:
    """Show the level of the log, or change it in the master and all workers.

    \b
    gwctl log-level                     # prints: info
    gwctl log-level debug --for 10m     # ten minutes of debug, also across reloads

    LEVEL is debug, info, warning or error. Without --for it holds until the next reload; what log_level in
    the settings says comes back then.
    """  # noqa: D301 - \b is click's mark for lines to leave as they are
    if for_s is not None and level is None:
        raise click.UsageError("--for says how long, and not which level: gwctl log-level debug --for 10m")
    if for_s is not None and not 1 <= for_s <= WEEK_S:
        raise click.BadParameter("it can be 1s to 7d", param_hint="--for")
    succeed(client.call("log_level", LogLevel(level, for_s), timeout_s=ANSWER_TIMEOUT_S), as_json=as_json)


@click.command(short_help="Show what a worker is doing, with its stacks.")
@click.argument("worker", metavar="POOL[.SLOT]", shell_complete=worker_names, callback=worker_name)
@targeted
def dump(client: ControlClient, *, as_json: bool, worker: str) -> None:
    """Show what a worker is doing: its requests, the stacks of its threads and tasks. It serves on.

    \b
    gwctl dump web.2     # the worker in slot 2 of pool web
    gwctl dump web       # all of web

    Only frames of the application are shown. A worker that is busy may take one second to answer. If it has
    to be interrupted for that, a blocking call inside a C library may return early with EINTR.
    """  # noqa: D301 - \b is click's mark for lines to leave as they are
    succeed(client.call("dump", Dump(worker), timeout_s=ANSWER_TIMEOUT_S), as_json=as_json)


@click.command(short_help="Show what is being served, the longest first.")
@click.argument(
    "worker", metavar="[POOL[.SLOT]]", default="", shell_complete=worker_names, callback=worker_name
)
@click.option(
    "-n", "--most", type=click.IntRange(min=0), default=20, show_default=True, help="Lines; 0: all."
)
@targeted
def requests(client: ControlClient, *, as_json: bool, worker: str, most: int) -> None:
    """Show the requests that are being served at this moment, the longest first.

    \b
    gwctl requests         of all workers
    gwctl requests web     of pool web; web.2 is the worker in its slot 2

    gwctl dump shows where one of them is.
    """  # noqa: D301 - \b is click's mark for lines to leave as they are
    document = client.call("requests", Requests(worker), timeout_s=ANSWER_TIMEOUT_S)
    if as_json:
        write_json({"ok": True} | document)
    else:
        click.echo(render_requests(document, most, _width()))


COMMANDS: Final[list[click.Command]] = [
    status,
    reload,
    rollback,
    restart,
    upgrade,
    stop,
    scale,
    recycle,
    events,
    log_level,
    dump,
    requests,
]
