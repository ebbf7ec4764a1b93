"""From what was found of a server to the settings of a pool: its files, its variables and its command line
as one.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from gwctl.cli.importing import evaluation, sources, uwsgi_file
from gwctl.cli.importing.found import Found, Invocation, NotImported
from gwctl.cli.importing.gw_toml import PLACEHOLDER
from gwctl.config.discover import discover
from gwctl.config.foreign import command_line, others, uwsgi
from gwctl.config.foreign.option import Option, Server
from gwctl.config.foreign.translation import Given, Left, Line, Translation, merged, translated

_NAMES_FILE: Final = (".ini", ".yaml", ".yml", ".json", ".xml")
_ARGUMENTS: Final = "GUNICORN_CMD_ARGS"
_DOES_NOTHING: Final = frozenset({"config", "ini", "yaml", "json"})
"""Options that only name a file, which is read."""


def pool_of(found: Found, app: str = "") -> Translation:
    """Make the settings of one pool.

    Args:
        found: What its server was told.
        app: The application as the person named it, who knows best.

    Raises:
        NotImported: A file or a variable that the server reads cannot be read.
    """
    if isinstance(found, Invocation):
        given, left = _invocation(found)
    else:
        given, left = found.given, found.left
    result = translated(found.server, [_open(each, found.unexpanded) for each in given])
    for line in found.lines:
        result.add(line)
    result.left[:0] = [*found.left, *(each for each in left if each not in found.left)]
    _tell_processors(result)
    _name_application(result, found.folder, app)
    return result


def _tell_processors(result: Translation) -> None:
    """A number that was computed from processors is that of this machine."""
    line = result.lines.get("processes")
    if line is not None and any("cpu_count" in origin for origin in line.origins):
        line.note = 'of this machine; "auto" asks each, quotas and memory too'


def _open(given: Given, unexpanded: bool) -> Given:
    return Given(given.option, given.value, given.origin, True) if unexpanded else given


def _name_application(result: Translation, folder: Path, app: str) -> None:
    if app:
        result.lines["app"] = Line("app", app, ["--app"])
    if "app" in result.lines:
        return
    candidates = discover(folder)
    if candidates:
        best = candidates[0]
        result.lines["app"] = Line("app", best.app, [], f"found in this folder: {best.described}")
        if best.folder:
            result.add(Line("pythonpath", [best.folder], [], "where it was found"))
    else:
        result.lines["app"] = Line(
            "app", PLACEHOLDER, [], "no application is named: write its name here, or --app"
        )


def _invocation(found: Invocation) -> tuple[list[Given], list[Left]]:
    taken = command_line.take(found.server, found.words, found.place, unexpanded=found.unexpanded)
    place = f"{found.place} " if found.place else ""
    left = [
        Left(f"{place}{each}", f"{found.server.name} has no such option that is known here")
        for each in taken.unknown
    ]
    variables = list(_variables(found.server, found))
    if found.server.name == "gunicorn":
        files, more = _gunicorn(found, taken.given)
        extra = command_line.take(
            found.server, _arguments(found.environ), _ARGUMENTS, unexpanded=found.unexpanded
        )
        given = merged(variables, files, extra.given, taken.given, _application(found, taken.rest))
    elif found.server.name == "hypercorn":
        files, more = _hypercorn(found, taken.given)
        given = merged(files, taken.given, _application(found, taken.rest))
    elif found.server.name == "uWSGI":
        files, more = _uwsgi(found, taken)
        given = merged(files, taken.given)
    else:
        more = []
        given = merged(variables, taken.given, _application(found, taken.rest))
    return [each for each in given if each.option.name not in _DOES_NOTHING or each.option.target], [
        *left,
        *more,
    ]


def _arguments(environ: Mapping[str, str]) -> list[str]:
    """What gunicorn takes beside its command line, split as it does."""
    try:
        return shlex.split(environ.get(_ARGUMENTS, ""))
    except ValueError as error:
        raise NotImported(f"{_ARGUMENTS}: {error}") from None


def _variables(server: Server, found: Invocation) -> Iterable[Given]:
    """Variables that set options: a prefix and the name, or one of its own."""
    place = f"{found.place} " if found.place else ""
    known = {option.variable: option for option in server.options if option.variable}
    if server.prefix:
        known |= {f"{server.prefix}{option.name.upper()}": option for option in server.options}
        by_name = server.by_name
        known |= {
            name: by_name[option] for name, option in others.OTHER_VARIABLES.get(server.name, {}).items()
        }
    for name, option in known.items():
        if value := found.environ.get(name):
            several = value.split() if option.takes == "list" else value
            yield Given(option, several, f"{place}{name}={value}", found.unexpanded)
    port = found.environ.get("PORT")
    if server.name == "gunicorn" and port:
        yield Given(server.by_name["bind"], [f"0.0.0.0:{port}"], f"{place}PORT={port}", found.unexpanded)


def _application(found: Invocation, rest: list[str]) -> list[Given]:
    """What is no option is the application."""
    if not rest:
        return []
    option = _app_option(found.server)
    origin = f"{found.place} {rest[0]}".strip()
    if found.server.name == "fastapi" and rest[0].endswith(".py"):
        return _script(option, found, rest[0], origin)
    return [Given(option, rest[0], origin, found.unexpanded)]


def _script(option: Option, found: Invocation, path: str, origin: str) -> list[Given]:
    """Take a path as ``fastapi run`` does: without ``__init__.py`` its folder is on sys.path."""
    parts = path.removesuffix(".py").strip("/").split("/")
    package = len(parts) > 1 and not (found.folder / Path(*parts[:-1])).is_dir()
    package = package or (found.folder / Path(*parts[:-1]) / "__init__.py").exists()
    module = ".".join(parts) if package else parts[-1]
    given = [Given(option, module, origin, found.unexpanded)]
    if len(parts) > 1 and not package:
        given.append(Given(found.server.by_name["app_dir"], "/".join(parts[:-1]), origin, found.unexpanded))
    return given


def _app_option(server: Server) -> Option:
    return next(option for option in server.options if option.target == "app")


def _named(given: list[Given], name: str) -> str:
    return next((str(each.value) for each in given if each.option.name == name), "")


def _here(found: Invocation, path: str) -> Path:
    """A path of the image or the machine that is meant, here."""
    if found.root and path.startswith(f"{found.root.rstrip('/')}/") and not os.path.exists(path):  # noqa: PTH110
        path = path.removeprefix(f"{found.root.rstrip('/')}/")
    return found.folder / path


def _gunicorn(found: Invocation, given: list[Given]) -> tuple[list[Given], list[Left]]:
    location = _named(given, "config").removeprefix("file:")
    chdir = _named(given, "chdir")
    folder = _here(found, chdir) if chdir and _here(found, chdir).is_dir() else found.folder
    if not location and (folder / "gunicorn.conf.py").is_file():
        location = "gunicorn.conf.py"
    if not location:
        return [], []
    environ = {**os.environ, **found.environ}
    if location.startswith("python:"):
        return evaluation.settings(location, location.removeprefix("python:"), folder, environ), []
    where = _here(found, location)
    if not where.is_file():
        if found.place:
            return [], [Left(f"{found.place} -c {location}", "It is not here: gwctl import it by itself")]
        raise NotImported(f"there is no file {location}")
    shown = where.name if where.parent == folder else location
    return evaluation.settings(str(where), shown, folder, environ), []


def _hypercorn(found: Invocation, given: list[Given]) -> tuple[list[Given], list[Left]]:
    location = _named(given, "config")
    if not location:
        return [], []
    if location.startswith(("file:", "python:")):
        return [], [
            Left(
                f"{found.place} -c {location}".strip(),
                "It is Python, which is not run: write its values as options",
            )
        ]
    where = _here(found, location)
    if not where.is_file():
        if found.place:
            return [], [Left(f"{found.place} -c {location}", "It is not here: gwctl import it by itself")]
        raise NotImported(f"there is no file {location}")
    return sources.toml(where, where.name if where.parent == found.folder else location)


def _uwsgi(found: Invocation, taken: command_line.Taken) -> tuple[list[Given], list[Left]]:
    """Files, by options or as they are; what is no option and no file is an address."""
    names = [*(_named(taken.given, name) for name in ("ini", "yaml", "json")), *taken.rest]
    given: list[Given] = []
    left: list[Left] = []
    for name in filter(None, names):
        path, _, section = name.partition(":")
        if not path.endswith(_NAMES_FILE):
            given.append(
                Given(
                    uwsgi.SERVER.by_name["http_socket"],
                    [name],
                    f"{found.place} {name}".strip(),
                    found.unexpanded,
                )
            )
            continue
        where = _here(found, path)
        if not where.is_file() and found.place:
            left.append(Left(f"{found.place} {name}", "It is not here: gwctl import it by itself"))
            continue
        more, unknown = uwsgi_file.read(
            where, where.name if where.parent == found.folder else path, found.environ, section
        )
        given, left = merged(given, more), [*left, *unknown]
    return given, left
