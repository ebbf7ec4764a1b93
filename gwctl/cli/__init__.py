"""The ``gwctl`` command: one group, whose commands are imported when they are called.

``gwctl check`` must not pay for what ``gwctl status`` needs, and a command that cannot be
imported must not take the others with it. Whatever a person can mend is a `GwctlError`: its
text goes to stderr without a stack, its exit status is the command's.
"""

from __future__ import annotations

import importlib
from typing import Any, Final

import click

from gwctl import __version__
from gwctl.errors import GwctlError

COMMANDS: Final = {
    "start": "gwctl.cli.start:start",
    "reload": "gwctl.cli.control_commands:reload",
    "status": "gwctl.cli.control_commands:status",
    "scale": "gwctl.cli.control_commands:scale",
    "stop": "gwctl.cli.control_commands:stop",
    "check": "gwctl.cli.settings_commands:check",
    "config": "gwctl.cli.settings_commands:config",
    "init": "gwctl.cli.settings_commands:init",
}
"""Name of each command, in the order of the help, and where it is."""


class LazyGroup(click.Group):
    """Looks commands up in `COMMANDS`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except GwctlError as error:
            click.echo(str(error), err=True)
            ctx.exit(int(error.exit_status))


@click.group(
    cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, message="%(prog)s %(version)s")
def cli() -> None:
    """Serve Python web applications from supervised worker processes.

    \b
    gwctl start shop.wsgi     serves an application without a file
    gwctl init                writes a gw.toml for what is in this folder
    gwctl start               serves what gw.toml says
    """  # noqa: D301 - \b is click's mark for lines to leave alone


def main() -> None:
    """Run the command line; ends the process with its exit status."""
    cli(prog_name="gwctl")
