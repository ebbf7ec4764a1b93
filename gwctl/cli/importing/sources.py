"""Which kind of file something is, by its name and content, and what it says."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from gwctl.cli.importing import containers, nginx_unit, services, shell_words, uwsgi_file
from gwctl.cli.importing.found import Invocation, NotImported, Source, Stated
from gwctl.config.foreign import gunicorn, others, servers, uwsgi
from gwctl.config.foreign.translation import Given, Left

KINDS: Final = (
    "gunicorn",
    "hypercorn",
    "uwsgi",
    "systemd",
    "procfile",
    "dockerfile",
    "compose",
    "script",
    "nginx-unit",
    "env",
)
_USUAL: Final = (
    "gunicorn.conf.py",
    "hypercorn.toml",
    "uwsgi.ini",
    "uwsgi.yaml",
    "uwsgi.yml",
    "uwsgi.json",
    "Procfile",
    "Dockerfile",
    "compose.yaml",
    "compose.yml",
    "docker-compose.yml",
    "docker-compose.yaml",
)
_BYTES_MAX: Final = 1 << 20
_EXEC: Final = re.compile(r"^\s*ExecStart\s*=", re.MULTILINE)
_SHEBANG: Final = re.compile(r"#!\s*/\S*[/ ](?:env\s+)?(?:ba|da|z)?sh\b")
_COMPOSE: Final = re.compile(r"(docker-)?compose\b")
_SERVICES: Final = re.compile(r"^services\s*:", re.MULTILINE)
_UWSGI: Final = re.compile(r"^(\[uwsgi\]|uwsgi\s*:)", re.MULTILINE)
_FROM: Final = re.compile(r"^\s*FROM\s+\S", re.MULTILINE | re.IGNORECASE)
_ASSIGNED: Final = re.compile(r"^[ \t]*(?:def[ \t]+(\w+)[ \t]*\(|(\w+)[ \t]*(?::[^=\n]*)?=)", re.MULTILINE)
_PROCESS: Final = re.compile(r"^[A-Za-z0-9_-]+:[ \t]+\S", re.MULTILINE)
_OF_SERVER: Final = re.compile(r"^\s*(?:export\s+)?(GUNICORN_CMD_ARGS|UVICORN_|GRANIAN_)", re.MULTILINE)


def of_file(
    path: Path, shown: str, environ: Mapping[str, str], *, kind: str = "", entry: str = "", app: str = ""
) -> Source:
    """Read a file of any kind.

    Args:
        path: Its place.
        shown: What the person called it.
        environ: Of this command: a gunicorn.conf.py sees it, and GUNICORN_CMD_ARGS counts.
        kind: One of `KINDS`; empty: found out.
        entry: Which of several processes or services is meant.
        app: The application, which not all of these files name.

    Raises:
        NotImported: It cannot be read, or is nothing that is known here.
    """
    text = _text(path, shown)
    kind = kind or kind_of(path.name, text)
    words = [app] if app else []
    match kind:
        case "gunicorn":
            location, folder = _started_in(path, shown)
            found = Invocation(gunicorn.SERVER, ["-c", location, *words], folder, shown, dict(environ))
            return Source(shown, kind, {"web": found})
        case "hypercorn":
            location, folder = _started_in(path, shown)
            found = Invocation(others.HYPERCORN, ["-c", location, *words], folder, shown)
            return Source(shown, kind, {"web": found})
        case "uwsgi":
            given, left = uwsgi_file.read(path, shown, environ)
            return Source(
                shown, kind, {"web": Stated(uwsgi.SERVER, given, path.parent, left=left, unexpanded=True)}
            )
        case "systemd":
            return services.systemd(path, shown, text)
        case "procfile":
            return services.procfile(path, shown, text, entry)
        case "dockerfile":
            return containers.dockerfile(path, shown, text)
        case "compose":
            return containers.compose(path, shown, text, entry)
        case "script":
            return services.script(path, shown, text)
        case "nginx-unit":
            return nginx_unit.read(path, shown, text)
        case "env":
            return _variables(path, shown, text, app)
    raise NotImported(
        f"{shown} is nothing that is known here. --from says what it is: {', '.join(KINDS)}; "
        "or write the command itself, behind --"
    )


def _started_in(path: Path, shown: str) -> tuple[str, Path]:
    """Say how the server would name a file of its settings, and where it would be started.

    In this folder, if the file is below it; else in that of the file.
    """
    below = Path(shown)
    if below.is_absolute() or ".." in below.parts:
        return str(path), path.parent
    return shown, Path(str(path).removesuffix(str(below)))


def _text(path: Path, shown: str) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_BYTES_MAX + 1)
    except OSError as error:
        raise NotImported(f"cannot read {shown}: {error.strerror}") from None
    if len(data) > _BYTES_MAX:
        raise NotImported(f"{shown} is larger than 1 MiB: no settings of a server")
    return data.decode("utf-8", "replace")


def kind_of(name: str, text: str) -> str:
    """Tell what a file is; empty: nothing that is known."""
    lower = name.lower()
    suffix = lower.rpartition(".")[2] if "." in lower else ""
    if suffix == "py":
        return "gunicorn" if _says_settings(text) else ""
    if suffix in {"service", "conf"} and _EXEC.search(text):
        return "systemd"
    if lower.startswith("procfile"):
        return "procfile"
    if "dockerfile" in lower or "containerfile" in lower:
        return "dockerfile"
    if suffix == "toml":
        return "hypercorn"
    if suffix in {"sh", "bash"} or _SHEBANG.match(text):
        return "script"
    if suffix in {"yaml", "yml"} and (_SERVICES.search(text) or _COMPOSE.match(lower)):
        return "compose"
    if suffix == "json" and '"uwsgi"' not in text:
        return "nginx-unit" if '"applications"' in text else ""
    if suffix in {"ini", "yaml", "yml", "json", "uwsgi"} and (_UWSGI.search(text) or '"uwsgi"' in text):
        return "uwsgi"
    return _by_content(text)


def _says_settings(text: str) -> bool:
    """Tell whether Python assigns something that gunicorn knows: an application is not to be run."""
    return any((found[1] or found[2]) in gunicorn.SERVER.by_name for found in _ASSIGNED.finditer(text))


def _by_content(text: str) -> str:
    for kind, pattern in {"systemd": _EXEC, "uwsgi": _UWSGI, "dockerfile": _FROM, "env": _OF_SERVER}.items():
        if pattern.search(text):
            return kind
    return "procfile" if _PROCESS.search(text) else ""


def of_command(words: Sequence[str], folder: Path, environ: Mapping[str, str]) -> Source:
    """Understand a command line.

    Raises:
        NotImported: It starts no server that is known.
    """
    command = shell_words.find(list(words), "", {})
    if command is None:
        known = ", ".join(server.commands[0] for server in servers.SERVERS)
        raise NotImported(f"{' '.join(words)} starts none of the servers that are known here: {known}")
    found = Invocation(
        command.server,
        command.words,
        folder,
        "",
        {**environ, **command.environ},
        lines=command.lines,
        left=command.left,
    )
    return Source(f"a command line of {command.server.name}", "command", {"web": found})


def in_folder(folder: Path) -> list[str]:
    """Files with the usual names that are here."""
    return [name for name in _USUAL if (folder / name).is_file()]


def toml(path: Path, shown: str) -> tuple[list[Given], list[Left]]:
    """Read hypercorn's TOML.

    Raises:
        NotImported: It cannot be read or is none.
    """
    try:
        values = tomllib.loads(_text(path, shown))
    except ValueError as error:
        raise NotImported(f"{shown} is not TOML: {error}") from None
    known = others.HYPERCORN.by_name
    given, left = [], []
    for name, value in values.items():
        origin = f"{shown} {name} = {value!r}" if not isinstance(value, dict) else f"{shown} [{name}]"
        if name in known:
            given.append(Given(known[name], value, origin))
        else:
            left.append(Left(origin, "hypercorn has no such setting that is known here"))
    return given, left


def _variables(path: Path, shown: str, text: str, app: str) -> Source:
    """Read a file of NAME=value lines with variables of one server."""
    environ: dict[str, str] = {}
    for raw in text.splitlines():
        name, equals, value = raw.strip().removeprefix("export ").partition("=")
        if equals and not name.startswith("#"):
            environ[name.strip()] = value.strip().strip("\"'")
    server = next(
        (each for each in servers.SERVERS if each.prefix and any(n.startswith(each.prefix) for n in environ)),
        None,
    )
    if server is None and "GUNICORN_CMD_ARGS" in environ:
        server = gunicorn.SERVER
    if server is None:
        raise NotImported(f"{shown} has no variable of a server: UVICORN_, GRANIAN_, GUNICORN_CMD_ARGS")
    return Source(
        shown, "env", {"web": Invocation(server, [app] if app else [], path.parent, shown, environ)}
    )
