r"""Files of ``NAME=value`` lines, as systemd's EnvironmentFile= and the .env of many tools.

    # a comment
    NAME=value                 up to the end of the line, blanks around it cut, # after a blank ends it
    export NAME=value          the same, so that a shell can read the file too
    NAME='as it is'            nothing is special; may go over several lines
    NAME="a \"b\"\n"           \n \r \t \" \\ \$ are escapes; may go over several lines
    NAME=                      the empty text

Nothing is expanded: ``$HOME`` is those five characters. (Tools disagree on expansion, and a
password with a dollar in it must arrive as it was written.)
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from gwctl.config.problems import ConfigError, Problem
from gwctl.masking import MASK

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ASSIGNMENT: Final = re.compile(r"(?:export[ \t]+)?(?P<name>[^=\n]*?)[ \t]*=[ \t]*", re.ASCII)
_BLANK: Final = re.compile(r"[ \t]*")
_REST: Final = re.compile(r"[^\n]*")
_COMMENT: Final = re.compile(r"(?:^|[ \t]+)#.*$")
_ESCAPE: Final = re.compile(r'\\([nrt"\\$`\n])')
_ESCAPED: Final = {"n": "\n", "r": "\r", "t": "\t", "\n": ""}
_SINGLE: Final = re.compile(r"'([^']*)'")
_DOUBLE: Final = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)


def read(path: Path | str, shown: str = "") -> dict[str, str]:
    """Read a file; of a name given twice the later one counts.

    Args:
        path: The file.
        shown: What problems call it; the path itself when empty.

    Raises:
        ConfigError: It cannot be read, or some lines are no assignments: all of them.
    """
    shown = shown or str(path)
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ConfigError([Problem(shown, 0, "", "", f"cannot be read: {error.strerror}")]) from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError([Problem(shown, line, "", "", "is not UTF-8 text")]) from None
    variables, problems = parse(text, shown)
    if problems:
        raise ConfigError(problems)
    return variables


def parse(text: str, shown: str) -> tuple[dict[str, str], list[Problem]]:
    """Understand the text of a file: what it sets, and what is wrong with it."""
    reader = _Reader(text.replace("\r\n", "\n"), shown)
    while reader.position < len(reader.text):
        reader.statement()
    return reader.variables, reader.problems


class _Reader:
    """Goes through the text one assignment at a time; a bad one is skipped with its line."""

    def __init__(self, text: str, shown: str) -> None:
        self.text = text
        self.position = 0
        self.variables: dict[str, str] = {}
        self.problems: list[Problem] = []
        self._shown = shown

    def statement(self) -> None:
        """Read one line, or the lines of one quoted value."""
        self._take(_BLANK)
        if self._peek() in {"", "\n", "#"}:
            self._skip_line()
            return
        start = self.position
        assignment = _ASSIGNMENT.match(self.text, start)
        if assignment is None:
            line = self._take(_REST)
            # It may be a secret, or half of one: its beginning is enough to find it.
            self._complain(start, f"{line[:3]}{MASK if line[3:] else ''}", "expected NAME=value")
            self._skip_line()
            return
        name = assignment["name"]
        self.position = assignment.end()
        value = self._value(start, name)
        self._skip_line()
        if not _NAME.fullmatch(name):
            self._complain(start, name, "a name has letters, digits and _, no digit first")
        elif value is not None and "\0" in value:
            self._complain(start, name, "a value cannot have a NUL")
        elif value is not None:
            self.variables[name] = value

    def _value(self, start: int, name: str) -> str | None:
        quote = self._peek()
        if quote not in {"'", '"'}:
            return _COMMENT.sub("", self._take(_REST)).rstrip(" \t")
        found = (_SINGLE if quote == "'" else _DOUBLE).match(self.text, self.position)
        if found is None:
            self._complain(start, name, f"the quote {quote} is never closed")
            return None
        self.position = found.end()
        rest = self._take(_REST)
        if _COMMENT.sub("", rest).strip(" \t"):
            self._complain(start, name, f"there is text behind the closing {quote}")
            return None
        return found[1] if quote == "'" else _ESCAPE.sub(_unescape, found[1])

    def _complain(self, start: int, subject: str, reason: str) -> None:
        line = self.text.count("\n", 0, start) + 1
        shown = subject if len(subject) <= 20 else f"{subject[:20]}..."
        self.problems.append(Problem(self._shown, line, shown, "", reason))

    def _peek(self) -> str:
        return self.text[self.position : self.position + 1]

    def _take(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self.text, self.position)
        if found is None:
            return ""
        self.position = found.end()
        return found[0]

    def _skip_line(self) -> None:
        end = self.text.find("\n", self.position)
        self.position = len(self.text) if end < 0 else end + 1


def _unescape(found: re.Match[str]) -> str:
    return _ESCAPED.get(found[1], found[1])
