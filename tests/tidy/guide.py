"""Checks of what tells newcomers their way: docs/design.md, docs/internals-*.md, CONTRIBUTING.md and the packages.

As in `checks`, each check takes a text and yields complaints, so that a test can feed it a bad one.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from tests.tidy.checks import MASTER_FORBIDDEN, ROOT, Source, within

DESIGN = "docs/design.md"
CONTRIBUTING = "CONTRIBUTING.md"
PRODUCT = ("gwctl", "config", "supervisor", "workers")
IMPORTED_BY = "Imported by "
KNOWS_NOTHING_OF = "Knows nothing of "
FEW_WORDS = 5
"""Fewer do not say what a package is for."""
DOORS = frozenset({"gwctl.supervisor.children.fork", "gwctl.supervisor.check_app"})
"""The ways from the master into a worker, as in the contracts of pyproject.toml."""

_PATH = re.compile(
    r"(?<![\w./{-])((?:[\w-]+/)*[\w-]+\.py|(?:gwctl|config|supervisor|workers|tests)/(?:[\w-]+/)*)(?![\w{*])"
)
_STEP = re.compile(r"^\d+\. (?:.*\n)(?:^ +.*\n)*", re.MULTILINE)
_NAME = re.compile(r"`([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)?)`")
_MAP = re.compile(r"^## Map\n+((?:    .*\n)+)", re.MULTILINE)


def pages() -> Iterator[tuple[str, str]]:
    """Every page that names modules, with its text."""
    for path in (ROOT / DESIGN, *sorted((ROOT / "docs").glob("internals*.md")), ROOT / CONTRIBUTING):
        yield path.relative_to(ROOT).as_posix(), path.read_text("utf-8")


@cache
def packages() -> tuple[str, ...]:
    """The folders of the product that are packages, by their place in the repository."""
    found = (path.parent for folder in PRODUCT for path in (ROOT / folder).rglob("__init__.py"))
    return tuple(sorted(path.relative_to(ROOT).as_posix() for path in found))


def paths_in(text: str) -> list[str]:
    """Files and folders of the repository that ``text`` names."""
    return [path for path in _PATH.findall(_without_map(text)) if path not in {"gw.py", "__init__.py"}]


def missing_paths(page: str, text: str) -> Iterator[str]:
    """A module that was moved or renamed is still named by its former place."""
    for path in paths_in(text):
        if not (ROOT / path).exists():
            yield f"{page}: there is no {path}"


def _without_map(text: str) -> str:
    return _MAP.sub("", text)


# ---- docs/design.md


def unmapped(text: str, names: Iterable[str]) -> Iterator[str]:
    """Packages that are not on the map, places on it that are none, and modules beside the packages."""
    found = _MAP.search(text)
    lines = found[1].splitlines() if found else []
    places = {line.split()[0].rstrip("/"): line for line in lines}
    for name in sorted(set(names) ^ set(places)):
        yield f"{DESIGN}: {name} is " + ("not on the map" if name in set(names) else "no package")
    for place, line in places.items():
        for module in re.findall(r"[\w-]+\.py", line):
            if not (ROOT / place / module).exists():
                yield f"{DESIGN}: there is no {place}/{module}"


def lost_names(text: str) -> Iterator[str]:
    """Classes, functions and attributes in the steps of a walk that no module of the page has.

    One of a class has to stand in a module that has the class, too.
    """
    modules = [_words(path) for path in dict.fromkeys(paths_in(text)) if path.endswith(".py")]
    for step in _STEP.findall(text):
        for name in _NAME.findall(step):
            if not any(words.issuperset(name.split(".")) for words in modules):
                yield f"{DESIGN}: no module that it names has {name}"


@cache
def _words(path: str) -> frozenset[str]:
    where = ROOT / path
    return frozenset(re.findall(r"\w+", where.read_text("utf-8"))) if where.is_file() else frozenset()


def broken_links(page: str, text: str) -> Iterator[str]:
    """Links to pages that there are not, or to headings that they have not."""
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        path, _, heading = target.partition("#")
        where = (ROOT / page).parent / path if path else ROOT / page
        if not where.exists():
            yield f"{page}: there is no {target}"
        elif heading and heading not in _headings(where):
            yield f"{page}: there is no heading for {target}"


def _headings(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


# ---- what a package says of itself


def unsaid(source: Source) -> Iterator[str]:
    """A package whose docstring does not say what it is for, who imports it and what it must not know."""
    text = ast.get_docstring(source.tree) or ""
    if len(text.partition(IMPORTED_BY)[0].split()) < FEW_WORDS:
        yield f"{source.path}: its docstring does not say what it is for"
    for part in (IMPORTED_BY, KNOWS_NOTHING_OF):
        if not names_after(part, text):
            yield f"{source.path}: its docstring has no line `{part}...`"


def names_after(part: str, text: str) -> list[str]:
    """The modules in the sentence that begins a line with ``part``, as they are imported."""
    found = re.search(rf"^{part}((?:`[^`]*`|[^`:.])*)", text, re.MULTILINE)
    names = re.findall(r"`([\w.]+)`", found[1]) if found else []
    others = sys.stdlib_module_names | MASTER_FORBIDDEN
    return [name if name.startswith("gwctl") or name in others else f"gwctl.{name}" for name in names]


def untrue(package: Source, product: Iterable[Source]) -> Iterator[str]:
    """Who imports a package and is not named by it; what it imports although it knows nothing of that."""
    product = list(product)
    modules = {source.module for source in product}
    below = {source.module for source in product if source.path.endswith("__init__.py")} - {package.module}
    inside = {each for each in modules - below if each.rpartition(".")[0] == package.module} | {
        package.module
    }
    text = ast.get_docstring(package.tree) or ""
    importers, unknown = names_after(IMPORTED_BY, text), names_after(KNOWS_NOTHING_OF, text)
    for name in (*importers, *unknown):
        if name.startswith("gwctl") and name not in modules:
            yield f"{package.path}: there is no {name}"
    for source in product:
        for line, name in _imports(source):
            if source.module in DOORS and within(name, "gwctl.workers"):
                continue
            if source.module in inside and any(within(name, each) for each in unknown):
                yield f"{source.path}:{line}: {name} is imported, of which the package knows nothing"
            elsewhere = name in inside and source.module not in inside
            if elsewhere and not any(within(source.module, each) for each in importers):
                yield f"{package.path}: {source.module} imports it, too"


@cache
def _imports(source: Source) -> tuple[tuple[int, str], ...]:
    return tuple(source.imports)
