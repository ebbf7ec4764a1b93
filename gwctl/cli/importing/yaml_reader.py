"""The YAML that compose files are written in; what is beyond is refused, by its line.

Read are mappings and lists, in blocks and in braces, texts with and without quotes, ``|`` and ``>``,
anchors, aliases and ``<<``. Not read are tags, keys that are no plain text and several documents. Values
without quotes stay texts but for numbers, true, false and null: whoever asks knows what they expect. gwctl
itself needs no YAML, and a parser of all of it would be a dependency for this command alone
(docs/adr/0048-importing-other-servers-settings.md).
"""

from __future__ import annotations

import re
from typing import Any, Final, NoReturn

from gwctl.cli.importing.found import NotImported

_KEY: Final = re.compile(
    r"""("(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|[^\s#\-?:,\[\]{}&*!|>'"%@`][^#]*?|-[^\s#][^#]*?)\s*:(?=\s|$)"""
)
_ANCHOR: Final = re.compile(r"&(\S+)\s*")
_BLOCK: Final = re.compile(r"([|>])([+-]?)(\d?)([+-]?)\s*(?:#.*)?$")
_NUMBER: Final = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?")
_WORDS: Final = {"true": True, "false": False, "null": None, "~": None, "": None}
_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", '"': '"', "\\": "\\", "/": "/", " ": " "}
_DEPTH_MAX: Final = 40
_LINE_CHARS_MAX: Final = 8192


def read(text: str, shown: str) -> Any:
    """Read one document.

    Raises:
        NotImported: It has something that is not read here, or is none; with the line.
    """
    return _Reader(text, shown).document()


class _Reader:
    def __init__(self, text: str, shown: str) -> None:
        self._shown = shown
        self._lines = text.splitlines()
        self._at = 0
        self._anchors: dict[str, Any] = {}
        for number, line in enumerate(self._lines):
            if len(line) > _LINE_CHARS_MAX:
                self._at = number
                self._refuse("it is too long a line")

    def document(self) -> Any:
        if self._peek() and self._lines[self._at].rstrip() == "---":
            self._at += 1
        value = self._block(0, 0) if self._peek() else None
        if self._peek() and self._lines[self._at].rstrip() != "...":
            self._refuse("what stands here is not read: write the command itself, behind --")
        return value

    def _refuse(self, reason: str) -> NoReturn:
        number = min(self._at + 1, len(self._lines))
        raise NotImported(f"{self._shown}:{number}: {reason}")

    def _peek(self) -> bool:
        """Move on to a line that says something."""
        while self._at < len(self._lines):
            line = self._lines[self._at].strip()
            if line and not line.startswith("#"):
                return True
            self._at += 1
        return False

    def _indent(self) -> int:
        line = self._lines[self._at]
        if line[: len(line) - len(line.lstrip())].count("\t"):
            self._refuse("YAML is indented by blanks, not by tabs")
        return len(line) - len(line.lstrip(" "))

    def _block(self, least: int, depth: int) -> Any:
        """What begins at this line, if it is indented by ``least`` at least."""
        if depth > _DEPTH_MAX:
            self._refuse("it is nested too deeply")
        if not self._peek() or (indent := self._indent()) < least:
            return None
        line = self._lines[self._at].strip()
        if line == "-" or line.startswith("- "):
            return self._list(indent, depth)
        if _KEY.match(line):
            return self._mapping(indent, depth)
        self._at += 1
        return self._scalar(line, indent - 1)

    def _list(self, indent: int, depth: int) -> list[Any]:
        found = []
        while self._peek() and self._indent() == indent:
            line = self._lines[self._at]
            rest = line.strip()
            if rest != "-" and not rest.startswith("- "):
                break
            rest = rest[1:]
            inner = indent + 1 + len(rest) - len(rest.lstrip())
            if (_KEY.match(rest.strip()) and rest.strip()[0] not in "\"'[{") or rest.strip().startswith("- "):
                self._lines[self._at] = " " * inner + rest.strip()
                found.append(self._block(inner, depth + 1))
            else:
                self._at += 1
                found.append(self._value(rest.strip(), indent, depth))
        return found

    def _mapping(self, indent: int, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        while self._peek() and self._indent() == indent:
            line = self._lines[self._at].strip()
            key = _KEY.match(line)
            if key is None or line.startswith("? "):
                self._refuse("expected a key and a colon")
            name = str(_plain(key[1])) if key[1][0] not in "\"'" else self._quoted(key[1])
            self._at += 1
            value = self._value(line[key.end() :].strip(), indent, depth)
            if name == "<<":
                for each in value if isinstance(value, list) else [value]:
                    merged = {**(each if isinstance(each, dict) else {}), **merged}
            else:
                found[name] = value
        return {**merged, **found}

    def _value(self, text: str, indent: int, depth: int) -> Any:
        """What follows a key or a dash: on its line, or below."""
        anchor = _ANCHOR.match(text)
        if anchor:
            value = self._value(text[anchor.end() :], indent, depth)
            self._anchors[anchor[1]] = value
            return value
        if not text or text.startswith("#"):
            if self._peek() and self._indent() == indent and self._lines[self._at].strip().startswith("- "):
                return self._list(indent, depth + 1)
            return self._block(indent + 1, depth + 1)
        return self._scalar(text, indent)

    def _scalar(self, text: str, indent: int) -> Any:
        if text[0] == "!":
            self._refuse("a tag is not read here: write the command itself, behind --")
        if text[0] == "*":
            name = text[1:].partition(" ")[0]
            if name not in self._anchors:
                self._refuse(f"there is no anchor {name}")
            return self._anchors[name]
        if block := _BLOCK.match(text):
            return self._literal(block, indent)
        if text[0] in "[{":
            return self._flow(text)
        if text[0] in "\"'":
            return self._quoted(self._until_closed(text))
        return self._plain_lines(_uncommented(text), indent)

    def _plain_lines(self, text: str, indent: int) -> Any:
        """A text without quotes may go on in lines that are indented more."""
        parts = [text]
        while self._at < len(self._lines):
            line = self._lines[self._at]
            if not line.strip() or line.strip().startswith("#") or self._indent() <= indent:
                break
            if _KEY.match(line.strip()) or line.strip().startswith("- "):
                self._refuse("what is indented here belongs to nothing")
            parts.append(_uncommented(line.strip()))
            self._at += 1
        return _plain(text) if len(parts) == 1 else " ".join(parts)

    def _until_closed(self, text: str) -> str:
        while not _closed(text):
            if self._at >= len(self._lines):
                self._refuse("a quotation mark is not closed")
            text += f" {self._lines[self._at].strip()}"
            self._at += 1
        return text

    def _quoted(self, text: str) -> str:
        end = _end_of_quoted(text)
        inner = text[1 : end - 1]
        if text[0] == "'":
            return inner.replace("''", "'")
        return re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[0]), inner)

    def _literal(self, block: re.Match[str], indent: int) -> str:
        """``|`` keeps the ends of lines, ``>`` joins lines."""
        lines: list[str] = []
        while self._at < len(self._lines):
            line = self._lines[self._at]
            if line.strip() and len(line) - len(line.lstrip(" ")) <= indent:
                break
            lines.append(line)
            self._at += 1
        while lines and not lines[-1].strip():
            lines.pop()
        own = min((len(line) - len(line.lstrip(" ")) for line in lines if line.strip()), default=0)
        bare = [line[own:].rstrip() for line in lines]
        joined = "\n".join(bare) if block[1] == "|" else _folded(bare)
        return joined if "-" in (block[2], block[4]) or not joined else f"{joined}\n"

    def _flow(self, text: str) -> Any:
        """A list or mapping in brackets, which may go on in further lines."""
        while True:
            try:
                value, end = self._flow_value(text, 0, 0)
            except IndexError:
                if self._at >= len(self._lines):
                    self._refuse("a bracket is not closed")
                text += f" {_uncommented(self._lines[self._at].strip())}"
                self._at += 1
                continue
            rest = text[end:].strip()
            if rest and not rest.startswith("#"):
                self._refuse("something follows the bracket")
            return value

    def _flow_value(self, text: str, at: int, depth: int) -> tuple[Any, int]:
        """Raises IndexError where it goes on in the next line."""
        at = _blank(text, at)
        if depth > _DEPTH_MAX:
            self._refuse("it is nested too deeply")
        if text[at] == "[":
            return self._flow_list(text, at, depth)
        if text[at] == "{":
            return self._flow_mapping(text, at, depth)
        if text[at] in "\"'":
            if not _closed(text[at:]):
                raise IndexError
            end = _end_of_quoted(text[at:])
            return self._quoted(text[at : at + end]), at + end
        end = at
        while text[end] not in ",]}" and not (text[end] == ":" and text[end + 1] in " ,]}"):
            end += 1
        word = text[at:end].strip()
        return (self._anchors.get(word[1:]) if word.startswith("*") else _plain(word)), end

    def _flow_list(self, text: str, at: int, depth: int) -> tuple[Any, int]:
        found: list[Any] = []
        at = _blank(text, at + 1)
        while text[at] != "]":
            value, at = self._flow_value(text, at, depth + 1)
            found.append(value)
            at = _blank(text, at)
            if text[at] == ",":
                at = _blank(text, at + 1)
            elif text[at] != "]":
                self._refuse("expected a comma or ]")
        return found, at + 1

    def _flow_mapping(self, text: str, at: int, depth: int) -> tuple[Any, int]:
        found: dict[str, Any] = {}
        at = _blank(text, at + 1)
        while text[at] != "}":
            key, at = self._flow_value(text, at, depth + 1)
            at = _blank(text, at)
            value = None
            if text[at] == ":":
                value, at = self._flow_value(text, at + 1, depth + 1)
                at = _blank(text, at)
            found[str(key)] = value
            if text[at] == ",":
                at = _blank(text, at + 1)
            elif text[at] != "}":
                self._refuse("expected a comma or }")
        return found, at + 1


def _blank(text: str, at: int) -> int:
    while text[at] == " ":
        at += 1
    return at


def _end_of_quoted(text: str) -> int:
    """Where a text in quotes ends, behind its mark; 0: not in what there is."""
    mark, at = text[0], 1
    while at < len(text):
        escape = mark == '"' and text[at] == "\\"
        if escape or text[at : at + 2] == "''" == mark * 2:
            at += 2
        elif text[at] == mark:
            return at + 1
        else:
            at += 1
    return 0


def _closed(text: str) -> bool:
    return _end_of_quoted(text) > 0


def _uncommented(text: str) -> str:
    return re.sub(r"\s#.*$", "", text).strip()


def _plain(text: str) -> Any:
    """A value without quotes."""
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if _NUMBER.fullmatch(text):
        return float(text) if "." in text else int(text)
    return text


def _folded(lines: list[str]) -> str:
    text = ""
    for line in lines:
        if not line:
            text += "\n"
        else:
            text += line if not text or text.endswith("\n") else f" {line}"
    return text
