"""What to write instead: the end of a message about a mistake.

A hint is a sentence without its full stop, or empty when nothing better is known than what
the message says already.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Container, Iterable, Sequence
from typing import Any, Final

import msgspec
from msgspec import inspect

from gwctl.config import foreign_names, schema, toml_writer
from gwctl.config.model.settings import PoolSettings, Settings
from gwctl.config.schema import Path, Setting

_LISTED_MAX: Final = 7
_NUMBER: Final = re.compile(r"([0-9][0-9_]*(?:\.[0-9]+)?)\s*([a-z]*(?:/s)?)")
_PERCENTAGE: Final = re.compile(r"([0-9]{1,3}) *(?:%|percent)")
_SECONDS: Final[dict[str, float]] = {
    **dict.fromkeys(("", "s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("ms", "msec", "milliseconds"), 0.001),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hour", "hours"), 3600.0),
    **dict.fromkeys(("d", "day", "days"), 86_400.0),
}
_BYTES: Final[dict[str, float]] = {
    **dict.fromkeys(("", "b", "byte", "bytes"), 1),
    **dict.fromkeys(("k", "kb", "kib"), 1024),
    **dict.fromkeys(("m", "mb", "mib"), 1024**2),
    **dict.fromkeys(("g", "gb", "gib"), 1024**3),
}
_TABLES: Final = {
    "pool",
    *schema.TABLES,
    *(n for n, s in schema.settings_of(PoolSettings).items() if s.table),
}
_UNITS: Final[dict[str, dict[str, float]]] = {
    "seconds": _SECONDS,
    "bytes": _BYTES,
    "bytes per second": _BYTES | {f"{name}/s": factor for name, factor in _BYTES.items() if name},
    "": {"": 1},
}
_YES: Final = frozenset({"true", "yes", "on", "1"})
_NO: Final = frozenset({"false", "no", "off", "0"})


# ---- a name that is none


def for_name(table: Path, name: str, value: Any) -> str:
    """Say what ``name`` in a table of the file may have meant.

    Args:
        table: The table's path; ``()`` is the top of the file.
        name: The key that no setting has.
        value: What it was set to.
    """
    plain = _plain(name)
    if not table and isinstance(value, dict) and value.keys() & schema.settings_of(PoolSettings).keys():
        return f"Did you mean [{toml_writer.dotted(('pool', name))}]?"
    here = _names_in(table)
    if isinstance(value, dict) and (near := nearest(plain, [each for each in here if each in _TABLES])):
        return _did_you_mean(table, (*table, near))
    if plain in foreign_names.SETTINGS:
        return _did_you_mean(table, _absolute(table, foreign_names.SETTINGS[plain]))
    if plain in foreign_names.NOTES:
        return foreign_names.NOTES[plain]
    near = nearest(plain, here)
    if near is not None:
        return _did_you_mean(table, (*table, near))
    places = _everywhere(table)
    same = [path for path in places if path[-1] == plain]
    if same:
        return f"It belongs in [{toml_writer.dotted(same[0][:-1])}]"
    near = nearest(plain, [path[-1] for path in places])
    if near is not None:
        return _did_you_mean(table, next(path for path in places if path[-1] == near))
    if not table:
        return "A file has [master] and [pool.NAME]"
    return f"There are {listed(here)}" if 0 < len(here) <= _LISTED_MAX else ""


def for_flag(flag: str, flags: Container[str]) -> str:
    """Say how a command is told what ``flag`` says elsewhere.

    Args:
        flag: An option that the command does not have.
        flags: Those that it has.
    """
    plain = _plain(flag)
    if plain in foreign_names.NOTES:
        return foreign_names.NOTES[plain]
    target = foreign_names.SETTINGS.get(plain, "")
    path = _absolute((), target) if target else next((p for p in _everywhere(()) if p[-1] == plain), ())
    setting = schema.setting_at(path) if path else None
    if setting is None:
        return ""
    ours = setting.extra.get("flag")
    if ours == "APP":
        return "Name the application without an option, as in gwctl start shop.wsgi"
    if ours in flags:
        return f"Did you mean {ours}?"
    return f"Write --set {'.'.join(path if path[0] in schema.TABLES else path[2:])}=..."


def nearest(name: str, names: Iterable[str], cutoff: float = 0.7) -> str | None:
    """Find the name that somebody who wrote ``name`` probably wanted; short ones need a lower ``cutoff``."""
    found = difflib.get_close_matches(name, list(names), n=1, cutoff=cutoff)
    return found[0] if found else None


def _plain(name: str) -> str:
    return name.strip().lstrip("-").lower().replace("-", "_")


def _absolute(table: Path, target: str) -> Path:
    parts = tuple(target.split("."))
    return parts if parts[0] in schema.TABLES else (*_pool_of(table), *parts)


def _pool_of(table: Path) -> Path:
    """The pool in which a table is; a name to be chosen where it is in none."""
    return table[:2] if table[:1] == ("pool",) and len(table) > 1 else ("pool", "NAME")


def _did_you_mean(table: Path, path: Path) -> str:
    shown = path[len(table) :] if path[: len(table)] == table else path
    if shown == ("pool",):
        return "Did you mean [pool.NAME]?"
    if shown[-1] in _TABLES:
        return f"Did you mean [{toml_writer.dotted(path)}]?"
    return f"Did you mean `{toml_writer.dotted(shown)}`?"


def _names_in(table: Path) -> list[str]:
    """The names that a table of the file may hold; none for one that takes any."""
    match table:
        case ():
            return list(schema.settings_of(Settings))
        case (name,) if name in schema.TABLES:
            return list(schema.settings_of(schema.TABLES[name]))
        case ("pool", _, *rest):
            struct: type[msgspec.Struct] | None = PoolSettings
            for name in rest:
                setting = schema.settings_of(struct).get(name) if struct else None
                struct = (setting.table or setting.otherwise) if setting else None
            return list(schema.settings_of(struct)) if struct else []
    return []


def _everywhere(table: Path) -> list[Path]:
    pool = _pool_of(table)
    found = [(*pool, *path) for path in schema.pool_leaves()]
    return [*found, *((name, *path) for name in schema.TABLES for path in schema.table_leaves(name))]


def listed(names: Sequence[str]) -> str:
    """Write ```a`, `b` and `c```."""
    quoted = [f"`{name}`" for name in names]
    return " and ".join(filter(None, (", ".join(quoted[:-1]), quoted[-1])))


# ---- a value that does not fit


def for_value(setting: Setting, value: Any) -> str:
    """Say how to write ``value`` so that ``setting`` takes it."""
    return _for_kind(setting.kind, setting, value)


def _for_kind(kind: inspect.Type, setting: Setting, value: Any) -> str:
    match kind:
        case inspect.UnionType():
            return next(filter(None, (_for_kind(each, setting, value) for each in kind.types)), "")
        case inspect.LiteralType():
            return _for_word(setting, value)
        case inspect.IntType() | inspect.FloatType():
            return _for_number(kind, setting, value)
        case inspect.BoolType():
            return _for_bool(value)
        case inspect.StrType():
            return _for_text(setting, value)
        case inspect.VarTupleType() if isinstance(value, int | float):
            return f'Write ["{toml_writer.value(value)}"]'
    return ""


def _for_word(setting: Setting, value: Any) -> str:
    if not isinstance(value, str):
        bare = str(value).lower()
        meant = bare if bare in setting.words else foreign_names.WORDS.get(setting.name, {}).get(bare)
        return f"Write {toml_writer.text(meant)}" if meant else ""
    plain = value.strip().lower()
    if plain in setting.words:
        return f"Write {toml_writer.text(plain)}"
    meant = foreign_names.WORDS.get(setting.name, {}).get(plain) or nearest(plain, setting.words)
    return f"Did you mean {toml_writer.text(meant)}?" if meant else ""


def _for_number(kind: inspect.IntType | inspect.FloatType, setting: Setting, value: Any) -> str:
    number: float | None = None
    if isinstance(value, float):
        number = value
    elif isinstance(value, str):
        found = _NUMBER.fullmatch(value.strip().lower())
        units = _UNITS[setting.unit]
        if found is not None and found[2] in units:
            number = float(found[1].replace("_", "")) * units[found[2]]
    if number is None or not schema.within(kind, number):
        return ""
    if isinstance(kind, inspect.IntType) and not number.is_integer():
        return ""
    return f"Write {toml_writer.number(round(number, 6))}"


def _for_bool(value: Any) -> str:
    plain = str(value).strip().lower()
    if plain in _YES:
        return "Write true"
    return "Write false" if plain in _NO else ""


def _for_text(setting: Setting, value: Any) -> str:
    if "percentage" in setting.extra.get("form", ""):
        return _for_percentage(value)
    if isinstance(value, str):
        return ""
    if "octal" in setting.extra.get("form", ""):
        return f"Write it in quotes, as in {toml_writer.value(setting.example)}"
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str):
        return f"Write {toml_writer.text(value[0])}"
    return "" if isinstance(value, list | dict) else f"Write {toml_writer.text(toml_writer.value(value))}"


def _for_percentage(value: Any) -> str:
    """``0.25`` and ``25 %`` are meant to be ``"25%"``."""
    number = value * 100 if isinstance(value, float) else None
    if isinstance(value, str) and (found := _PERCENTAGE.fullmatch(value.strip())):
        number = float(found[1])
    if number is None or not 1 <= number <= 100 or not float(number).is_integer():
        return ""
    return f'Write "{number:.0f}%"'
