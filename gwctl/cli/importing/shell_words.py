"""Command lines as shells, systemd, Docker and Procfiles have them: which of their words start a server.

Nothing is run and no file looked at. What stands in front of the server (``exec``, ``poetry run``, ``tini
--``) is told, variables that are known are put in, others stay as they are.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Struct, field

from gwctl.cli.importing.found import NotImported
from gwctl.config.foreign import servers
from gwctl.config.foreign.option import Server
from gwctl.config.foreign.translation import Left, Line

_VARIABLE: Final = re.compile(
    r"\$(?:(?P<name>[A-Za-z_]\w*)|\{(?P<braced>[A-Za-z_]\w*)(?::?(?P<kind>[-?+=])(?P<word>[^{}]*))?\})"
)
_ASSIGNMENT: Final = re.compile(r"[A-Za-z_]\w*=")
_PYTHON: Final = re.compile(r"(?:python|pypy)[\d.]*")
_SHELLS: Final = frozenset({"sh", "bash", "dash", "ash", "zsh"})
_BETWEEN: Final = frozenset({"&&", "||", ";", "|", "&"})
_NO_SERVERS: Final = frozenset(
    {"pip", "pip3", "apt-get", "apt", "apk", "echo", "which", "pkill", "exec", "touch", "wait-for-it"}
)
_AS_USER: Final = frozenset({"gosu", "su-exec", "setuidgid"})
_SILENT: Final = frozenset(
    {
        "exec",
        "env",
        "nohup",
        "tini",
        "dumb-init",
        "--",
        "-g",
        "-s",
        "catatonit",
        "run",
        "poetry",
        "pipenv",
        "uv",
        "pdm",
    }
)
_DEPTH_MAX: Final = 4
_VALUE_CHARS_MAX: Final = 32_768
"""A value that its variables make longer stays as it is written."""


class Command(Struct):
    """A server among the words, and what stands around it."""

    server: Server
    words: list[str]
    environ: dict[str, str] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)


def expanded(text: str, environ: Mapping[str, str]) -> str:
    """Put in variables that are known, and defaults of those that are not (``${PORT:-8000}``)."""

    def value(found: re.Match[str]) -> str:
        name = found["name"] or found["braced"]
        known = environ.get(name)
        if known is not None and (known or found["kind"] != "-"):
            return known
        return found["word"] if found["kind"] in {"-", "="} and found["word"] is not None else found[0]

    made = _VARIABLE.sub(value, text)
    return made if len(made) <= _VALUE_CHARS_MAX else text


def split(text: str) -> list[str]:
    """Words of a shell's command, operators among them; raises ValueError where quotes do not close."""
    lexer = shlex.shlex(text.replace("\\\n", " ").replace("\n", " ; "), posix=True, punctuation_chars=";&|")
    lexer.whitespace_split = True
    lexer.commenters = ""
    return list(lexer)


def words_of(text: str, place: str) -> list[str]:
    """Split what is the command itself: nothing else can be made of it.

    Raises:
        NotImported: Its quotes do not close.
    """
    try:
        return split(text)
    except ValueError as error:
        raise NotImported(f"{place}: {error}") from None


def find(words: Sequence[str], place: str, environ: Mapping[str, str], depth: int = 0) -> Command | None:
    """Find the server that some words start; None: none that is known.

    Of several commands (``migrate && gunicorn ...``) the last one counts; the others are told.

    Raises:
        NotImported: What a shell is given with ``-c`` is no command.
    """
    parts = [part for part in _parts(words) if part]
    known = dict(environ)
    for part in filter(_only_assigns, parts):
        assigned = (word.partition("=") for word in part if _ASSIGNMENT.match(word))
        known.update((name, expanded(value, known)) for name, _, value in assigned)
    for number in reversed(range(len(parts))):
        found = _in_part(parts[number], place, known, depth)
        if found is not None:
            told = (part for part in (*parts[:number], *parts[number + 1 :]) if not _only_assigns(part))
            others = [" ".join(part) for part in told]
            reason = "Do it before gwctl starts: a release step, ExecStartPre=, the entrypoint"
            found.left += [Left(_said(place, other), reason) for other in others]
            return found
    return None


def _only_assigns(part: list[str]) -> bool:
    """``export A=1``, ``A=1``, and ``set -e``, of which there is nothing to say."""
    return part[0] == "set" or all(_ASSIGNMENT.match(word) or word == "export" for word in part)


def _parts(words: Sequence[str]) -> list[list[str]]:
    parts: list[list[str]] = [[]]
    for word in words:
        if word in _BETWEEN:
            parts.append([])
        else:
            parts[-1].append(word)
    return parts


def _in_part(words: list[str], place: str, environ: Mapping[str, str], depth: int) -> Command | None:
    known = dict(environ)
    for index, word in enumerate(words):
        name = word.rpartition("/")[2]
        if _ASSIGNMENT.match(word) and index == len([each for each in words[:index] if _is_prefix(each)]):
            variable, _, value = word.partition("=")
            known[variable] = expanded(value, known)
            continue
        if name in _NO_SERVERS - {"exec"} and index == 0:
            return None
        found = _at(words, index, place, known, depth)
        if found is not None:
            _tell_prefix(found, words[:index], place)
            return found
    return None


def _is_prefix(word: str) -> bool:
    return bool(_ASSIGNMENT.match(word)) or word.rpartition("/")[2] in {"exec", "env"}


def _at(words: list[str], index: int, place: str, known: dict[str, str], depth: int) -> Command | None:
    name = words[index].rpartition("/")[2]
    rest = words[index + 1 :]
    if name in _SHELLS and depth < _DEPTH_MAX:
        flag = next((n for n, each in enumerate(rest) if re.fullmatch(r"-[a-z]*c", each)), None)
        if flag is not None and len(rest) > flag + 1:
            inner = words_of(rest[flag + 1], place or f"{name} {rest[flag]}")
            return find(inner, place, known, depth + 1)
        return None
    if _PYTHON.fullmatch(name) and "-m" in rest:
        at = rest.index("-m")
        server = servers.of_command(rest[at + 1]) if len(rest) > at + 1 else None
        return _command(server, rest[at + 2 :], known) if server else None
    server = servers.of_command(words[index])
    if server is None:
        return None
    if server.name == "fastapi":
        rest = [each for n, each in enumerate(rest) if n or each not in {"run", "dev"}]
    return _command(server, rest, known)


def _command(server: Server, words: list[str], known: dict[str, str]) -> Command:
    return Command(server, [expanded(word, known) for word in words], known)


def _tell_prefix(found: Command, words: list[str], place: str) -> None:
    """What stood in front of the server."""
    kept = [word for word in words if not _ASSIGNMENT.match(word)]
    for index, word in enumerate(kept):
        name, following = word.rpartition("/")[2], kept[index + 1] if index + 1 < len(kept) else ""
        if name in _AS_USER and following:
            user, _, group = following.partition(":")
            found.lines.append(Line("user", user, [_said(place, f"{name} {following}")]))
            if group:
                found.lines.append(Line("group", group, [_said(place, f"{name} {following}")]))
            kept = kept[:index] + kept[index + 2 :]
            break
    told = [word for word in kept if word.rpartition("/")[2] not in _SILENT and not _is_shell(word)]
    if told:
        found.left.append(Left(_said(place, " ".join(kept)), "It may stand in front of gwctl start as well"))


def _is_shell(word: str) -> bool:
    name = word.rpartition("/")[2]
    return name in _SHELLS or bool(_PYTHON.fullmatch(name))


def _said(place: str, text: str) -> str:
    return f"{place} {text}".strip()
