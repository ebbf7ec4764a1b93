"""Which part of what has happened is shown: what ``gwctl events`` and ``gwctl logs`` have in common."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

import click

FOLLOWED_AFTER: Final = 10
"""So many before those that are followed give a beginning to what comes."""
_UNITS_S: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_SPAN_MAX_S: Final = 3.2e9
"""A hundred years: longer ago is before all that there is, and no date to a computer."""


def span(_ctx: click.Context, _param: click.Parameter, value: str | None) -> float | None:
    """``90``, ``90s``, ``10m``, ``2h`` or ``1d``, in seconds."""
    if value is None:
        return None
    found = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)([smhd]?)", value)
    if found is None:
        raise click.BadParameter(f"{value!r} is not a time: write 90s, 10m, 2h or 1d")
    return min(float(found[1]) * _UNITS_S[found[2]], _SPAN_MAX_S)


def excerpt(follow_help: str, last_default: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add --follow, --since and --last."""

    def add(command: Callable[..., None]) -> Callable[..., None]:
        options: list[Callable[[Any], Any]] = [
            click.option("-f", "--follow", is_flag=True, help=f"{follow_help}, until Ctrl-C."),
            click.option("--since", metavar="TIME", callback=span, help="Only the last 90s, 10m, 2h or 1d."),
            click.option(
                "-n",
                "--last",
                type=click.IntRange(min=0),
                metavar="N",
                help=f"Only the last N; default {last_default}.",
            ),
        ]
        for option in reversed(options):
            command = option(command)
        return command

    return add
