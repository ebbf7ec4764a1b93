"""What commands for a running master have in common: which one is meant, how they answer and fail."""

from __future__ import annotations

import functools
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import click

from gwctl.cli.folder import logical_cwd
from gwctl.control.client import ControlClient, RefusedError
from gwctl.control.discovery import find
from gwctl.errors import ExitStatus, GwctlError
from gwctl.log.text_lines import escaped


def control_socket(config: Path | None, name: str | None, control: Path | None) -> Path:
    """Return the path of its control socket.

    Raises:
        GwctlError: There is none, or several, or no folder to look from.
    """
    elsewhere = control or name or (config is not None and config.is_absolute())
    return find(
        name=name,
        config=config,
        control=control,
        environ=os.environ,
        uid=os.geteuid(),
        cwd=Path("/") if elsewhere else logical_cwd(os.environ),
    )


def which_master(
    command: Callable[..., None],
    config_help: str = "The master that was started with this file.",
    json_help: str = "Write one JSON object.",
) -> Callable[..., None]:
    """Add the options that say which master is meant, as `control_socket` takes them, and --json."""
    a_path = click.Path(path_type=Path, readable=False)
    for option in (
        click.option("--json", "as_json", is_flag=True, help=json_help),
        click.option("--control", type=a_path, help="The master at this control socket."),
        click.option("--name", help="The master of this name."),
        click.option("-c", "--config", type=a_path, help=config_help),
    ):
        command = option(command)
    return command


def targeted(
    command: Callable[..., None], json_help: str = "Write one JSON object.", indent: int | None = 2
) -> Callable[..., None]:
    """Add the options that say which master, and open the connection; report errors.

    ``indent`` is that of an error in JSON; None: all of it on one line.
    """

    @functools.partial(which_master, json_help=json_help)
    @functools.wraps(command)
    def run(
        config: Path | None, name: str | None, control: Path | None, *, as_json: bool, **arguments: Any
    ) -> None:
        try:
            with ControlClient(control_socket(config, name, control)) as client:
                command(client, as_json=as_json, **arguments)
        except RefusedError as error:
            fail(error, error.data, indent, as_json=as_json)
        except GwctlError as error:
            fail(error, {}, indent, as_json=as_json)

    return run


def worker_name(_ctx: click.Context, _param: click.Parameter, value: str) -> str:
    """``web``, or ``web.2``; empty only where it may be."""
    if value and not re.fullmatch(r"[^.]{1,64}(\.[0-9]{1,4})?", value):
        raise click.BadParameter(f"{value!r} names no worker: write a pool, or one of it, as in web or web.2")
    return value


def fail(error: GwctlError, data: dict[str, Any], indent: int | None, *, as_json: bool) -> None:
    if as_json:
        write_json({"ok": False, "text": str(error)} | data, indent)
    else:
        click.echo(escaped(str(error)), err=True)  # it may have a traceback in it
    raise SystemExit(int(error.exit_status))


def interrupted(text: str, *, as_json: bool) -> NoReturn:
    if as_json:
        write_json({"ok": False, "text": text})
    else:
        click.echo(text, err=True)
    raise SystemExit(int(ExitStatus.INTERRUPTED)) from None


def succeed(result: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        write_json({"ok": True} | result)
    else:
        click.echo(escaped(result.get("text", "")))  # names of threads, say, are an application's


def write_json(document: dict[str, Any], indent: int | None = 2) -> None:
    click.echo(json.dumps(document, indent=indent))
