"""Arbitrary TOML documents in every style of writing, with the line of each of their keys.

`documents` is a hypothesis strategy of `Document`: a structure is drawn first, then written
with a style drawn for each part of it: quoted, bare or dotted keys, inline tables, headers
(in any order, with or without the tables above them), arrays of tables or of inline tables,
four kinds of strings, comments that look like TOML.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

Path = tuple[str | int, ...]
Draw = Callable[..., Any]

CHARACTERS = st.characters(
    codec="utf-8", exclude_categories=["Cs", "Cc"], include_characters="\n\t\"\\'#=[]{},."
)
KEYS = st.one_of(st.from_regex(r"[A-Za-z0-9_-]{1,6}", fullmatch=True), st.text(CHARACTERS, max_size=6))
SCALARS = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.datetimes(),
    st.dates(),
    st.times(),
    st.text(CHARACTERS, max_size=12),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(KEYS, inner, max_size=3),
        st.lists(st.dictionaries(KEYS, inner, max_size=3), min_size=1, max_size=3),
    ),
    max_leaves=12,
)
STRUCTURES = st.dictionaries(KEYS, VALUES, max_size=5)
COMMENTS = st.sampled_from(["", "", "# plain", "#[a]", '# k = """', "# it's ]", "#"])


@dataclass
class Document:
    text: str
    lines: dict[Path, int]


@st.composite
def documents(draw: Draw) -> Document:
    writer = _Writer(draw)
    writer.table((), (), draw(STRUCTURES))
    return Document(draw(st.sampled_from(["\n", "\r\n"])).join(writer.text.split("\n")), writer.lines)


@dataclass
class _Writer:
    draw: Draw
    text: str = ""
    lines: dict[Path, int] = field(default_factory=dict)

    def chance(self) -> bool:
        return bool(self.draw(st.booleans()))

    def line(self) -> int:
        return self.text.count("\n") + 1

    def blank(self) -> None:
        self.text += self.draw(st.sampled_from(["", " ", "\t"]))

    def end_line(self) -> None:
        self.blank()
        self.text += self.draw(COMMENTS) + "\n"
        while self.chance():
            self.end_line()

    # ---- tables

    def table(self, names: tuple[str, ...], path: Path, table: dict[str, Any]) -> None:
        """Write the pairs of a table whose header is there, then the tables below it."""
        below = {name: value for name, value in table.items() if _is_table(value) and self.chance()}
        for name, value in table.items():
            if name not in below:
                self.pair((name,), path, value)
        for name, value in below.items():
            inner = (*names, name)
            if isinstance(value, list):
                self.array_of_tables(inner, (*path, name), value)
            else:
                self.sub_table(inner, (*path, name), value)

    def sub_table(self, names: tuple[str, ...], path: Path, table: dict[str, Any]) -> None:
        deeper = {name: value for name, value in table.items() if isinstance(value, dict)}
        if not deeper or self.chance():
            self.header("[", names, "]", path)
            self.lines[path] = self.line_of_header
            self.table(names, path, table)
            return
        for name, value in deeper.items():  # the table above comes into being by these
            self.sub_table((*names, name), (*path, name), value)
            self.lines.setdefault(path, self.lines[*path, name])
        rest = {name: value for name, value in table.items() if name not in deeper}
        if rest or self.chance():
            self.header("[", names, "]", path)
            self.lines[path] = self.line_of_header
            self.table(names, path, rest)

    def array_of_tables(self, names: tuple[str, ...], path: Path, elements: list[dict[str, Any]]) -> None:
        for index, element in enumerate(elements):
            self.header("[[", names, "]]", path)
            self.lines.setdefault(path, self.line_of_header)
            self.lines[*path, index] = self.line_of_header
            self.table(names, (*path, index), element)

    def header(self, opening: str, names: tuple[str, ...], closing: str, path: Path) -> None:
        self.blank()
        self.line_of_header = self.line()
        for depth in range(1, len(path)):  # parents that only this header makes
            if isinstance(path[depth - 1], str):
                self.lines.setdefault(path[:depth], self.line())
        self.text += opening
        self.keys(names)
        self.text += closing
        self.end_line()

    # ---- pairs

    def pair(self, names: tuple[str, ...], path: Path, value: Any) -> None:
        """Write ``a.b = value`` as one line, or a table as several with one more name each."""
        if isinstance(value, dict) and value and self.chance():
            for name, inner in value.items():
                self.pair((*names, name), path, inner)
            return
        self.blank()
        self.assignment(names, path, value)
        self.end_line()

    def assignment(self, names: tuple[str, ...], path: Path, value: Any) -> None:
        for depth in range(1, len(names)):
            self.lines.setdefault((*path, *names[:depth]), self.line())
        self.lines[*path, *names] = self.line()
        self.keys(names)
        self.text += "="
        self.blank()
        self.value((*path, *names), value)

    def keys(self, names: tuple[str, ...]) -> None:
        for index, name in enumerate(names):
            self.text += "." if index else ""
            self.blank()
            self.text += self.draw(st.sampled_from(list(_key_forms(name))))
            self.blank()

    # ---- values

    def value(self, path: Path, value: Any) -> None:
        match value:
            case str():
                self.text += self.draw(st.sampled_from(list(_string_forms(value))))
            case bool():
                self.text += "true" if value else "false"
            case int() | float():
                self.text += repr(value)
            case list():
                self.array(path, value)
            case dict():
                self.inline_table(path, value)
            case _:
                self.text += value.isoformat()

    def array(self, path: Path, elements: list[Any]) -> None:
        self.text += "["
        self.gap()
        for index, element in enumerate(elements):
            self.lines[*path, index] = self.line()
            self.value((*path, index), element)
            self.gap()
            if index < len(elements) - 1 or self.chance():
                self.text += ","
                self.gap()
        self.text += "]"

    def inline_table(self, path: Path, table: dict[str, Any]) -> None:
        self.text += "{"
        self.blank()
        for index, (name, value) in enumerate(table.items()):
            self.text += "," if index else ""
            self.blank()
            if isinstance(value, dict) and len(value) == 1 and self.chance():
                (inner, deeper), *_ = value.items()
                self.assignment((name, inner), path, deeper)
            else:
                self.assignment((name,), path, value)
            self.blank()
        self.text += "}"

    def gap(self) -> None:
        """What may stand between the elements of an array: also comments and new lines."""
        if self.chance():
            self.end_line()
        self.blank()


def _is_table(value: Any) -> bool:
    return isinstance(value, dict) or (
        isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)
    )


def _basic(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _key_forms(name: str) -> Iterator[str]:
    yield _basic(name)
    if re.fullmatch(r"[A-Za-z0-9_-]+", name):
        yield name
    if "'" not in name and "\n" not in name:
        yield f"'{name}'"


def _string_forms(text: str) -> Iterator[str]:
    yield _basic(text)
    if "'" not in text and "\n" not in text:
        yield f"'{text}'"
    yield f'"""\n{_basic(text)[1:-1]}"""'
    raw = text.replace("\\", "\\\\")
    if '"""' not in raw:
        yield f'"""\n{raw}"""'  # with quotes and new lines as they are, also at its end
    if "'''" not in text:
        yield f"'''\n{text}'''"
