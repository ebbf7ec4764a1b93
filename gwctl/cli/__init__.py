"""The ``gwctl`` command: one group, whose commands are imported when they are called.

``gwctl check`` must not pay for what ``gwctl status`` needs. Whatever a person can mend is a
`GwctlError`: its text goes to stderr without a stack, its exit status is the command's.

Imported by `__main__`, `cli.top`, `cli.doctor`, `cli.unit`, `cli.kubernetes`, `cli.logs`, `cli.importing`.
Knows nothing of `workers`, `ipc`, `records`, `supervisor.core`, `asyncio`, `threading`: a command
starts a master or asks one.
"""

from __future__ import annotations

import os
import signal
from typing import Any, Final

import click

from gwctl import build
from gwctl.cli import output
from gwctl.errors import ExitStatus, GwctlError

COMMANDS: Final = (
    "start",
    "reload",
    "rollback",
    "restart",
    "upgrade",
    "status",
    "top",
    "events",
    "logs",
    "requests",
    "dump",
    "profile",
    "log-level",
    "scale",
    "recycle",
    "stop",
    "check",
    "doctor",
    "unit",
    "kubernetes",
    "config",
    "init",
    "import",
    "completion",
)
"""In the order of the help."""

# \b is click's mark for lines to leave as they are.
_HELP: Final = """Serve Python web applications from supervised worker processes.

\b
gwctl start shop.wsgi     serves an application without a file
gwctl init                writes a gw.toml for what is in this folder
gwctl start               serves what gw.toml says
"""


class LazyGroup(click.Group):
    """Knows the names of its commands, and imports the module of the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        match cmd_name:
            case "start":
                from gwctl.cli.start import start  # noqa: PLC0415 - see the module

                return start
            case "completion":
                from gwctl.cli.completion import completion  # noqa: PLC0415

                return completion
            case "check" | "config" | "init":
                from gwctl.cli import settings_commands  # noqa: PLC0415

                settings: click.Command = getattr(settings_commands, cmd_name)
                return settings
            case "doctor":
                from gwctl.cli.doctor.command import doctor  # noqa: PLC0415

                return doctor
            case "unit":
                from gwctl.cli.unit.command import unit  # noqa: PLC0415

                return unit
            case "kubernetes":
                from gwctl.cli.kubernetes.command import kubernetes  # noqa: PLC0415

                return kubernetes
            case "import":
                from gwctl.cli.importing.command import import_  # noqa: PLC0415

                _let_interrupt()  # it may have a child, which ends with it
                return import_
            case "logs":
                from gwctl.cli.logs.command import logs  # noqa: PLC0415

                _let_interrupt()
                return logs
            case "top":
                from gwctl.cli.top.command import top  # noqa: PLC0415

                _let_interrupt()
                return top
            case "profile":
                from gwctl.cli.profile_command import profile  # noqa: PLC0415

                _let_interrupt()
                return profile
            case _ if cmd_name in COMMANDS:
                from gwctl.cli import control_commands  # noqa: PLC0415

                _let_interrupt()
                control: click.Command = getattr(control_commands, cmd_name.replace("-", "_"))
                return control
        return None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from gwctl.config import foreign_names, hints  # noqa: PLC0415 - for a mistake only

            near = foreign_names.COMMANDS.get(args[0].lower()) or hints.nearest(args[0], COMMANDS)
            if near is None and any(mark in args[0] for mark in ".:"):
                near = f"start {args[0]}"
            hint = f" Did you mean gwctl {near}?" if near else ""
            ctx.fail(f"there is no command {args[0]!r}.{hint}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except GwctlError as error:
            click.echo(str(error), err=True)
            ctx.exit(int(error.exit_status))
        except KeyboardInterrupt:  # where a command has nothing to say about it
            ctx.exit(int(ExitStatus.INTERRUPTED))


def _let_interrupt() -> None:
    """Have Ctrl-C raise KeyboardInterrupt, unless whoever started this command ignores it."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _show_version(context: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        click.echo(build.description())
        context.exit()


@click.group(
    cls=LazyGroup,
    help=_HELP,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Version and build.",
)
def cli() -> None:
    """The group; its commands do the work."""


def main() -> None:
    """Run the command line; ends the process with its exit status."""
    _be_mortal()
    output.run(lambda: cli(prog_name="gwctl"))


def _be_mortal() -> None:
    """Let TERM and QUIT end a command that is pid 1 of a container, for which they have no default action.

    A master has its own handlers when it is about to start something.
    """
    if os.getpid() == 1:
        for number in (signal.SIGTERM, signal.SIGQUIT):
            signal.signal(number, lambda number, _frame: os._exit(128 + number))
