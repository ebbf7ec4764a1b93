"""From plain values to frozen structs, with all that is wrong and not just the first.

msgspec's own conversion stops at the first mistake; this one walks over the structs' fields,
tells every mistake with its place, puts the default where a value cannot be used and goes
on, so that the checks behind it (`gwctl.config.checks`) see whole settings.
"""

from __future__ import annotations

import math
import re
from datetime import date, time
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from gwctl.config import foreign_names, hints, schema, toml_writer
from gwctl.config.model.settings import PoolSettings, Settings
from gwctl.config.positions import Path
from gwctl.config.schema import Setting
from gwctl.config.sources import DEFAULT_POOL, Tree

Struct = TypeVar("Struct", bound=msgspec.Struct)


class Walk:
    """``bad`` has the paths whose values could not be used."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self.bad: set[Path] = set()

    def settings(self) -> Settings:
        """Build the settings; mistakes are told to the tree."""
        self._tree.values.setdefault("pool", {})
        return self._struct(Settings, self._tree.values, ())

    def _struct(self, cls: type[Struct], raw: Any, path: Path) -> Struct:
        is_table = isinstance(raw, dict)
        if not is_table:
            note = foreign_names.NOTES.get(str(path[-1])) if isinstance(raw, bool) else None
            hint = note or f"Write [{toml_writer.dotted(path)}]"
            self._refuse(path, f"expected a table{_found(raw)}", hint)
        given: dict[str, Any] = raw if is_table else {}
        known = schema.settings_of(cls)
        for name in given.keys() - known.keys():
            self._unknown(path, name, given[name])
        values: dict[str, Any] = {}
        for name, setting in known.items():
            place = (*path, name)
            if name in given:
                values[name] = self._value(setting, given[name], place)
            elif setting.default is schema.REQUIRED:
                values[name] = ""
                self.bad.add(place)
                if is_table:
                    hint = f"Write {name} = {toml_writer.value(setting.example)}"
                    self._tree.complain(place, "is missing", hint)
        return cls(**values)

    def _value(self, setting: Setting, raw: Any, path: Path) -> Any:
        match setting.kind:
            case inspect.StructType(cls=cls):
                return self._struct(cls, raw, path)
            case inspect.DictType(value_type=inspect.StructType()):
                return self._pools(raw, path)
            case inspect.DictType():
                return self._texts_by_name(raw, path)
            case inspect.VarTupleType():
                return self._texts(setting, raw, path)
        if setting.otherwise is not None and isinstance(raw, dict):
            return self._struct(setting.otherwise, raw, path)
        reason = mismatch(setting.kind, setting, raw)
        if not reason:
            return float(raw) if isinstance(setting.kind, inspect.FloatType) else raw
        self._refuse(path, reason, hints.for_value(setting, raw))
        return "" if setting.default is schema.REQUIRED else setting.default

    # ---- tables

    def _pools(self, raw: Any, path: Path) -> dict[str, msgspec.Struct]:
        if not isinstance(raw, dict):
            self._refuse(path, f"expected a table, found {kind_of(raw)}", f"Write [pool.{DEFAULT_POOL}]")
            return {}
        pools: dict[str, msgspec.Struct] = {}
        stray = {name for name, value in raw.items() if not isinstance(value, dict)}
        for name in raw:
            if name in stray:
                known = name in schema.settings_of(PoolSettings)
                hint = f"It belongs in [pool.{DEFAULT_POOL}]" if known else "Write [pool.NAME]"
                self._refuse((*path, name), f"expected a pool's table, found {kind_of(raw[name])}", hint)
            elif stray and name in schema.settings_of(PoolSettings):
                self._refuse(
                    (*path, name), "no such table", f"Write [pool.{DEFAULT_POOL}.{name}]", show=False
                )
            else:
                pools[name] = self._struct(PoolSettings, raw[name], (*path, name))
        return pools

    def _texts_by_name(self, raw: Any, path: Path) -> dict[str, str]:
        if not isinstance(raw, dict):
            hint = f'Write {{ NAME = "value" }}, or [{toml_writer.dotted(path)}]'
            self._refuse(path, f"expected a table, found {kind_of(raw)}", hint)
            return {}
        for name, value in raw.items():
            if not isinstance(value, str):
                hint = "" if isinstance(value, dict | list) else f"Write {quoted(value)}"
                self._refuse((*path, name), f"expected text, found {kind_of(value)}", hint)
        return {name: value for name, value in raw.items() if isinstance(value, str)}

    def _texts(self, setting: Setting, raw: Any, path: Path) -> tuple[str, ...]:
        """A list of texts. A text alone counts as a list of one."""
        if isinstance(raw, str):
            return (raw,)
        if not isinstance(raw, list):
            self._refuse(
                path, f"expected {setting.expected}, found {kind_of(raw)}", hints.for_value(setting, raw)
            )
            return tuple(setting.default)
        for index, item in enumerate(raw):
            if not isinstance(item, str):
                hint = "" if isinstance(item, dict | list) else f"Write {quoted(item)}"
                self._refuse((*path, index), f"expected text, found {kind_of(item)}", hint)
        return tuple(item if isinstance(item, str) else "" for item in raw)

    # ---- complaints

    def _refuse(self, path: Path, reason: str, hint: str, *, show: bool = True) -> None:
        self.bad.add(path)
        self._tree.complain(path, reason, hint, show=show)

    def _unknown(self, table: Path, name: str, value: Any) -> None:
        path = (*table, name)
        names = tuple(part for part in table if isinstance(part, str))
        hint = hints.for_name(names, name, value)
        is_table = isinstance(value, dict)
        self._refuse(path, "no such table" if is_table else "no such setting", hint, show=not is_table)


def mismatch(kind: inspect.Type, setting: Setting, value: Any) -> str:
    """Why a scalar does not fit; empty when it does."""
    match kind:
        case inspect.UnionType():
            values = [each for each in kind.types if not isinstance(each, inspect.StructType)]
            reasons = [mismatch(each, setting, value) for each in values]
            if not all(reasons):
                return ""
            ranged = [reason for reason in reasons if reason.startswith("not in")]
            return ranged[0] if ranged else f"expected {setting.expected}{_found(value)}"
        case inspect.LiteralType():
            if isinstance(value, str) and value in kind.values:
                return ""
            return (
                f"expected {setting.expected_of(kind)}{_found(value) if not isinstance(value, str) else ''}"
            )
        case inspect.IntType() | inspect.FloatType():
            return _number_mismatch(kind, setting, value)
        case inspect.StrType():
            return _text_mismatch(kind, setting, value)
        case inspect.BoolType():
            return "" if isinstance(value, bool) else f"expected true or false{_found(value)}"
    raise TypeError(f"{setting.name} is no scalar")


def _number_mismatch(kind: inspect.IntType | inspect.FloatType, setting: Setting, value: Any) -> str:
    fits = int if isinstance(kind, inspect.IntType) else int | float
    if isinstance(value, bool) or not isinstance(value, fits):
        fraction = isinstance(value, float) and math.isfinite(value) and not value.is_integer()
        found = ", found a fraction" if fraction else _found(value)
        return f"expected {setting.expected_of(kind)}{found}"
    if schema.within(kind, value):
        return ""
    return _outside(schema.bounds(kind))


def _outside(bounds: str) -> str:
    return f"not in {bounds}" if ".." in bounds else f"must be {bounds}"


def _text_mismatch(kind: inspect.StrType, setting: Setting, value: Any) -> str:
    if not isinstance(value, str):
        return f"expected {setting.extra.get('form', 'text')}{_found(value)}"
    if "\0" in value:
        return "has a NUL in it"
    if kind.pattern is not None and not re.fullmatch(kind.pattern, value):
        return f"expected {setting.extra['form']}"
    return ""


def _found(value: Any) -> str:
    return f", found {kind_of(value)}"


def kind_of(value: Any) -> str:
    """What a value is, in words."""
    match value:
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case list():
            return "a list"
        case dict():
            return "a table"
        case date() | time():
            return "a date or time"
    raise TypeError(f"TOML has no {type(value).__name__}")


def quoted(value: Any) -> str:
    """A number, boolean or date as the text that was probably meant."""
    return toml_writer.text(toml_writer.value(value))
