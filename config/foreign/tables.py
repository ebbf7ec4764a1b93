"""The tables of docs/migrating.md, made from what ``gwctl import`` goes by.

    python -m gwctl.config.foreign.tables docs/migrating.md

writes each table between its marks, ``<!-- table: gunicorn -->`` and ``<!-- end -->``, and leaves the rest alone.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from gwctl.config.foreign import gunicorn, nginx_unit, others, uvicorn, uwsgi
from gwctl.config.foreign.option import Option

_MARKED: Final = re.compile(r"(<!-- table: ([\w -]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_TABLES: Final = {
    "gunicorn": tuple(option for option in gunicorn.OPTIONS if not option.hook),
    "gunicorn hooks": tuple(option for option in gunicorn.OPTIONS if option.hook),
    "uvicorn": uvicorn.OPTIONS,
    "hypercorn": others.HYPERCORN.options,
    "granian": others.GRANIAN.options,
    "daphne": others.DAPHNE.options,
    "waitress": others.WAITRESS.options,
    "uwsgi": uwsgi.OPTIONS,
    "nginx unit": nginx_unit.OPTIONS,
}


def written(page: str) -> str:
    """Put the tables of now into the page; raises KeyError for a mark of none."""
    return _MARKED.sub(lambda found: f"{found[1]}\n{table(_TABLES[found[2]])}\n{found[3]}", page)


def table(options: Iterable[Option]) -> str:
    """A row for each option, in one for those that are switched on and off."""
    options = list(options)
    heads = ("Hook", "Where its work goes") if options[0].hook else ("There", "Here")
    merged: dict[str, Option] = {}
    flags: dict[str, list[str]] = {}
    for option in options:
        merged.setdefault(option.name, option)
        flags.setdefault(option.name, []).extend(option.flags)
    rows = [f"| {heads[0]} | {heads[1]} |", "|---|---|"]
    rows += [f"| {_there(option, flags[name])} | {_here(option)} |" for name, option in merged.items()]
    return "\n".join(rows) + "\n"


def _there(option: Option, flags: list[str]) -> str:
    names = [f"`{flag}`" for flag in flags]
    bare = option.name.replace("_", "-")
    if f"--{bare}" not in flags and f"--{option.name}" not in flags:
        names.insert(0, f"`{option.name}`")
    if option.variable:
        names.append(f"`${option.variable}`")
    return " ".join(names)


def _here(option: Option) -> str:
    if not option.target:
        return _cell(f"{option.told}.")
    return _cell(f"`{option.target}`" + (f": {option.told}" if option.told else ""))


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.write_text(written(target.read_text("utf-8")), "utf-8")
