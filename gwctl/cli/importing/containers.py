"""Dockerfiles and compose files: what a container runs, with what is known of its environment."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from msgspec import Struct, field
from msgspec.structs import replace

from gwctl.cli.importing import shell_words, yaml_reader
from gwctl.cli.importing.found import Found, Invocation, NotImported, Source
from gwctl.config.foreign.translation import Left

_INSTRUCTION: Final = re.compile(r"\s*([A-Za-z]+)\s+(.*)", re.DOTALL)


class _Image(Struct):
    """What a Dockerfile says of the container."""

    environ: dict[str, str] = field(default_factory=dict)
    folder: str = ""
    command: tuple[int, list[str]] = (0, [])
    entrypoint: tuple[int, list[str]] = (0, [])

    @property
    def words(self) -> list[str]:
        """Docker runs ENTRYPOINT with CMD behind it; in the form of a shell CMD does not count."""
        _, entry = self.entrypoint
        shell = entry[:2] == ["sh", "-c"]
        return entry if shell else [*entry, *self.command[1]]

    @property
    def line(self) -> int:
        return self.command[0] or self.entrypoint[0]


def dockerfile(path: Path, shown: str, text: str) -> Source:
    """Read the last stage of a Dockerfile.

    Raises:
        NotImported: It runs no server that is known.
    """
    image = _image(text)
    what = " ".join(image.words) or "nothing"
    hint = ". If it is a script, import that" if re.search(r"\.sh\b|entrypoint|start", what) else ""
    found = _invocation(image, path.parent, f"{shown}:{image.line}")
    if found is None:
        raise NotImported(
            f"{shown}: the container runs {what}: none of the servers that are known here{hint}"
        )
    return Source(shown, "dockerfile", {"web": found})


def _invocation(image: _Image, folder: Path, place: str) -> Invocation | None:
    words = image.words
    command = shell_words.find(words, place, image.environ) if words else None
    if command is None:
        return None
    return Invocation(
        command.server,
        command.words,
        folder,
        place,
        command.environ,
        image.folder,
        unexpanded=True,
        lines=command.lines,
        left=command.left,
    )


def _image(text: str) -> _Image:
    image, stages = _Image(), dict[str, _Image]()
    for number, name, rest in _instructions(text):
        match name:
            case "FROM":
                image = _stage(rest, stages)
            case "ENV":
                image.environ.update(_env(rest, image.environ))
            case "ARG" if "=" in rest:
                variable, _, value = rest.partition("=")
                image.environ.setdefault(variable.strip(), _bare(value))
            case "WORKDIR":
                image.folder = _joined(image.folder, _bare(shell_words.expanded(rest, image.environ)))
            case "CMD":
                image.command = number, _form(rest)
            case "ENTRYPOINT":
                image.entrypoint, image.command = (number, _form(rest)), (0, [])
    return image


def _stage(rest: str, stages: dict[str, _Image]) -> _Image:
    """``FROM base AS web``: what the stage ``base`` says is true here, too."""
    words = [word for word in rest.split() if not word.startswith("--")]
    base = stages.get(words[0].lower()) if words else None
    image = _Image() if base is None else replace(base, environ=dict(base.environ))
    if len(words) == 3 and words[1].lower() == "as":
        stages[words[2].lower()] = image
    return image


def _joined(above: str, folder: str) -> str:
    return folder if folder.startswith("/") else f"{above.rstrip('/')}/{folder}"


def _form(rest: str) -> list[str]:
    """A JSON array is the words; anything else is a command of the shell's."""
    try:
        words = json.loads(rest)
    except ValueError:
        words = None
    if isinstance(words, list) and all(isinstance(word, str) for word in words):
        return words
    return ["sh", "-c", rest]


def _instructions(text: str) -> Iterator[tuple[int, str, str]]:
    begun, whole = 0, ""
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.rstrip()
        if line.lstrip().startswith("#") or (whole and not line.strip()):
            continue
        begun = begun if whole else number
        whole += line[:-1] + " " if line.endswith("\\") else line
        if not line.endswith("\\"):
            if found := _INSTRUCTION.fullmatch(whole.strip()):
                yield begun, found[1].upper(), found[2].strip()
            whole = ""


def _env(rest: str, environ: Mapping[str, str]) -> dict[str, str]:
    try:
        words = shell_words.split(rest)
    except ValueError:
        words = rest.split()
    if words and "=" not in words[0]:
        name, _, value = rest.partition(" ")
        return {name: shell_words.expanded(value.strip(), environ)}
    pairs = (word.partition("=") for word in words if "=" in word)
    return {name: shell_words.expanded(value, environ) for name, _, value in pairs}


def _bare(text: str) -> str:
    return text.strip().strip("\"'")


# ---- compose


def compose(path: Path, shown: str, text: str, entry: str) -> Source:
    """Read the service that runs a server: the first, or the one named ``entry``.

    Raises:
        NotImported: It is no compose file, or no service of it runs a server that is known.
    """
    document = yaml_reader.read(text, shown)
    services = document.get("services") if isinstance(document, dict) else None
    if services is None and isinstance(document, dict) and any(map(_is_service, document.values())):
        services = document  # the first form of these files
    if not isinstance(services, dict):
        raise NotImported(f"{shown} has no services: it is no compose file")
    if entry and entry not in services:
        raise NotImported(f"{shown} has no service {entry}: there are {', '.join(services)}")
    found: dict[str, Invocation] = {}
    left: list[Left] = []
    for name, service in services.items():
        if not isinstance(service, dict) or (entry and name != entry):
            continue
        invocation = _service(name, service, path, shown)
        if invocation is None:
            continue
        if found:
            left.append(
                Left(f"{shown} {name}", f"It runs a server, too: gwctl import {shown} --entry {name}")
            )
        else:
            found[name] = invocation
    if not found:
        what = f"the service {entry} runs" if entry else "no service runs"
        raise NotImported(f"{shown}: {what} {'no server' if entry else 'a server'} that is known here")
    pools: dict[str, Found] = {"web": next(iter(found.values()))}
    return Source(shown, "compose", pools, left)


def _is_service(value: Any) -> bool:
    return isinstance(value, dict) and bool(value.keys() & {"image", "build", "command", "extends"})


def _service(name: str, service: dict[str, Any], path: Path, shown: str) -> Invocation | None:
    image = _built(service, path) or _Image()
    image.environ.update(_environment(service.get("environment")))
    if service.get("entrypoint") is not None:
        image.entrypoint, image.command = (0, _words(service["entrypoint"])), (0, [])
    if service.get("command") is not None:
        image.command = 0, _words(service["command"])
    if isinstance(service.get("working_dir"), str):
        image.folder = service["working_dir"]
    return _invocation(image, path.parent, f"{shown} {name}:")


def _built(service: dict[str, Any], path: Path) -> _Image | None:
    """What the Dockerfile beside it says, if the service is built from one that is here."""
    build = service.get("build")
    if isinstance(build, str):
        build = {"context": build}
    if not isinstance(build, dict):
        return None
    where = path.parent / str(build.get("context", ".")) / str(build.get("dockerfile", "Dockerfile"))
    try:
        return _image(where.read_text("utf-8", "replace"))
    except OSError:
        return None


def _words(value: Any) -> list[str]:
    """Compose splits a text into words itself; no shell sees it."""
    if isinstance(value, list):
        return [_as_text(each).replace("$$", "$") for each in value]
    try:
        return shell_words.split(_as_text(value).replace("$$", "$"))
    except ValueError:
        return _as_text(value).split()


def _environment(value: Any) -> dict[str, str]:
    if isinstance(value, dict):
        return {str(name): _as_text(each) for name, each in value.items() if each is not None}
    pairs = (_as_text(each).partition("=") for each in (value if isinstance(value, list) else ()))
    return {name: each for name, equals, each in pairs if equals}


def _as_text(value: Any) -> str:
    """Of a plain value: lists in lists, which anchors can make endless, say nothing here."""
    if isinstance(value, list | dict):
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)
