"""Checks of the repository's own text that no linter makes.

Each check takes one parsed file and yields complaints, so that a test can feed it a bad
snippet; `tree` finds the files. Product modules are named by their place under ``gwctl/``
(the links are followed), which is how they are imported.
"""

from __future__ import annotations

import ast
import gc
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 600
PYTHON_FOLDERS = ("gwctl", "tests", "benchmarks", "examples")
TEXT_FOLDERS = (*PYTHON_FOLDERS, "docs", ".ci")
TEXT_FILES = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "Makefile", "pyproject.toml")
SKIPPED_FOLDERS = frozenset({"__pycache__", ".pytest_cache", ".hypothesis"})
TEXT_SUFFIXES = frozenset({".py", ".md", ".toml", ".service", ".socket", ".conf", ".txt", ".cfg", ""})

ENTRY_POINTS = frozenset({"gwctl", "gwctl.__main__", "gwctl.cli"})
"""Modules that are run, not imported. `python -m` in the Makefile adds to them."""

EVERYWHERE_FORBIDDEN = frozenset({"pdb", "unittest.mock", "pydantic", "supervisor", "workers", "config"})
"""The last three are top-level names of other people's projects; ours are gwctl.supervisor and so on."""

MASTER_FORBIDDEN = frozenset(
    {"asyncio", "threading", "uvloop", "uvicorn", "gunicorn", "websockets", "prometheus_client"}
)

FORBIDDEN: tuple[tuple[str, frozenset[str]], ...] = (
    ("gwctl.supervisor.core", frozenset({"os", "time", "signal", "socket", "random", "logging"})),
    ("gwctl.supervisor", MASTER_FORBIDDEN | {"gwctl.cli"}),
    ("gwctl.cli", MASTER_FORBIDDEN),
    ("gwctl.workers", frozenset({"gwctl.supervisor", "gwctl.cli", "gwctl.admin", "prometheus_client"})),
    ("gwctl.admin", frozenset({"gwctl.supervisor", "gwctl.workers", "gwctl.cli", "gwctl.ipc"})),
    ("gwctl.config", MASTER_FORBIDDEN | {"gwctl.supervisor", "gwctl.workers", "gwctl.cli"}),
)

DOORS = frozenset(
    {
        ("gwctl.workers.lifecycle.admin_process", "gwctl.admin.app"),
        ("gwctl.workers.lifecycle.admin_process", "gwctl.admin.app.Admin"),
        ("gwctl.workers.lifecycle.admin_process", "gwctl.admin.app.Besides"),
    }
)
"""The admin process boots as a worker does, with an application of gwctl's own."""

SLEEPERS = frozenset({"tests/support/wait.py"})
"""The one place under tests/ that may pause: the loop that waits for a condition."""


_WORKERS = "gwctl/workers/"


@dataclass(frozen=True)
class Source:
    """One Python file: its path in the repository and its text."""

    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        # Until 3.12 a collection in the middle of it can end it with a SystemError, when what is collected
        # logs a traceback, which parses the lines it shows (python/cpython#106905).
        collects = gc.isenabled()
        gc.disable()
        try:
            return ast.parse(self.text, self.path)
        finally:
            if collects:
                gc.enable()

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """All of the tree: a dozen checks look at each."""
        return list(ast.walk(self.tree))

    @property
    def module(self) -> str:
        """The name it is imported by; empty for what is not below ``gwctl/``."""
        if not self.path.startswith("gwctl/"):
            return ""
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    @property
    def named(self) -> Iterator[str]:
        """Modules named in text, as in ``"gwctl.cli.start:start"``: imported when they are needed."""
        for node in self.nodes:
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found = re.fullmatch(r"(gwctl(?:\.\w+)+):\w+", node.value)
                if found:
                    yield found[1]

    @property
    def imports(self) -> Iterator[tuple[int, str]]:
        """Line and dotted name of everything imported; ``from a import b`` counts as a and a.b."""
        for node in self.nodes:
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield node.lineno, alias.name
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield node.lineno, node.module
                for alias in node.names:
                    yield node.lineno, f"{node.module}.{alias.name}"


def files(folders: Iterable[str], suffixes: frozenset[str]) -> Iterator[Path]:
    for folder in folders:
        for directory, subfolders, names in os.walk(ROOT / folder, followlinks=True):
            subfolders[:] = sorted(set(subfolders) - SKIPPED_FOLDERS)
            for name in sorted(names):
                path = Path(directory) / name
                if path.suffix in suffixes:
                    yield path


@cache
def sources() -> tuple[Source, ...]:
    """Return all Python files of the repository: each is read, and parsed, once."""
    paths = files(PYTHON_FOLDERS, frozenset({".py"}))
    return tuple(Source(path.relative_to(ROOT).as_posix(), path.read_text("utf-8")) for path in paths)


def product() -> Iterator[Source]:
    """What is installed, not parsed yet: who is done with one lets go of it. All that is parsed is 400 MB."""
    return (replace(source) for source in sources() if source.module)


def texts() -> Iterator[tuple[str, str]]:
    for path in [*files(TEXT_FOLDERS, TEXT_SUFFIXES), *(ROOT / name for name in TEXT_FILES)]:
        yield path.relative_to(ROOT).as_posix(), path.read_text("utf-8")


def long_functions(source: Source) -> Iterator[str]:
    for node in source.nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > FUNCTION_LINES_MAX:
                yield f"{source.path}:{node.lineno}: {node.name} has {length} lines (most: {FUNCTION_LINES_MAX})"


def long_file(source: Source) -> Iterator[str]:
    length = source.text.count("\n")
    if length > FILE_LINES_MAX:
        yield f"{source.path}: {length} lines (most: {FILE_LINES_MAX})"


def undocumented(source: Source) -> Iterator[str]:
    if not source.path.startswith("examples/") and not ast.get_docstring(source.tree):
        yield f"{source.path}: no module docstring"


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def forbidden_imports(source: Source) -> Iterator[str]:
    forbidden = set(EVERYWHERE_FORBIDDEN) if source.module else {"unittest.mock.os"}
    for package, names in FORBIDDEN:
        if source.module and within(source.module, package):
            forbidden |= names
    for line, name in source.imports:
        if any(within(name, bad) for bad in forbidden) and (source.module, name) not in DOORS:
            yield f"{source.path}:{line}: {name} must not be imported here"


def sleeps(source: Source) -> Iterator[str]:
    """Calls of time.sleep in tests. An application under test may sleep; so may the waiting loop."""
    if not source.path.startswith("tests/") or source.path.startswith("tests/apps/"):
        return
    if source.path in SLEEPERS:
        return
    bare = any(name == "time.sleep" for _, name in source.imports)
    for node in source.nodes:
        if isinstance(node, ast.Call) and (
            ast.unparse(node.func) == "time.sleep" or (bare and ast.unparse(node.func) == "sleep")
        ):
            yield f"{source.path}:{node.lineno}: sleeps; wait for a condition instead"


def fork_mocks(source: Source) -> Iterator[str]:
    """A test that replaces os.fork tests nothing that can go wrong with forks."""
    pattern = re.compile(
        r"""(setattr\(\s*os\s*,\s*["']fork|patch\(\s*["']os\.fork|setattr\(\s*["']os\.fork)"""
    )
    for number, line in enumerate(source.text.splitlines(), 1):
        if not source.path.startswith("tests/tidy/") and pattern.search(line):
            yield f"{source.path}:{number}: replaces os.fork"


def mistranslated(source: Source) -> Iterator[str]:
    """What mypyc compiles to something else than Python means, in the modules of hatch_build.py.

    It evaluates the bounds of some slices twice, and gives all exceptions of one name in a function
    the class of the first (mypy 2.4). It puts a `_` before the names of attributes, which makes words of C of some.
    """
    if source.path.removeprefix(_WORKERS).removesuffix(".py") not in compiled_modules():
        return
    for node in source.nodes:
        if isinstance(node, ast.Slice):
            calls = [inner for inner in ast.walk(node) if isinstance(inner, ast.Call | ast.Await)]
            if any(ast.unparse(getattr(call, "func", call)) not in {"len", "min", "max"} for call in calls):
                yield f"{source.path}:{node.lineno}: a call in a slice; name its result first"
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _renamed_errors(source, node)
        elif (
            isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Store)
            and f"_{node.attr}" in _WORDS_OF_C
        ):
            yield f"{source.path}:{node.lineno}: {node.attr} is no name for an attribute: _{node.attr} is a word of C"


def half_compiled(source: Source) -> Iterator[str]:
    """A class that is compiled and its base that is not, or the other way round: mypyc can't have either."""
    if not source.path.startswith(_WORKERS):
        return
    compiled = source.path.removeprefix(_WORKERS).removesuffix(".py") in compiled_modules()
    origins = {
        alias.asname or alias.name: node.module.removeprefix("gwctl.workers.").replace(".", "/")
        for node in source.nodes
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("gwctl.workers.")
        for alias in node.names
    }
    for node in source.nodes:
        if isinstance(node, ast.ClassDef):
            for base in node.bases:
                origin = origins.get(ast.unparse(base))
                if origin is not None and (origin in compiled_modules()) != compiled:
                    yield f"{source.path}:{node.lineno}: compiled without {ast.unparse(base)}, or the other way round"


_WORDS_OF_C = frozenset(
    {
        f"__{word}"
        for word in (
            "alignof",
            "asm",
            "attribute",
            "complex",
            "const",
            "extension",
            "imag",
            "inline",
            "label",
            "real",
            "restrict",
            "signed",
            "thread",
            "typeof",
            "volatile",
        )
    }
)
"""Of gcc and clang, which begin with two underscores."""


@cache
def compiled_modules() -> frozenset[str]:
    """The workers' modules that the compiled build compiles, by their place below ``workers/``."""
    text = (ROOT / "hatch_build.py").read_text("utf-8")
    found = re.search(r"^MODULES = (\(.*?^\))", text, re.MULTILINE | re.DOTALL)
    assert found is not None
    return frozenset(ast.literal_eval(found[1]))


def _renamed_errors(source: Source, function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    kinds: dict[str, str] = {}
    for node in ast.walk(function):
        if isinstance(node, ast.ExceptHandler) and node.name and node.type is not None:
            kind = ast.unparse(node.type)
            if kinds.setdefault(node.name, kind) != kind:
                yield f"{source.path}:{node.lineno}: `{node.name}` names exceptions of two kinds in one function"


_PUBLIC = frozenset({"_asdict", "_fields", "_make", "_replace"})
"""Of named tuples: private to keep out of the way of their fields."""


def foreign_privates(product: Iterable[Source]) -> Iterator[str]:
    """Yield uses of what is private to another module of ours; subclasses may use what they have inherited."""
    product = list(product)
    made = {source.path: _made(source) for source in product}
    ours = set().union(*made.values())
    for source in product:
        strangers = _strangers(source)
        for node in source.nodes:
            if not isinstance(node, ast.Attribute) or not re.match(r"_(?!_)", node.attr):
                continue
            of = ast.unparse(node.value)
            root = re.split(r"\W", of, maxsplit=1)[0]
            known = node.attr in ours - made[source.path] - _PUBLIC
            if known and of not in {"self", "cls", "super()"} and root not in strangers:
                yield f"{source.path}:{node.lineno}: `{of}.{node.attr}` is private to another module"


def _made(source: Source) -> set[str]:
    """Return the private names that come into being here."""
    made: set[str] = set()
    for node in source.nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            made.add(node.name)
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) in {"self", "cls"}:
            if isinstance(node.ctx, ast.Store):
                made.add(node.attr)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            made.add(node.id)
    return {name for name in made if re.match(r"_(?!_)", name)}


def _strangers(source: Source) -> set[str]:
    """Return the names by which this module knows modules and objects that are not ours."""
    found = set()
    for node in source.nodes:
        if isinstance(node, ast.Import) or (
            isinstance(node, ast.ImportFrom) and not within(node.module or "", "gwctl")
        ):
            found |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        elif isinstance(node, ast.Assign | ast.NamedExpr) and "sys.modules" in ast.unparse(node.value):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {
                each.id for target in targets for each in ast.walk(target) if isinstance(each, ast.Name)
            }
    return found


def unfinished(path: str, text: str) -> Iterator[str]:
    words = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME")) + r")\b")
    for number, line in enumerate(text.splitlines(), 1):
        if words.search(line):
            yield f"{path}:{number}: unfinished work: {line.strip()}"


def machine_paths(path: str, text: str) -> Iterator[str]:
    """Paths that exist on one person's machine only."""
    pattern = re.compile(
        r"(?<![\w.$}])/(" + "|".join(("ho" + "me", "ro" + "ot", "Us" + "ers", "wo" + "rk")) + r")/\w"
    )
    for number, line in enumerate(text.splitlines(), 1):
        if pattern.search(line):
            yield f"{path}:{number}: path of one machine: {line.strip()}"


_PROSE = re.compile(r"(?:\b[A-Za-z']{2,}.*? .*?){2}\b[A-Za-z']{2,}")
"""Three words."""
_LOGS = frozenset({"debug", "info", "warning", "error"})
_WORDING = ("gwctl.supervisor.core.wording", "gwctl.supervisor.core.invariants", "gwctl.supervisor.recorder")
"""Reasons and answers; what a bug is called; and the one module that writes to the log."""


def sentences(source: Source) -> Iterator[str]:
    """What happens in the master is a record; `gwctl.records.sentences` says it in words."""
    if not within(source.module, "gwctl.supervisor") or source.module in _WORDING:
        return
    records = {alias.asname or alias.name for node in source.nodes for alias in _records_of(node)}
    in_core = within(source.module, "gwctl.supervisor.core")
    for node in source.nodes:
        if isinstance(node, ast.Call):
            function = node.func
            if isinstance(function, ast.Attribute) and (
                function.attr in _LOGS
                or (function.attr == "write" and ast.unparse(function.value).endswith("log"))
            ):
                yield f"{source.path}:{node.lineno}: writes to the log, and not a record"
            if ast.unparse(function).split(".")[0] in records:
                texts = [text for each in (*node.args, *node.keywords) for text in _prose(each)]
                if texts:
                    yield f"{source.path}:{node.lineno}: a record holds figures, not {texts[0]!r}"
    if in_core:
        for text in _prose(source.tree):
            yield f"{source.path}: words of the core are in its wording module, not {text!r}"


def _records_of(node: ast.AST) -> list[ast.alias]:
    here = isinstance(node, ast.ImportFrom) and within(node.module or "", "gwctl.records")
    return node.names if here and isinstance(node, ast.ImportFrom) else []


def _prose(tree: ast.AST) -> Iterator[str]:
    """Texts that somebody reads: neither docstrings nor what a bug is called when it is raised."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Raise) or (
            isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        ):
            continue
        text = ""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value
        elif isinstance(node, ast.JoinedStr):
            text = "".join(
                str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values
            )
        if _PROSE.search(text):
            yield text
        elif not isinstance(node, ast.JoinedStr):
            yield from _prose(node)


def _imported(source: Source, modules: set[str]) -> set[str]:
    """``from package import module`` is about the module, not about the package."""
    names = {name for _, name in source.imports} & modules
    return {name for name in names if not any(other.startswith(f"{name}.") for other in names)}


def circles(product: Iterable[Source]) -> set[str]:
    """Return modules that import one another round about, and those between two such circles.

    What is imported for an annotation alone counts, too.
    """
    product = list(product)
    modules = {source.module for source in product}
    left = {source.module: _imported(source, modules) - {source.module} for source in product}
    while True:
        imported = {name for names in left.values() for name in names}
        ends = {module for module, names in left.items() if not names or module not in imported}
        if not ends:
            return set(left)
        left = {module: names - ends for module, names in left.items() if module not in ends}


def dead_modules(product: Iterable[Source], makefile: str) -> Iterator[str]:
    """Modules of the product that no other module of the product imports and nothing runs."""
    product = list(product)
    run = set(re.findall(r"-m (gwctl[\w.]*)", makefile)) | ENTRY_POINTS
    imported = {name for source in product for _, name in source.imports if not within(source.module, name)}
    imported |= {name for source in product for name in source.named}
    for source in product:
        package = source.path.endswith("__init__.py")
        alive = source.module in run or source.module in imported
        if not alive and package:
            alive = any(within(name, source.module) for name in imported)
        if not alive:
            yield f"{source.path}: nobody imports {source.module}"
