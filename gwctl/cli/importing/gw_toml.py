"""What was imported, as a gw.toml: each line with what it came from, and what has no counterpart as comments.

It passes `gwctl check` but for what is not on this machine (files, users): a value that gwctl would refuse
is written as a comment, with the reason.
"""

from __future__ import annotations

import re
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from gwctl.config import load, schema, toml_writer
from gwctl.config.foreign.translation import Left, Line, Translation, flag_of, pool_first
from gwctl.config.model.settings import PoolSettings, Settings
from gwctl.config.problems import ConfigError, Problem

PLACEHOLDER: Final = "module:application"
"""Stands for an application that nobody has named."""
_WIDTH: Final = 110
_COLUMN: Final = 44
_ROUNDS_MAX: Final = 12
_SPECIFIER: Final = re.compile(r"\$\{(%[A-Za-z])\}")
"""As systemd has it, marked as something that is known at start only."""


class Written(Struct):
    """The text, and what to tell of it."""

    text: str
    settings: int
    left: list[Left]
    """What has no counterpart, of all pools and of none."""
    hooks: list[Left]
    problems: list[str]
    """What could not be made right."""
    names_application: bool
    """False: somebody has to write its name into the file."""


def made(shown: str, pools: dict[str, Translation], left: list[Left]) -> Written:
    """Make the text, and have it be right: what is refused becomes a comment."""
    _apart(pools)
    text, problems = "", list[Problem]()
    for _ in range(_ROUNDS_MAX):
        rows = list(_rows(shown, pools, left))
        text = "\n".join(row for row, _pool, _line in rows) + "\n"
        text = _SPECIFIER.sub(r"\1", text)
        problems = refused(text)
        if not any(_drop(problem, rows, pools) for problem in problems):
            break
    found = pools.values()
    return Written(
        text,
        sum(len(pool.lines) for pool in found),
        [*(each for pool in found for each in pool.left), *left],
        [each for pool in found for each in pool.hooks],
        [str(problem) for problem in problems],
        all(pool.lines["app"].value != PLACEHOLDER for pool in found if "app" in pool.lines),
    )


def refused(text: str) -> list[Problem]:
    """What gwctl would say of it, files and users that are not on this machine apart."""
    with tempfile.TemporaryDirectory(prefix="gwctl-import-") as folder:
        path = Path(folder) / "gw.toml"
        path.write_text(text, "utf-8")
        try:
            load.load(path, environ={}, cwd=Path(folder), elsewhere=True)
        except ConfigError as error:
            return list(error.problems)
    return []


def _apart(pools: dict[str, Translation]) -> None:
    """Settings of the whole server stand once: with the first pool that says them."""
    seen: set[str] = set()
    for pool in pools.values():
        for setting in [each for each in pool.lines if not pool_first(each)]:
            if setting in seen:
                del pool.lines[setting]
            seen.add(setting)


def _drop(problem: Problem, rows: list[tuple[str, str, Line | None]], pools: dict[str, Translation]) -> bool:
    """Make a comment of the setting that a problem is of; False: it is of none."""
    if not 0 < problem.line <= len(rows):
        return False
    _row, name, line = rows[problem.line - 1]
    pool = pools.get(name)
    if line is None or pool is None or line.setting not in pool.lines or line.setting == "app":
        return False
    del pool.lines[line.setting]
    reason = f"{problem.reason}. {problem.hint}" if problem.hint else problem.reason
    said = f"{line.setting} = {toml_writer.shown(line.value)}"
    pool.left.append(Left("; ".join(line.origins) or said, f"{said}: {reason}"))
    return True


# ---- the text: rows with the pool and the line that each is of


def _rows(
    shown: str, pools: dict[str, Translation], left: list[Left]
) -> Iterator[tuple[str, str, Line | None]]:
    yield from _plain(_comment(f"Imported from {shown}. Behind each setting stands what it came from."))
    yield from _plain(
        [
            "#",
            "#   gwctl check     says whether it is right; with --app, whether the application is found",
        ]
    )
    yield from _plain(["#   gwctl start     serves it"])
    for table in ("master",):
        yield from _table(table, pools)
    for name, pool in pools.items():
        yield from _pool(name, pool)
    for table in (each for each in schema.settings_of(Settings) if each not in {"pool", "master"}):
        yield from _table(table, pools)
    if left:
        yield from _plain(["", *_comment("Not of the pools:")])
        yield from _plain(_entries(left))


def _plain(rows: list[str] | Iterator[str]) -> Iterator[tuple[str, str, Line | None]]:
    for row in rows:
        yield row, "", None


def _table(table: str, pools: dict[str, Translation]) -> Iterator[tuple[str, str, Line | None]]:
    found = [
        (name, line)
        for name, pool in pools.items()
        for setting, line in pool.lines.items()
        if setting.startswith(f"{table}.")
    ]
    if not found:
        return
    yield from _plain(["", f"[{table}]"])
    for name, line in found:
        yield from _setting(line.setting.partition(".")[2], line, name)


def _pool(name: str, pool: Translation) -> Iterator[tuple[str, str, Line | None]]:
    yield from _plain(["", f"[pool.{toml_writer.key(name)}]"])
    order = list(schema.settings_of(PoolSettings))
    ours = {setting: line for setting, line in pool.lines.items() if pool_first(setting)}
    here = sorted((each for each in ours if "." not in each and each != "env"), key=order.index)
    for setting in here:
        yield from _setting(setting, ours[setting], name)
    yield from _notes(pool)
    tables = dict.fromkeys(
        each.partition(".")[0] for each in sorted(ours, key=lambda s: order.index(s.partition(".")[0]))
    )
    if "env" in ours:
        yield from _plain(["", f"[pool.{toml_writer.key(name)}.env]"])
        line = ours["env"]
        for variable, value in line.value.items():
            origins = [each for each in line.origins if variable in each] or line.origins
            yield from _setting(toml_writer.key(variable), Line("env", value, origins, line.note), name)
    for table in (each for each in tables if any(setting.startswith(f"{each}.") for setting in ours)):
        yield from _plain(["", f"[pool.{toml_writer.key(name)}.{table}]"])
        for setting in (each for each in ours if each.startswith(f"{table}.")):
            yield from _setting(setting.partition(".")[2], ours[setting], name)


def _setting(name: str, line: Line, pool: str) -> Iterator[tuple[str, str, Line | None]]:
    said = f"{name} = {_value(line.value)}"
    why = printable("; ".join([*line.origins, *filter(None, [line.note])]))
    if max(len(said), _COLUMN) + len(why) + 4 <= _WIDTH or not why:
        yield (f"{said:<{_COLUMN}}  # {why}" if why else said), pool, line
        return
    for row in _comment(why):
        yield row, pool, line
    yield said, pool, line


def _value(value: Any) -> str:
    return toml_writer.number(value) if isinstance(value, float) else toml_writer.value(value)


def _notes(pool: Translation) -> Iterator[tuple[str, str, Line | None]]:
    if pool.at_start:
        yield from _plain(
            ["", *_comment("Known at start only: say it there"), f"#   {started_with(pool.at_start)}"]
        )
    if pool.left:
        yield from _plain(["", *_comment("Without a counterpart, or not to be written here:")])
        yield from _plain(_entries(pool.left))
    if pool.hooks:
        yield from _plain(["", *_comment("Functions that gunicorn called, and where their work goes:")])
        yield from _plain(_entries(pool.hooks))


def started_with(lines: list[Line]) -> str:
    """Write the command that says these settings, variables as they are."""
    words = ["gwctl start"]
    for line in lines:
        for value in line.value if isinstance(line.value, list) else [line.value]:
            flag = flag_of(line.setting)
            words.append(f'{flag} "{value}"' if flag else f'--set {line.setting}="{value}"')
    return printable(" ".join(words))


def _entries(entries: list[Left]) -> Iterator[str]:
    for entry in dict.fromkeys(entries):
        origin = printable(entry.origin)
        yield from textwrap.wrap(origin, _WIDTH - 4, initial_indent="#   ", subsequent_indent="#     ")
        reason = printable(entry.reason)
        yield from textwrap.wrap(reason, _WIDTH - 8, initial_indent="#       ", subsequent_indent="#       ")


def _comment(text: str) -> list[str]:
    return textwrap.wrap(
        " ".join(printable(text).split()), _WIDTH - 2, initial_indent="# ", subsequent_indent="# "
    )


def printable(text: str) -> str:
    """Nothing in a comment ends its line, or steers a terminal."""
    return "".join(each if each.isprintable() else " " for each in text)
