"""The settings in force with where each came from, as TOML and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from gwctl.config import schema, toml_writer
from gwctl.config.addresses import shown
from gwctl.config.load import Loaded
from gwctl.config.model.settings import PoolSettings
from gwctl.masking import MASK, masked_values

_VALUE_COLUMN: Final = 56


def as_toml(loaded: Loaded, *, secrets: bool = False) -> str:
    """Write a gw.toml that says the same in full, with the sources as comments.

    Without ``secrets`` the values of ``env`` are masked: they often are passwords and keys, and settings
    are shown to others, or in a log of CI.
    """
    lines = [f"# {loaded.path}" if loaded.path else "# no file"]
    if not secrets and any(pool.env for pool in loaded.settings.pool.values()):
        lines.append(f"# {MASK} stands for values of env: --secrets shows them")
    for table, names in _tables(loaded, secrets=secrets):
        lines += ["", f"[{toml_writer.dotted(table)}]"]
        for name, value, source in names:
            shown = toml_writer.number(value) if isinstance(value, float) else toml_writer.value(value)
            line = f"{toml_writer.key(name)} = {shown}"
            lines.append(f"{line:<{_VALUE_COLUMN}} # {source}")
    return "\n".join(lines) + "\n"


def as_json(loaded: Loaded, *, secrets: bool = False) -> dict[str, Any]:
    """The same as data: each setting by its dotted name, with ``value`` and ``source``."""
    settings: dict[str, Any] = {}
    for table, names in _tables(loaded, secrets=secrets):
        for name, value, source in names:
            settings[toml_writer.dotted((*table, name))] = {"value": value, "source": source}
    return {"file": str(loaded.path) if loaded.path else None, "settings": settings}


Row = tuple[str, Any, str]


def _tables(loaded: Loaded, *, secrets: bool) -> Iterator[tuple[tuple[str, ...], list[Row]]]:
    for name, kind in schema.TABLES.items():
        yield from _table(loaded, (name,), kind, getattr(loaded.settings, name))
    for name, given in loaded.settings.pool.items():
        pool = given if secrets else msgspec.structs.replace(given, env=masked_values(given.env))
        yield from _table(loaded, ("pool", name), PoolSettings, pool)


def _table(
    loaded: Loaded, path: tuple[str, ...], kind: type[msgspec.Struct], values: msgspec.Struct
) -> Iterator[tuple[tuple[str, ...], list[Row]]]:
    settings = schema.settings_of(kind)
    plain = [name for name, setting in settings.items() if setting.table is None]
    yield (
        path,
        [(name, _plain(name, getattr(values, name)), _source(loaded, (*path, name))) for name in plain],
    )
    for name, setting in settings.items():
        if setting.table is not None:
            yield from _table(loaded, (*path, name), setting.table, getattr(values, name))


def _plain(name: str, value: Any) -> Any:
    if name == "bind":
        return [shown(address) for address in value]
    if isinstance(value, msgspec.Struct):
        return msgspec.to_builtins(value)
    return list(value) if isinstance(value, tuple) else value


def _source(loaded: Loaded, path: tuple[str, ...]) -> str:
    key = toml_writer.dotted(path)
    below = dict.fromkeys(source for name, source in loaded.sources.items() if name.startswith(f"{key}."))
    if below:  # an env whose names come from several places
        return ", ".join(below)
    if key in loaded.sources:
        return loaded.sources[key]
    match path:
        case ("pool", _, "chdir"):
            return "folder of the file" if loaded.path else "working directory"
        case ("master", "name"):
            return "folder of the file" if loaded.path else "name of the module"
    return "default"
