"""Applications in a folder, found by reading its Python files: nothing is imported.

Looked at are the files in which applications usually are (wsgi.py, app.py, main.py ...), in
the folder, in ``src`` and in the packages right below; then the other files of the folder and
of ``src``. What counts: an assignment from a known framework's class, Django's
get_wsgi_application and the like, a function with the parameters of WSGI or ASGI, a factory
called create_app or make_app.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from msgspec import Struct

from gwctl.config import paths

_FILES: Final = ("wsgi", "asgi", "app", "main", "application", "server", "api", "__init__")
_NAMES: Final = ("application", "app", "api")
_FACTORIES: Final = ("create_app", "make_app")
_SKIPPED: Final = frozenset({"node_modules", "site-packages", "tests", "test", "docs", "venv", "env"})
_BYTES_MAX: Final = 1_000_000
_FOLDERS_MAX: Final = 100
_AFTER_PACKAGES: Final = 2
"""Packages have the depths 0 (none) and 1."""
_NOT_THE_APPLICATION: Final = re.compile(r"test_.*|.*_test|conftest|noxfile|setup|__.*__")
_OTHERS_MAX: Final = 50
_OTHER_BYTES_MAX: Final = 100_000

_FRAMEWORKS: Final = {
    "blacksheep.Application": ("BlackSheep", "asgi"),
    "bottle.Bottle": ("Bottle", "wsgi"),
    "channels.routing.ProtocolTypeRouter": ("Django Channels", "asgi"),
    "django.core.asgi.get_asgi_application": ("Django", "asgi"),
    "django.core.wsgi.get_wsgi_application": ("Django", "wsgi"),
    "falcon.API": ("Falcon", "wsgi"),
    "falcon.App": ("Falcon", "wsgi"),
    "falcon.asgi.App": ("Falcon", "asgi"),
    "fastapi.FastAPI": ("FastAPI", "asgi"),
    "fastapi.applications.FastAPI": ("FastAPI", "asgi"),
    "flask.Flask": ("Flask", "wsgi"),
    "litestar.Litestar": ("Litestar", "asgi"),
    "quart.Quart": ("Quart", "asgi"),
    "sanic.Sanic": ("Sanic", "asgi"),
    "socketio.ASGIApp": ("Socket.IO", "asgi"),
    "starlette.applications.Starlette": ("Starlette", "asgi"),
}


class Candidate(Struct, frozen=True):
    """``app`` is what the setting would be; ``interface`` is empty when reading does not tell."""

    app: str
    framework: str = ""
    interface: str = ""
    folder: str = ""
    """What must be on ``pythonpath``, relative to the folder that was looked at; empty: nothing."""

    @property
    def described(self) -> str:
        """``a FastAPI application`` in as many words as are known."""
        known = self.framework or self.interface.upper()
        article = "an" if known[:1] in "AEIOU" and known else "a"
        return f"{article} {known} application" if known else "an application"


def discover(folder: Path) -> list[Candidate]:
    """Find applications, the likeliest first."""
    ranked: list[tuple[tuple[int, int, int], Candidate]] = []
    for root, prefix in ((folder, ""), (folder / "src", "src")):
        for depth, package in _packages(root):
            for order, stem in enumerate(_FILES):
                for name_order, candidate in _in_file(package / f"{stem}.py", root, prefix):
                    ranked.append(((depth, order, name_order), candidate))
        for order, file in enumerate(_others(root), _OTHERS_MAX if prefix else 0):
            for name_order, candidate in _in_file(file, root, prefix, _OTHER_BYTES_MAX):
                ranked.append(((_AFTER_PACKAGES, name_order, order), candidate))
    ranked.sort(key=lambda entry: entry[0])
    return list(dict.fromkeys(candidate for _rank, candidate in ranked))


def _packages(root: Path) -> Iterator[tuple[int, Path]]:
    if not paths.is_folder(root):
        return
    yield 0, root
    try:
        inner = sorted(entry for entry in root.iterdir() if paths.is_folder(entry))
    except OSError:
        return
    usable = [entry for entry in inner if entry.name.isidentifier() and entry.name not in {*_SKIPPED, "src"}]
    yield from ((1, entry) for entry in usable[:_FOLDERS_MAX])


def _others(root: Path) -> list[Path]:
    """List modules right in a folder whose names promise nothing."""
    try:
        files = sorted(root.glob("*.py"))
    except OSError:
        return []
    unusual = [file for file in files if file.stem.isidentifier() and file.stem not in _FILES]
    return [file for file in unusual if not _NOT_THE_APPLICATION.fullmatch(file.stem)][:_OTHERS_MAX]


def _in_file(
    file: Path, root: Path, prefix: str, bytes_max: int = _BYTES_MAX
) -> Iterator[tuple[int, Candidate]]:
    relative = file.relative_to(root).with_suffix("").parts
    parts = relative[:-1] if relative[-1] == "__init__" else relative
    module = ".".join(parts)
    try:
        if not module or file.stat().st_size > bytes_max:
            return
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return  # not there, or not Python that this Python reads: not what init should write down
    found = _Module(tree, file.stem)
    for name, (framework, interface) in found.applications.items():
        order = _NAMES.index(name) if name in _NAMES else len(_NAMES) + name.endswith("()")
        yield order, Candidate(f"{module}:{name}", framework, interface, prefix)


class _Module:
    """What one file's top level binds: ``applications`` has (framework, interface) by name."""

    def __init__(self, tree: ast.Module, stem: str) -> None:
        self.applications: dict[str, tuple[str, str]] = {}
        self._stem = stem
        self._imported: dict[str, str] = {}
        for node in tree.body:
            self._statement(node)

    def _statement(self, node: ast.stmt) -> None:
        match node:
            case ast.Import(names=names):
                for alias in names:
                    bound = alias.asname or alias.name.partition(".")[0]
                    self._imported[bound] = alias.name if alias.asname else bound
            case ast.ImportFrom(module=str(module), names=names):
                for alias in names:
                    self._imported[alias.asname or alias.name] = f"{module}.{alias.name}"
                    self._guess(alias.asname or alias.name)
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                self._assigned(name, value)
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                self._assigned(name, value)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                self._function(name, node)
            case ast.Try(body=body) | ast.If(body=body):
                for inner in body:
                    self._statement(inner)

    def _assigned(self, name: str, value: ast.expr) -> None:
        if not isinstance(value, ast.Call):
            return
        kind = self._kind(value)
        if kind is not None:
            self.applications[name] = kind
        elif name in _NAMES[:2]:
            self._guess(name)

    def _guess(self, name: str) -> None:
        """Take ``app = create_app()`` and ``from shop import app`` for what the file's name says."""
        if name in _NAMES[:2] and self._stem in _FILES and self._stem != "__init__":
            interface = self._stem if self._stem in {"wsgi", "asgi"} else ""
            self.applications.setdefault(name, ("", interface))

    def _function(self, name: str, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        arguments = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args)]
        if isinstance(node, ast.AsyncFunctionDef):
            if arguments == ["scope", "receive", "send"]:
                self.applications[name] = ("", "asgi")
        elif arguments in (["environ", "start_response"], ["env", "start_response"]):
            self.applications[name] = ("", "wsgi")
        elif name in _FACTORIES and len(arguments) == len(node.args.defaults):
            calls = [self._kind(inner) for inner in ast.walk(node) if isinstance(inner, ast.Call)]
            kind = next((kind for kind in calls if kind is not None), ("", ""))
            self.applications[f"{name}()"] = kind

    def _kind(self, call: ast.Call) -> tuple[str, str] | None:
        return _FRAMEWORKS.get(self._origin(call.func))

    def _origin(self, node: ast.expr) -> str:
        """The dotted name from where something was imported; empty for what was not."""
        match node:
            case ast.Name(id=name):
                return self._imported.get(name, "")
            case ast.Attribute(value=value, attr=attribute):
                above = self._origin(value)
                return f"{above}.{attribute}" if above else ""
        return ""
