"""``gwctl import``: a gw.toml of what another server was told."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path
from typing import Any, Final

import click

from gwctl.cli.folder import logical_cwd
from gwctl.cli.importing import gw_toml, pools, sources
from gwctl.cli.importing.found import NotImported, Source
from gwctl.config.load import load
from gwctl.config.problems import ConfigError, count
from gwctl.errors import GwctlError

_COMMAND: Final = "gwctl.import.command"


class NotWritten(GwctlError):  # noqa: N818 - what is shown is the text
    """The file is there already, or cannot be written."""


class _ImportCommand(click.Command):
    """Leaves what stands behind ``--`` as it is: another server's command line."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ours, theirs = (
            (args[: args.index("--")], args[args.index("--") + 1 :]) if "--" in args else (args, [])
        )
        ctx.meta[_COMMAND] = theirs
        return super().parse_args(ctx, ours)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return [*super().collect_usage_pieces(ctx), "[-- COMMAND]"]


@click.command("import", cls=_ImportCommand, short_help="Print a gw.toml for what another server was told.")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option(
    "--from",
    "kind",
    type=click.Choice(sources.KINDS),
    metavar="KIND",
    help=f"What FILE is, where its name and content do not say it: {', '.join(sources.KINDS)}.",
)
@click.option("--app", metavar="APP", default="", help="The application, where FILE does not name it.")
@click.option(
    "--entry",
    metavar="NAME",
    default="",
    help="Which process of a Procfile, which service of a compose file.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write it there instead of printing it.",
)
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@click.pass_context
def import_(
    ctx: click.Context, /, file: Path | None, output: Path | None, *, force: bool, **chosen: Any
) -> None:
    """Print a gw.toml for what another server was told, in FILE or on its command line.

    \b
    gwctl import gunicorn.conf.py --app shop.wsgi
    gwctl import -- gunicorn -c conf.py -w 4 shop.wsgi
    gwctl import -- uvicorn main:app --host 0.0.0.0 --port 80 --workers 4
    gwctl import /etc/systemd/system/shop.service -o gw.toml
    gwctl import compose.yaml --entry web

    FILE is a gunicorn.conf.py, hypercorn's TOML, an ini, YAML or JSON of uWSGI, a systemd unit, a Procfile, a
    Dockerfile, a compose file, a script of the shell's, the JSON of NGINX Unit, or a file of variables
    (UVICORN_, GRANIAN_, GUNICORN_CMD_ARGS). COMMAND is one of gunicorn, uvicorn, fastapi, hypercorn,
    granian, daphne, waitress-serve and uwsgi.

    Behind each line stands what it came from. What has no counterpart is listed as comments, with what to
    do instead; so are hooks, with where their work goes. docs/migrating.md has all options.

    A gunicorn.conf.py is Python: it is run, in a child process, as gunicorn runs it. Nothing else is run.
    """  # noqa: D301 - \b is click's mark for lines to leave as they are
    command = ctx.meta[_COMMAND]
    try:
        source = _source(file, command, chosen)
        found = {name: pools.pool_of(each, chosen["app"]) for name, each in source.pools.items()}
    except RecursionError:  # of any of the readers: no server's settings have hundreds of levels
        raise NotImported(f"{file or 'what is named'} is nested too deeply") from None
    try:
        written = gw_toml.made(source.shown, found, source.left)
    except OSError as error:
        raise NotWritten(f"cannot check it in a temporary folder: {error.strerror}") from None
    for problem in written.problems:
        click.echo(problem.replace("gw.toml", "import", 1), err=True)
    if output is None:
        click.echo(written.text, nl=False)
    else:
        _write(output, written.text, force=force)
        click.echo(f"{source.shown}: {_counts(written)} -> {output}")
        for each in dict.fromkeys([*written.left, *written.hooks]):
            click.echo(f"  {gw_toml.printable(each.origin)}: {gw_toml.printable(each.reason)}")
        _check(output, written)


def _source(file: Path | None, command: list[str], chosen: dict[str, Any]) -> Source:
    cwd = logical_cwd(os.environ)
    if file is not None and command:
        raise click.UsageError("name a file, or a command behind --: not both")
    if command:
        return sources.of_command(command, cwd, os.environ)
    if file is None:
        here = sources.in_folder(cwd)
        names = "".join(f"\n  gwctl import {name}" for name in here) or (
            "\n  gwctl import FILE\n  gwctl import -- gunicorn shop.wsgi"
        )
        raise NotImported(f"nothing is named to import from.{' There is' if here else ' Write'}{names}")
    return sources.of_file(
        cwd / file, str(file), os.environ, kind=chosen["kind"] or "", entry=chosen["entry"], app=chosen["app"]
    )


def _counts(written: gw_toml.Written) -> str:
    parts = [f"{written.settings} setting{'s' * (written.settings != 1)}"]
    if written.left:
        parts.append(f"{len(written.left)} without a counterpart")
    if written.hooks:
        parts.append(f"{len(written.hooks)} hook{'s' * (len(written.hooks) != 1)}")
    return ", ".join(parts)


def _write(path: Path, text: str, *, force: bool) -> None:
    target = logical_cwd(os.environ) / path
    try:
        if force and target.is_file():
            _replace(target.resolve(), text)
        else:
            with target.open("w" if force else "x", encoding="utf-8") as file:
                file.write(text)
    except FileExistsError:
        raise NotWritten(f"{path} is there already; --force replaces it") from None
    except OSError as error:
        raise NotWritten(f"cannot write {path}: {error.strerror}") from None


def _replace(target: Path, text: str) -> None:
    """Have what is there stay until all of the new one is on the disk."""
    fd, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    new = Path(name)
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(text)
        new.chmod(stat.S_IMODE(target.stat().st_mode))
        new.replace(target)
    except BaseException:
        new.unlink(missing_ok=True)
        raise


def _check(path: Path, written: gw_toml.Written) -> None:
    """What `gwctl check` would say of it on this machine."""
    cwd = logical_cwd(os.environ)
    try:
        load(path, environ={}, cwd=cwd)
    except ConfigError as error:
        click.echo(str(error), err=True)
        click.echo(f"check: {count(len(error.problems))} to see to before it can be started", err=True)
        return
    start = "gwctl start" if path.name == "gw.toml" and path.parent == Path() else f"gwctl start -c {path}"
    if written.names_application:
        click.echo(f"check: no problems. Try it:  {start}")
    else:
        click.echo(f"no application is named: write its name into {path}, or give --app; then {start}")
