"""``gwctl completion``: what a shell evaluates so that Tab completes commands, options and names of pools.

The script asks `gwctl` itself, each time Tab is pressed (click does that), so it never gets old.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click
from click.shell_completion import get_completion_class

from gwctl.cli.targeted import control_socket
from gwctl.control.client import ControlClient
from gwctl.control.protocol import Status
from gwctl.errors import GwctlError

SHELLS: Final = ("bash", "zsh", "fish")
_PATIENCE_S: Final = 1.0
"""For a master, of somebody who has pressed Tab."""


@click.command(short_help="Print a completion script for SHELL.")
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print a completion script for SHELL: commands, options, pools and workers.

    \b
    bash   eval "$(gwctl completion bash)"                 in ~/.bashrc
    zsh    eval "$(gwctl completion zsh)"                  in ~/.zshrc, after compinit
    fish   gwctl completion fish > ~/.config/fish/completions/gwctl.fish
    """  # noqa: D301 - \b is click's mark for lines to leave as they are
    kind = get_completion_class(shell)
    assert kind is not None
    maker = kind(click.Command("gwctl"), {}, "gwctl", "_GWCTL_COMPLETE")
    click.echo(maker.source_template % maker.source_vars())


def pool_names(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Those of the master that is meant; none if it cannot be asked."""
    return [pool["name"] for pool in _pools(ctx) if pool["name"].startswith(incomplete)]


def worker_names(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """The same of pools and their workers: ``web``, ``web.0``."""
    names = [name for pool in _pools(ctx) for name in (pool["name"], *_slots(pool))]
    return [name for name in names if name.startswith(incomplete)]


def _slots(pool: dict[str, Any]) -> list[str]:
    return list(dict.fromkeys(f"{pool['name']}.{worker['slot']}" for worker in pool.get("workers", ())))


def _pools(ctx: click.Context) -> list[dict[str, Any]]:
    config, name, control = (ctx.params.get(each) for each in ("config", "name", "control"))
    try:
        path = control_socket(Path(config) if config else None, name, Path(control) if control else None)
        with ControlClient(path) as client:
            document = client.call("status", Status(), timeout_s=_PATIENCE_S)
    except GwctlError:
        return []
    return list(document.get("pools", ()))
