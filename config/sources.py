"""Where settings come from: gw.toml, GWCTL_ variables and the command line, merged, later wins.

Everything ends up in one `Tree` of plain values beside which stands where each came from, so
that a problem found later can be told where it has to be mended.

Names of variables: GWCTL_ and the path of the setting, in capitals, with _ between its parts:

    GWCTL_MASTER_LOG_LEVEL                     master.log_level
    GWCTL_POOL_WEB_PROCESSES                   pool.web.processes
    GWCTL_POOL_WEB_TIMEOUTS_DRAIN_TIMEOUT_S    pool.web.timeouts.drain_timeout_s
    GWCTL_POOL_WEB_ENV_DEBUG                   pool.web.env.DEBUG
    GWCTL_PROCESSES, GWCTL_ENV_DEBUG           the same of the only pool

One that is empty counts as not set. A list is written with commas (GWCTL_BIND=":80,:81").
On the command line ``--set`` takes the path itself, with or without ``pool.NAME``.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path as FilePath
from typing import Any, Final

from msgspec import Struct, field, inspect

from gwctl.config import foreign_names, hints, paths, schema, toml_writer
from gwctl.config.positions import Path, locate
from gwctl.config.problems import COMMAND_LINE, ENVIRONMENT, ConfigError, Problem

PREFIX: Final = "GWCTL_"
NOT_SETTINGS: Final = frozenset({"GWCTL_PARSER"})
"""Variables that choose a part of the program, for tests and measurements (gwctl.workers.http1.parser)."""
DEFAULT_POOL: Final = "web"
"""The pool of an application that is named without a file."""


class Origin(Struct, frozen=True):
    """Where one value came from. ``key`` is what the person wrote there."""

    file: str
    line: int
    key: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.key


class Override(Struct, frozen=True):
    """A value from the command line: ``flag`` is what it was given with."""

    key: str
    """Dotted; without ``pool.NAME`` or ``master`` in front it is of the only pool."""
    value: str | tuple[str, ...]
    flag: str

    @classmethod
    def parse(cls, text: str) -> Override:
        """Understand the argument of ``--set``.

        Raises:
            ConfigError: There is no equals sign.
        """
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            shown = toml_writer.shown(text)
            raise ConfigError([Problem(COMMAND_LINE, 0, "--set", shown, "expected KEY=VALUE")])
        return cls(key.strip(), value.strip(), f"--set {key.strip()}")


class Tree(Struct):
    """Plain values as tomllib returns them, and where they came from."""

    file: str
    """The settings file as the person named it; what problems of missing settings are said of."""
    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[Path, Origin] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def set(self, path: Path, value: Any, origin: Origin) -> None:
        """Put a value over what is there. What is no table where one should be stays, to be told.

        Where a table may be, or a value, a part of the table takes the place of the value.
        """
        table: Any = self.values
        for depth, part in enumerate(path[:-1], 1):
            above, table = table, table.setdefault(part, {})
            if not isinstance(table, dict):
                setting = schema.setting_at(tuple(str(each) for each in path[:depth]))
                if setting is None or setting.otherwise is None:
                    return
                above[part] = table = {}
                self.origins.pop(path[:depth], None)
        table[path[-1]] = value
        for known in [known for known in self.origins if known[: len(path)] == path]:
            del self.origins[known]
        self.origins[path] = origin

    def get(self, path: Path) -> Any:
        """Return the value at a path; None (which TOML does not have) when there is none."""
        value: Any = self.values
        for part in path:
            try:
                value = value[part]
            except (KeyError, IndexError, TypeError):
                return None
        return value

    def origin(self, path: Path) -> Origin:
        """Where a path's value came from; for one that is not there, the nearest table above it."""
        for length in range(len(path), 0, -1):
            found = self.origins.get(path[:length])
            if found is not None:
                is_list = isinstance(self.get(path[:length]), list)
                return found if length == len(path) or is_list or not found.line else _below(found, path)
        return Origin(self.file, 0, toml_writer.dotted(path))

    def complain(self, path: Path, reason: str, hint: str = "", *, show: bool = True) -> None:
        """Add a problem of the value at a path, or of its absence."""
        origin, value = self.origin(path), self.get(path)
        found = toml_writer.shown(value) if show and value is not None else ""
        self.problems.append(Problem(origin.file, origin.line, origin.key, found, reason, hint))

    @property
    def pools(self) -> list[str]:
        """The names of the pools; the one that a start without a file makes when there is none yet."""
        pools = self.values.get("pool")
        return list(pools) if isinstance(pools, dict) and pools else [DEFAULT_POOL]


def _below(origin: Origin, path: Path) -> Origin:
    return Origin(origin.file, origin.line, toml_writer.dotted(path))


# ---- the file


def _without_waiting(path: str, flags: int) -> int:
    """Open ``path``; of a pipe (``-c <(command)``) don't wait for a writer: at a reload there is none."""
    fd = os.open(path, flags | os.O_NONBLOCK)
    os.set_blocking(fd, True)
    return fd


def read_file(path: FilePath, shown: str) -> Tree:
    """Read gw.toml.

    Raises:
        ConfigError: It cannot be read or is not TOML; with the line where that can be told.
    """
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            data = file.read()
    except OSError as error:
        hint = "`gwctl init` writes one" if isinstance(error, FileNotFoundError) else ""
        if isinstance(error, IsADirectoryError):
            hint = _meant_in_folder(path, shown)
        raise _unreadable(shown, 0, f"cannot be read: {error.strerror}", hint) from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _unreadable(shown, line, "is not UTF-8 text") from None
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _not_toml(shown, text, error) from None
    except RecursionError:
        raise _unreadable(shown, 0, "is not TOML that can be read: too deeply nested") from None
    origins = {place: Origin(shown, line, toml_writer.dotted(place)) for place, line in locate(text).items()}
    return Tree(shown, values, origins)


def _meant_in_folder(folder: FilePath, shown: str) -> str:
    if paths.is_file(folder / "gw.toml"):
        return f"Did you mean {shown.rstrip('/')}/gw.toml?"
    return "A file is expected, and there is no gw.toml in that folder"


def _not_toml(shown: str, text: str, error: tomllib.TOMLDecodeError) -> ConfigError:
    """Take apart what tomllib says: ``Invalid value (at line 3, column 5)`` or ``(at end of document)``."""
    reason, _, place = str(error).rpartition(" (at ")
    words = place.rstrip(")").replace(",", "").split()
    line = int(words[1]) if words[:1] == ["line"] else text.rstrip().count("\n") + 1
    lines = text.splitlines()
    hint = ""
    if reason == "Invalid value" and line <= len(lines):
        hint = _quotes_missing(lines[line - 1])
    if shown.endswith((".py", ".ini", ".yaml", ".yml", ".json", ".service")):
        hint = f"Settings of another server? `gwctl import {shown}` makes a gw.toml of them"
    return _unreadable(shown, line, f"is not TOML: {reason[:1].lower()}{reason[1:]}", hint)


def _quotes_missing(line: str) -> str:
    key, equals, value = line.partition("=")
    bare = value.partition("#")[0].strip()
    if not equals or not bare or any(character in bare for character in "\"'[]{}\\"):
        return ""
    return f"Text stands in quotes: {key.strip()} = {toml_writer.text(bare)}"


def _unreadable(shown: str, line: int, reason: str, hint: str = "") -> ConfigError:
    return ConfigError([Problem(shown, line, "", "", reason, hint)])


# ---- the environment


def environment_names(pools: Sequence[str]) -> dict[str, list[Path]]:
    """The variables there are, each with the settings it means: more than one when names of pools clash."""
    names: dict[str, list[Path]] = {}
    for table in schema.TABLES:
        for leaf in schema.table_leaves(table):
            names[_variable(table, *leaf)] = [(table, *leaf)]
    for pool in pools:
        for leaf in schema.pool_leaves():
            names.setdefault(_variable("POOL", pool, *leaf), []).append(("pool", pool, *leaf))
            names.setdefault(_variable(*leaf), []).append(("pool", pool, *leaf))
    return names


def apply_environment(tree: Tree, environ: Mapping[str, str]) -> None:
    """Put the GWCTL_ variables over what is in the tree."""
    pools = tree.pools
    names = environment_names(pools)
    for variable in sorted(environ):
        text = environ[variable]
        if not variable.startswith(PREFIX) or not text or variable in NOT_SETTINGS:
            continue
        origin = Origin(ENVIRONMENT, 0, variable)
        paths = names.get(variable) or _env_entry(variable, pools)
        if len(paths) == 1 and paths[0][2:] != ("env",):
            tree.set(paths[0], from_text(paths[0], text), origin)
        else:
            reason, hint = _no_variable(variable, paths, names)
            tree.problems.append(Problem(ENVIRONMENT, 0, variable, toml_writer.shown(text), reason, hint))


def _variable(*parts: str) -> str:
    return PREFIX + "_".join(parts).upper().replace("-", "_")


def _variable_of(path: Path) -> str:
    parts = [str(part) for part in path]
    return f"{_variable(*parts[:3])}_{parts[3]}" if parts[2:3] == ["env"] else _variable(*parts)


def _env_entry(variable: str, pools: Sequence[str]) -> list[Path]:
    """The entry of ``env`` that a variable means: the name in it keeps its case."""
    found: list[Path] = []
    for pool in pools:
        prefixes = (_variable("POOL", pool, "ENV", ""), _variable("ENV", ""))
        names = [variable.removeprefix(prefix) for prefix in prefixes if variable.startswith(prefix)]
        found += [("pool", pool, "env", name) for name in names if name]
    return found


def _no_variable(
    variable: str, paths: Sequence[Path], names: Mapping[str, Sequence[Path]]
) -> tuple[str, str]:
    if paths and paths[0][2:] == ("env",):
        return "one variable sets one name", f"Write {variable}_NAME"
    if paths:
        several = [_variable_of(path) for path in paths]
        if len(set(several)) < len(several):
            return "means several pools, whose names differ in - and _ only", "Rename one"
        return "there are several pools", f"Write {' or '.join(several[:3])}"
    return "no such setting", _near_variable(variable, names)


def _near_variable(variable: str, names: Mapping[str, Sequence[Path]]) -> str:
    """Find the variable that was meant: a familiar name in our words, one without its table, a near one."""
    sure = [name for name, paths in names.items() if len(paths) == 1]
    plain = variable.removeprefix(PREFIX)
    for other, target in foreign_names.SETTINGS.items():
        if plain == other.upper() or plain.endswith(f"_{other.upper()}"):
            ours = plain.removesuffix(other.upper()) + target.replace(".", "_").upper()
            near = [name for name in sure if name == PREFIX + ours or name.endswith("_" + ours)]
            if near:
                return f"Did you mean {near[0]}?"
    ends = [name for name in sure if name.endswith(f"_{plain}")]
    meant = ends[0] if ends else hints.nearest(variable, sure)
    return f"Did you mean {meant}?" if meant else ""


# ---- the command line


def apply_overrides(tree: Tree, overrides: Sequence[Override]) -> None:
    """Put what was given on the command line over what is in the tree."""
    for override in overrides:
        pools = tree.pools
        path = tuple(part.strip() for part in override.key.split("."))
        whole = path[0] == "pool" or path[0] in schema.TABLES
        shown = toml_writer.shown(override.value)
        if not whole and len(pools) > 1:
            several = " or ".join(toml_writer.dotted(("pool", pool, *path)) for pool in pools[:3])
            problem = Problem(
                COMMAND_LINE, 0, override.flag, shown, "there are several pools", f"Use --set with {several}"
            )
            tree.problems.append(problem)
            continue
        place: Path = path if whole else ("pool", pools[0], *path)
        if place[0] == "pool" and len(place) > 2 and place[1] not in pools:
            hint = f"There {'is' if len(pools) == 1 else 'are'} {hints.listed(pools)}"
            problem = Problem(COMMAND_LINE, 0, override.flag, shown, "no such pool", hint)
            tree.problems.append(problem)
            continue
        tree.set(place, from_text(place, override.value), Origin(COMMAND_LINE, 0, override.flag))


# ---- text as values


def from_text(path: Path, text: str | tuple[str, ...]) -> Any:
    """Turn text into what the setting at ``path`` holds; what does not fit stays text, to be told."""
    if isinstance(text, tuple):
        return list(text)
    setting = schema.setting_at(tuple(str(part) for part in path))
    if setting is None or path[-1] != setting.name:
        return text
    return _as_kind(setting.kind, text)


def _as_kind(kind: inspect.Type, text: str) -> Any:
    match kind:
        case inspect.UnionType():
            return next((made for each in kind.types if (made := _as_kind(each, text)) != text), text)
        case inspect.IntType() | inspect.FloatType():
            return _as_number(text, int if isinstance(kind, inspect.IntType) else float)
        case inspect.BoolType():
            return {"true": True, "false": False}.get(text.lower(), text)
        case inspect.VarTupleType():
            return _as_list(text)
        case inspect.StructType():
            return _as_table(text)
    return text


def _as_number(text: str, make: type[int | float]) -> Any:
    try:
        return make(text)
    except ValueError:
        return text


def _as_table(text: str) -> Any:
    """``{ min = 2, max = 16 }``, as it would be written in the file."""
    if not text.lstrip().startswith("{"):
        return text
    try:
        return tomllib.loads(f"table = {text}")["table"]
    except tomllib.TOMLDecodeError:
        return text


def _as_list(text: str) -> list[Any]:
    if text.lstrip().startswith("["):
        try:
            listed = tomllib.loads(f"list = {text}")["list"]
        except tomllib.TOMLDecodeError:
            pass  # [::1]:8000
        else:
            if isinstance(listed, list):
                return listed
    return [part.strip() for part in text.split(",") if part.strip()]
