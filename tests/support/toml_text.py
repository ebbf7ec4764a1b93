"""Nested settings as TOML text, for the gw.toml of a test."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gwctl.config.toml_writer import key, value


def dumps(tables: Mapping[str, Any]) -> str:
    """TOML of nested mappings; what is not a mapping is written as a value."""
    return "\n".join(_table((), tables)) + "\n"


def _table(path: tuple[str, ...], table: Mapping[str, Any]) -> Iterator[str]:
    plain = {name: content for name, content in table.items() if not isinstance(content, Mapping)}
    if path and (plain or not table):
        yield f"[{'.'.join(path)}]"
    for name, content in plain.items():
        yield f"{key(name)} = {value(content)}"
    for name, content in table.items():
        if isinstance(content, Mapping):
            yield from _table((*path, key(name)), content)
