"""``gwctl start``: settings, then the master in this very process."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from gwctl.cli import output
from gwctl.cli.options import SettingsCommand, read, reader, set_overrides, settings_options
from gwctl.config.problems import ConfigError
from gwctl.config.sources import Override
from gwctl.supervisor.upgrade import entry
from gwctl.supervisor.upgrade.role import role


@click.command(cls=SettingsCommand)
@settings_options
@click.option("--bind", "-b", multiple=True, metavar="ADDRESS", help="Listen here; may be repeated.")
@click.option("--processes", "-w", metavar="N", help="Worker processes, or auto.")
@click.option("--worker", "-k", metavar="CLASS", help="sync, threads, asgi or auto.")
@click.option("--threads", metavar="N", help="Threads of each worker of class threads.")
@click.option("--name", metavar="NAME", help="Name of this instance, for gwctl status and process titles.")
@click.option(
    "--takeover",
    is_flag=True,
    help="Take the place of the instance that runs under this name: its sockets first, then the rest.",
)
def start(
    app: str | None, file: Path | None, settings: tuple[str, ...], *, takeover: bool, **flags: Any
) -> None:
    """Serve APP, or what a settings file says, until told to stop.

    APP is module:attribute, module:factory() or a module. With APP alone no file is read; with
    APP and -c it replaces the application of the file's only pool.

    With --takeover the instance that runs serves on until this one is ready, and ends then. Should this one
    not become ready, nothing has changed.

    SIGHUP reloads, SIGTERM stops gracefully, SIGINT (Ctrl-C) quickly.
    """
    taken_for = role()
    read_settings = reader(app, file, [*set_overrides(settings), *_overrides(flags)])
    if taken_for is not None:
        output.as_they_were()
        # A running master has executed this: what it runs with is what it hands over.
        raise SystemExit(entry.take_over(taken_for, read_settings))
    loaded = read(read_settings, "; nothing was started.", on_error=_tell_systemd)
    from gwctl.supervisor.start import main  # noqa: PLC0415 - after the settings: a mistake is told at once

    output.as_they_were()
    raise SystemExit(main(read_settings, loaded, takeover=takeover))


def _tell_systemd(error: ConfigError) -> None:
    """``systemctl status`` shows why, too."""
    from gwctl.supervisor.service.sd_notify import failure_lines, send_once  # noqa: PLC0415 - see above

    send_once(os.environ, *failure_lines(str(error), int(error.exit_status)))


def _overrides(flags: dict[str, Any]) -> list[Override]:
    keys = {"name": "master.name"}
    return [Override(keys.get(flag, flag), value, f"--{flag}") for flag, value in flags.items() if value]
