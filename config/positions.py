"""The line of each key of a TOML document: tomllib reads values and forgets where they stood.

    locate(text)[("pool", "web", "bind", 1)]        the line of bind's second element

Rules
    - The text has been read by tomllib: nothing is checked again here, and what this scanner
      does not understand cannot occur. A property test holds it against tomllib: the paths
      are the same for any document.
    - A path has the parts of the dotted key, and a number for each element of an array,
      arrays of tables included. The empty path is not in it.
    - A table that several headers or dotted keys extend has the line of its own header, else
      of the first that made it.

How it works
    One regular expression for each kind of token; the position moves over statements. A
    header sets the prefix of the keys under it: its parts are looked up in the arrays of
    tables seen so far, where a name means the last element. Values are skipped, not
    understood, but for arrays and inline tables, whose elements are walked into.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from typing import Final

Path = tuple[str | int, ...]

_KEY_PART: Final = re.compile(r"""[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'""")
_BLANK: Final = re.compile(r"[ \t]*")
_BLANK_LINES: Final = re.compile(r"(?:[ \t\n]|\#[^\n]*)*")
_STRING: Final = re.compile(
    r'''
      """ (?: [^"\\] | \\. | "{1,2}(?!") )* "{3,5}   # its last quotes may be up to two of its own
    | \'\'\' (?: [^'] | '{1,2}(?!') )* '{3,5}
    | " (?: [^"\\\n] | \\. )* "
    | ' [^'\n]* '
    ''',
    re.VERBOSE | re.DOTALL,
)
_PLAIN: Final = re.compile(r"[^,\]}#\n]*")  # numbers, booleans, dates


def locate(text: str) -> dict[Path, int]:
    """Find the lines, from 1, of all keys and elements of a document that tomllib accepts."""
    scanner = _Scanner(text.replace("\r\n", "\n"))
    scanner.document()
    return scanner.lines


class _Scanner:
    def __init__(self, text: str) -> None:
        self.lines: dict[Path, int] = {}
        self._text = text
        self._at = 0
        self._counted_to = 0
        self._line = 1
        self._elements: dict[Path, int] = {}
        """Elements so far of each array of tables."""

    def document(self) -> None:
        table: Path = ()
        self._take(_BLANK_LINES)
        while self._at < len(self._text):
            if self._text.startswith("[[", self._at):
                table = self._array_header()
            elif self._text[self._at] == "[":
                table = self._table_header()
            else:
                self._pair(table)
            self._take(_BLANK_LINES)

    # ---- headers

    def _table_header(self) -> Path:
        line = self._line_here()
        self._at += 1
        *parents, name = self._key()
        self._at += 1
        path = (*self._enter((), parents, line), name)
        self.lines[path] = line
        return path

    def _array_header(self) -> Path:
        line = self._line_here()
        self._at += 2
        *parents, name = self._key()
        self._at += 2
        path = (*self._enter((), parents, line), name)
        index = self._elements.get(path, 0)
        self._elements[path] = index + 1
        self.lines.setdefault(path, line)
        element = (*path, index)
        self.lines[element] = line
        return element

    def _enter(self, start: Path, names: list[str], line: int) -> Path:
        """Follow ``names``; in an array of tables they go on in its last element."""
        path = start
        for name in names:
            path = (*path, name)
            self.lines.setdefault(path, line)
            if path in self._elements:
                path = (*path, self._elements[path] - 1)
        return path

    # ---- keys and values

    def _pair(self, table: Path) -> None:
        line = self._line_here()
        *parents, name = self._key()
        path = (*self._enter(table, parents, line), name)
        self.lines[path] = line
        self._at += 1  # the equals sign
        self._take(_BLANK)
        self._value(path)

    def _key(self) -> list[str]:
        """Read a dotted key and the blanks after it."""
        parts = []
        while True:
            self._take(_BLANK)
            raw = self._take(_KEY_PART)
            parts.append(_unquote(raw) if raw[0] in {'"', "'"} else raw)
            self._take(_BLANK)
            if self._text[self._at] != ".":
                return parts
            self._at += 1

    def _value(self, path: Path) -> None:
        match self._text[self._at]:
            case '"' | "'":
                self._take(_STRING)
            case "[":
                for index, _ in enumerate(self._items("]")):
                    element = (*path, index)
                    self.lines[element] = self._line_here()
                    self._value(element)
            case "{":
                for _ in self._items("}"):
                    self._pair(path)
            case _:
                self._take(_PLAIN)

    def _items(self, closing: str) -> Iterator[None]:
        """Stand before each item of an array or inline table; the caller reads it."""
        self._at += 1
        self._take(_BLANK_LINES)
        while self._text[self._at] != closing:
            yield
            self._take(_BLANK_LINES)
            if self._text[self._at] == ",":
                self._at += 1
                self._take(_BLANK_LINES)
        self._at += 1

    # ---- characters

    def _take(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self._text, self._at)
        if found is None:
            raise AssertionError(f"line {self._line_here()} is not TOML that tomllib accepts")
        self._at = found.end()
        return found[0]

    def _line_here(self) -> int:
        self._line += self._text.count("\n", self._counted_to, self._at)
        self._counted_to = self._at
        return self._line


def _unquote(raw: str) -> str:
    value: str = tomllib.loads(f"key = {raw}")["key"]
    return value
