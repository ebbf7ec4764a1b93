"""``gwctl unit``: write systemd units for a gw.toml."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import click

from gwctl.cli.options import DEFAULT_FILE, SettingsCommand, read, reader, set_overrides
from gwctl.cli.unit.needs import Needs, needs_of
from gwctl.cli.unit.service import Wanted, service, unit_name
from gwctl.cli.unit.socket_unit import Opened, UnitError, opened, socket_units
from gwctl.cli.unit.unit_file import Directive, rendered
from gwctl.config.load import Loaded


@click.command(cls=SettingsCommand, short_help="Write a systemd unit for a gw.toml.")
@click.option(
    "-c",
    "--config",
    "file",
    type=click.Path(path_type=Path, readable=False),
    metavar="FILE",
    default="gw.toml",
    help="The settings; the default is gw.toml in this folder.",
)
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="As for gwctl start.")
@click.option("--socket", "with_socket", is_flag=True, help="And a socket unit, which opens what is bound.")
@click.option(
    "--listen", multiple=True, metavar="NAME=ADDRESS", help="Where systemd:NAME listens; for --socket."
)
@click.option("--user", "of_user", is_flag=True, help="For systemctl --user.")
@click.option("--template", is_flag=True, help="gwctl@.service: one unit for many folders beside this one.")
@click.option("--notify-reload", is_flag=True, help="Type=notify-reload: systemd does not learn the outcome.")
@click.option("--run-as", metavar="USER", default="", help="Instead of a user that systemd makes up.")
@click.option("--explain", is_flag=True, help="Say above each line what it is for.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Write the files there instead of printing them.",
)
def unit(
    file: Path,
    settings: tuple[str, ...],
    listen: tuple[str, ...],
    run_as: str,
    output: Path | None,
    *,
    with_socket: bool,
    of_user: bool,
    template: bool,
    notify_reload: bool,
    explain: bool,
) -> None:
    """Write a systemd unit for a gw.toml: times, limits and folders from the settings, and a sandbox.

    \b
    gwctl unit -c /srv/shop/gw.toml
    gwctl unit -c /srv/shop/gw.toml -o /etc/systemd/system && systemctl daemon-reload
    gwctl unit --explain | less

    What it does not know, change with `systemctl edit`. `gwctl check --unit FILE` says where a unit that
    is there contradicts the settings.
    """  # noqa: D301 - \b is click's mark for lines to leave as they are
    loaded = read(reader(None, file, set_overrides(settings)))
    needs = needs_here(loaded, pools_bind=not with_socket)
    wanted = Wanted(of_user, template, notify_reload, user=run_as)
    if listen and not with_socket:
        raise UnitError("--listen is about the socket unit: add --socket")
    if with_socket and template:
        raise UnitError("each instance of a template would listen on the same addresses: leave --socket out")
    sockets = opened(loaded.settings, listen) if with_socket else []
    units = units_for(needs, wanted, sockets)
    texts = {name: rendered(directives, explain=explain) for name, directives in units.items()}
    if output is None:
        folder = "~/.config/systemd/user" if of_user else "/etc/systemd/system"
        click.echo("\n".join(f"# {folder}/{name}\n{text}" for name, text in texts.items()), nl=False)
    else:
        _write(output, texts)
    for each in sockets:
        if each.bound:
            click.echo(f'gw.toml: set bind = ["{each.bound}"] in [pool.{each.pool}]', err=True)


def units_for(needs: Needs, wanted: Wanted, sockets: list[Opened]) -> dict[str, list[Directive]]:
    """All units, by the names of their files."""
    name = f"{unit_name(needs, wanted)}.service"
    of_sockets = socket_units(needs, wanted, sockets) if sockets else {}
    named = tuple(of_sockets) or ((f"{unit_name(needs, wanted)}.socket",) if needs.sockets else ())
    return {name: service(needs, wanted.with_sockets(named)), **of_sockets}


def needs_here(loaded: Loaded, *, pools_bind: bool = True) -> Needs:
    """Those of ``loaded``, started by this gwctl; see `needs_of`."""
    config = loaded.path or Path.cwd() / DEFAULT_FILE
    return needs_of(loaded, config, program(), Path(sys.executable).resolve(), pools_bind=pools_bind)


def program() -> tuple[str, ...]:
    """How this very gwctl is called."""
    beside = Path(sys.executable).parent / "gwctl"
    if beside.is_file():
        return (str(beside),)
    found = shutil.which("gwctl")
    return (found,) if found else (sys.executable, "-m", "gwctl")


def _write(folder: Path, texts: dict[str, str]) -> None:
    for name, text in texts.items():
        path = folder / name
        try:
            path.write_text(text, "utf-8")
        except OSError as error:
            raise UnitError(f"cannot write {path}: {error.strerror}") from None
        click.echo(f"wrote {path}")
