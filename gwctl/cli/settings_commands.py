"""Commands about settings that start nothing: ``check``, ``config show``, ``config schema``, ``init``.

``config diff``, which asks a running master, is in `gwctl.cli.config_diff`.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import click
from msgspec.structs import replace

from gwctl.cli.folder import logical_cwd
from gwctl.cli.options import (
    DEFAULT_FILE,
    SettingsCommand,
    read,
    reader,
    set_overrides,
    settings_options,
)
from gwctl.config import show as shown_settings
from gwctl.config.addresses import shown
from gwctl.config.load import Loaded
from gwctl.errors import ExitStatus


@click.command(cls=SettingsCommand)
@settings_options
@click.option("--app", "try_app", is_flag=True, help="Import the applications too, in child processes.")
@click.option(
    "--unit",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="Say where this systemd unit contradicts the settings, too.",
)
def check(
    app: str | None, file: Path | None, settings: tuple[str, ...], unit: Path | None, *, try_app: bool
) -> None:
    """Say whether the settings are right; start nothing.

    Exit status 2 when they are not, 4 when an application cannot be imported, 1 when a unit
    contradicts them.
    """
    loaded = read(reader(app, file, set_overrides(settings)))
    for warning in loaded.warnings:
        click.echo(f"warning: {warning}", err=True)
    click.echo(_verdict(loaded))
    if try_app and not _try_applications(loaded):
        raise SystemExit(int(ExitStatus.APP_NOT_IMPORTED))
    if unit is not None and not _review(unit, loaded):
        raise SystemExit(int(ExitStatus.FAILED))


def _review(unit: Path, loaded: Loaded) -> bool:
    from gwctl.cli.unit.command import needs_here  # noqa: PLC0415 - only --unit needs them
    from gwctl.cli.unit.review import review  # noqa: PLC0415
    from gwctl.cli.unit.unit_file import parsed, passes  # noqa: PLC0415

    if unit.suffix == ".socket":
        raise click.ClickException(f"{unit} is a socket unit: give the service unit that it belongs to")
    drop_ins = sorted(Path(f"{unit}.d").glob("*.conf"))  # of systemctl edit
    try:
        text = "\n".join(path.read_text("utf-8", "replace") for path in (unit, *drop_ins))
        there = parsed(text)
        named = [unit.parent / each for value in there.all("Sockets") for each in value.split()]
        beside = [each for each in (unit.with_suffix(".socket"), *named) if each.is_file()]
        passed = [passes(each.name, each.read_text("utf-8", "replace")) for each in beside]
    except OSError as error:
        raise click.ClickException(f"cannot read {error.filename}: {error.strerror}") from None
    there = replace(there, has_socket=unit.with_suffix(".socket").is_file(), passed=tuple(passed))
    found = review(there, needs_here(loaded))
    for each in found:
        click.echo(f"{unit.name}: {each}", err=True)
    if not found:
        click.echo(f"{unit.name}: fits the settings")
    return not found


def _verdict(loaded: Loaded) -> str:
    pools = loaded.settings.pool
    summary = "; ".join(
        f"{name} serves {pool.app} on {', '.join(map(shown, pool.bind))}" for name, pool in pools.items()
    )
    return f"{loaded.path or 'settings'}: no problems. {summary}"


def _try_applications(loaded: Loaded) -> bool:
    from gwctl.supervisor.check_app import try_application  # noqa: PLC0415 - only --app needs the supervisor

    results = try_application(loaded.settings)
    for result in results:
        click.echo(f"{result.pool}: {result.message}", err=not result.ok)
        if result.traceback:
            click.echo(result.traceback.rstrip(), err=True)
    return all(result.ok for result in results)


class _Group(click.Group):
    """Imports what speaks with a master only for the command that does."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*super().list_commands(ctx), "diff"]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name == "diff":
            from gwctl.cli.config_diff import diff  # noqa: PLC0415 - see the class

            return diff
        return super().get_command(ctx, cmd_name)


@click.group(cls=_Group)
def config() -> None:
    """Look at the settings."""


@config.command(cls=SettingsCommand)
@settings_options
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object.")
@click.option("--secrets", is_flag=True, help="Show the values of env, too.")
def show(
    app: str | None, file: Path | None, settings: tuple[str, ...], *, as_json: bool, secrets: bool
) -> None:
    """Print the settings in force, and where each came from.

    The output is a gw.toml of its own, with --secrets a complete one.
    """
    loaded = read(reader(app, file, set_overrides(settings)))
    if as_json:
        document = shown_settings.as_json(loaded, secrets=secrets)
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        click.echo(shown_settings.as_toml(loaded, secrets=secrets), nl=False)


@config.command("schema")
def json_schema() -> None:
    """Print the JSON Schema of gw.toml, for editors.

    \b
    gwctl config schema > gw.schema.json
    and as the first line of gw.toml:  #:schema ./gw.schema.json
    """  # noqa: D301 - \b is click's mark for lines to leave as they are
    from gwctl.config.json_schema import json_schema as made  # noqa: PLC0415 - only here

    click.echo(json.dumps(made(), indent=2, ensure_ascii=False))


@click.command()
@click.option(
    "-c",
    "--config",
    "file",
    type=click.Path(path_type=Path, readable=False),
    metavar="FILE",
    help="What to write; else gw.toml.",
)
@click.option("--force", is_flag=True, help="Replace a file that is there.")
def init(file: Path | None, *, force: bool) -> None:
    """Write a commented gw.toml for the application in this folder."""
    from gwctl.config import init_file as initial  # noqa: PLC0415 - reads Python sources: only here

    target = logical_cwd(os.environ) / (file or DEFAULT_FILE)
    written = initial.write(target, force=force)
    click.echo(f"wrote {file or DEFAULT_FILE}: {written.summary}")
    click.echo(f"next: {written.next_step}")
