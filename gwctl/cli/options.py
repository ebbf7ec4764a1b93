"""Options that several commands share, and how they become the arguments of `load`."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal

import click

from gwctl.cli.folder import logical_cwd
from gwctl.config import hints, paths
from gwctl.config.load import Loaded, load
from gwctl.config.problems import ConfigError, count
from gwctl.config.sources import Override
from gwctl.errors import ExitStatus, GwctlError

DEFAULT_FILE: Final = "gw.toml"

Reader = Callable[[], Loaded]
"""Reads the same settings from the same places each time it is called."""


class NothingToServe(GwctlError):  # noqa: N818 - what is shown is the text
    """Neither an application nor a file was named, and there is none here."""

    exit_status = ExitStatus.SETTINGS


class SettingsCommand(click.Command):
    """Tells who comes from another server what its option is called here."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        words = list(args)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            ours = {
                name: _follows(parameter)
                for parameter in self.params
                for name in parameter.opts
                if name[:1] == "-"
            }
            if "--set" in ours:
                _tell_all(ctx, words, {**ours, "-h": "nothing", "--help": "nothing"})
            hint = hints.for_flag(error.option_name, ours)
            if not hint:
                raise
            raise click.UsageError(f"no such option {error.option_name!r}. {hint}", ctx) from None


def _follows(parameter: click.Parameter) -> Literal["value", "nothing"]:
    return "nothing" if isinstance(parameter, click.Option) and parameter.is_flag else "value"


def _tell_all(ctx: click.Context, words: list[str], ours: dict[str, Literal["value", "nothing"]]) -> None:
    """Say what is right for all options of other servers at once, and the whole command line."""
    from gwctl.config.foreign.corrected import corrected  # noqa: PLC0415 - for a mistake only

    found = corrected(words, ours)
    if found is None:
        return
    raise click.UsageError(found.shown(ctx.command_path), ctx)


def settings_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add what says where settings come from: ``[APP] -c FILE --set KEY=VALUE``."""
    options = (
        click.argument("app", required=False),
        click.option(
            "-c",
            "--config",
            "file",
            type=click.Path(path_type=Path, readable=False),
            metavar="FILE",
            help="Settings file; without APP the default is gw.toml in this folder.",
        ),
        click.option(
            "--set",
            "settings",
            multiple=True,
            metavar="KEY=VALUE",
            help="Set anything, as in --set timeouts.drain_timeout_s=10; may be repeated.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def reader(
    app: str | None, file: Path | None, overrides: list[Override], *, elsewhere: bool = False
) -> Reader:
    """Fix where settings come from: all of the environment and working directory as they are now.

    ``elsewhere``: they are for another machine, see `load`.

    Raises:
        NothingToServe: With what to do.
        FolderGoneError: There is no working directory any more.
    """
    cwd = logical_cwd(os.environ)
    environ = dict(os.environ)
    names_app = "GWCTL_APP" in environ or any(override.key.endswith("app") for override in overrides)
    if file is None and app is None:
        if paths.exists(cwd / DEFAULT_FILE) or not os.access(cwd, os.X_OK):
            file = Path(DEFAULT_FILE)  # where nobody may look, reading it says so
        elif not names_app:
            raise NothingToServe(
                f"there is no {DEFAULT_FILE} here and no application was named.\n"
                "  gwctl start module:application    serves one without a file\n"
                "  gwctl init                        writes a gw.toml for what is in this folder\n"
                "  gwctl start -c FILE               reads another file"
            )
    return functools.partial(
        load, file, app=app, overrides=overrides, environ=environ, cwd=cwd, elsewhere=elsewhere
    )


def read(
    read_settings: Reader, ending: str = "", on_error: Callable[[ConfigError], None] | None = None
) -> Loaded:
    """Read settings, or end the command with all that is wrong and a count, after calling ``on_error``."""
    try:
        return read_settings()
    except ConfigError as error:
        if on_error is not None:
            on_error(error)
        click.echo(str(error), err=True)
        click.echo(f"{count(len(error.problems))}{ending}", err=True)
        raise SystemExit(int(error.exit_status)) from None


def set_overrides(settings: tuple[str, ...]) -> list[Override]:
    """Understand the arguments of ``--set``."""
    return [Override.parse(text) for text in settings]
