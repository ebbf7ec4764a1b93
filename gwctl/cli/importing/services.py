"""What starts servers on machines: systemd units, Procfiles and scripts of the shell's."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from gwctl.cli.importing import shell_words
from gwctl.cli.importing.found import Invocation, NotImported, Source
from gwctl.cli.unit.unit_file import UnitFile, parsed, seconds_of
from gwctl.config.foreign.translation import Left, Line

_PROCESS: Final = re.compile(r"([A-Za-z0-9_-]+)\s*:\s*(.+)")
_SPECIFIER: Final = re.compile(r"%([%A-Za-z])")
_PREFIXES: Final = "-@:+!|"
_BY_PLATFORM: Final = {"PORT": "$PORT", "WEB_CONCURRENCY": "$WEB_CONCURRENCY"}
"""What a platform that reads Procfiles sets."""


def systemd(path: Path, shown: str, text: str) -> Source:
    """Read a unit's ExecStart, and what else of it a gw.toml says.

    Raises:
        NotImported: It starts no server that is known.
    """
    unit = parsed(text)
    number = next(
        (n for n, line in enumerate(text.splitlines(), 1) if line.strip().startswith("ExecStart=")), 0
    )
    started = unit.one("ExecStart").lstrip(_PREFIXES)
    place = f"{shown}:{number}" if number else shown
    environ = _environment(unit)
    command = shell_words.find(_words(started), place, environ) if started else None
    if command is None:
        raise NotImported(f"{shown} starts {started or 'nothing'}: none of the servers that are known here")
    folder = unit.one("WorkingDirectory").lstrip("-")
    lines = [*_lines(unit, shown), *command.lines]
    here = Path(folder) if folder and Path(folder).is_dir() else path.parent
    return Source(
        shown,
        "systemd",
        {
            "web": Invocation(
                command.server,
                command.words,
                here,
                place,
                command.environ,
                folder,
                unexpanded=True,
                lines=lines,
                left=[*command.left, *_left(unit, shown)],
            )
        },
    )


def _words(text: str) -> list[str]:
    """As systemd splits them: no shell sees them; ``%%`` and ``$$`` are one."""
    try:
        words = shell_words.split(text.replace(" ; ", " && "))
    except ValueError:
        words = text.split()
    return [_SPECIFIER.sub(_specifier, word).replace("$$", "$") for word in words]


def _specifier(found: re.Match[str]) -> str:
    """``%%`` is one; what others stand for is known at start only."""
    return "%" if found[1] == "%" else f"${{%{found[1]}}}"


def _environment(unit: UnitFile) -> dict[str, str]:
    found: dict[str, str] = {}
    for value in unit.all("Environment"):
        try:
            words = shell_words.split(value)
        except ValueError:
            words = value.split()
        found.update((word.partition("=")[0], word.partition("=")[2]) for word in words if "=" in word)
    return found


def _lines(unit: UnitFile, shown: str) -> list[Line]:
    """What a pool says itself; `gwctl unit` writes a unit for it that says it, too."""
    lines: list[Line] = []
    folder = unit.one("WorkingDirectory").lstrip("-")
    if folder and "%" not in folder and folder != "~":
        lines.append(Line("chdir", folder, [f"{shown} WorkingDirectory={folder}"]))
    for key, setting in {"User": "user", "Group": "group"}.items():
        if (value := unit.one(key)) and "%" not in value:
            lines.append(Line(setting, value, [f"{shown} {key}={value}"]))
    variables = {name: value for name, value in _environment(unit).items() if not _is_servers(name)}
    if variables:
        lines.append(Line("env", variables, [f"{shown} Environment="]))
    files = [each.lstrip("-") for each in unit.all("EnvironmentFile")]
    if len(files) == 1 and "%" not in files[0]:
        lines.append(Line("env_file", files[0], [f"{shown} EnvironmentFile={files[0]}"]))
    nofile = unit.one("LimitNOFILE").partition(":")[0]
    if nofile.isdigit():
        lines.append(Line("nofile", int(nofile), [f"{shown} LimitNOFILE={nofile}"]))
    if umask := unit.one("UMask"):
        lines.append(Line("umask", umask[-3:], [f"{shown} UMask={umask}"]))
    return lines


def _is_servers(name: str) -> bool:
    return name.startswith(("GUNICORN_", "UVICORN_", "GRANIAN_")) or name in {
        "WEB_CONCURRENCY",
        "FORWARDED_ALLOW_IPS",
    }


def _left(unit: UnitFile, shown: str) -> list[Left]:
    left = [
        Left(f"{shown} {key}={value}", "It stays in the unit; `gwctl unit` writes one")
        for key in ("ExecStartPre", "ExecStartPost", "ExecStopPost")
        for value in unit.all(key)
    ]
    if len(unit.all("EnvironmentFile")) > 1:
        left.append(Left(f"{shown} EnvironmentFile=", "There are several: `env_file` is one"))
    if reloads := unit.one("ExecReload"):
        left.append(
            Left(
                f"{shown} ExecReload={reloads}",
                "`gwctl unit` writes gwctl reload there, which tells the outcome",
            )
        )
    stop = seconds_of(unit.one("TimeoutStopSec"))
    if stop is not None:
        left.append(
            Left(
                f"{shown} TimeoutStopSec={unit.one('TimeoutStopSec')}",
                "`gwctl unit` makes it of `drain_timeout_s`",
            )
        )
    return left


def script(path: Path, shown: str, text: str) -> Source:
    """Read a script of the shell's, as entrypoints of images are: its last command that starts a server.

    Only commands in a row are understood: what conditions and loops do is not followed.

    Raises:
        NotImported: None does.
    """
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    command = shell_words.find(shell_words.words_of("\n".join(lines), shown), shown, {})
    if command is None:
        raise NotImported(f"{shown} starts none of the servers that are known here")
    invocation = Invocation(
        command.server,
        command.words,
        path.parent,
        shown,
        command.environ,
        unexpanded=True,
        lines=command.lines,
        left=command.left,
    )
    return Source(shown, "script", {"web": invocation})


def procfile(path: Path, shown: str, text: str, entry: str) -> Source:
    """Read the process ``web``, the one named ``entry``, or the first that runs a server.

    Raises:
        NotImported: None does.
    """
    processes: dict[str, tuple[int, str]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if found := _PROCESS.fullmatch(line.strip()):
            processes[found[1]] = number, found[2]
    if entry and entry not in processes:
        raise NotImported(f"{shown} has no process {entry}: there are {', '.join(processes) or 'none'}")
    names = [entry] if entry else sorted(processes, key=lambda name: name != "web")
    for name in names:
        number, command = processes[name]
        place = f"{shown}:{number}"
        found_there = shell_words.find(shell_words.words_of(command, place), place, _BY_PLATFORM)
        if found_there is None:
            continue
        others = [other for other in processes if other != name]
        reason = "gwctl serves HTTP alone: it stays in the Procfile"
        invocation = Invocation(
            found_there.server,
            found_there.words,
            path.parent,
            place,
            found_there.environ,
            unexpanded=True,
            lines=found_there.lines,
            left=found_there.left,
        )
        left = [Left(f"{shown}:{processes[other][0]} {other}", reason) for other in others]
        return Source(shown, "procfile", {"web": invocation}, left)
    raise NotImported(f"{shown}: no process runs a server that is known here")
