"""The repository keeps its own house rules, and each rule's check can fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from tests.tidy import checks
from tests.tidy.checks import Source

Check = Callable[[Source], Iterator[str]]

PER_FILE = (
    checks.long_functions,
    checks.long_file,
    checks.undocumented,
    checks.forbidden_imports,
    checks.sleeps,
    checks.fork_mocks,
    checks.mistranslated,
    checks.half_compiled,
    checks.sentences,
)
SOURCES = checks.sources()


def test_files_are_found() -> None:
    """Both ends of the tree are seen: a check that reads nothing passes always."""
    paths = {source.path for source in SOURCES}
    assert {"gwctl/errors.py", "gwctl/supervisor/core/events.py", "tests/tidy/checks.py"} <= paths
    assert not any(path.startswith("gwctl/gwctl") for path in paths)


def test_python_files(subtests: pytest.Subtests) -> None:
    """Each is parsed once, for all checks, and what was parsed is let go."""
    complaints: dict[str, list[str]] = {check.__name__: [] for check in PER_FILE}
    for source in map(replace, SOURCES):
        for check in PER_FILE:
            complaints[check.__name__] += check(source)
    for name, found in complaints.items():
        with subtests.test(name):
            assert found == []


@pytest.mark.parametrize("check", [checks.unfinished, checks.machine_paths], ids=lambda check: check.__name__)
def test_texts(check: Callable[[str, str], Iterator[str]]) -> None:
    assert [complaint for path, text in checks.texts() for complaint in check(path, text)] == []


def test_no_dead_module() -> None:
    makefile = (checks.ROOT / "Makefile").read_text("utf-8")
    assert list(checks.dead_modules(list(checks.product()), makefile)) == []


def test_nothing_private_is_used_from_another_module() -> None:
    assert list(checks.foreign_privates(checks.product())) == []


def test_no_circle_of_imports() -> None:
    """Annotations count."""
    assert checks.circles(list(checks.product())) == set()


# ---- each check can fail


LONG_BODY = "\n".join(f"    x = {number}" for number in range(checks.FUNCTION_LINES_MAX))
BAD = [
    (checks.sentences, "gwctl/supervisor/a.py", 'self._log.warning("no pidfd")\n'),
    (checks.sentences, "gwctl/supervisor/a.py", 'recorder.log.write(level, "no pidfd")\n'),
    (
        checks.sentences,
        "gwctl/supervisor/a.py",
        'from gwctl.records.workers import NoPidfd\nwrite(NoPidfd(reason=f"no {what} is left here"))\n',
    ),
    (checks.sentences, "gwctl/supervisor/core/a.py", 'reason = f"it holds {n} of memory"\n'),
    (checks.long_functions, "gwctl/a.py", f'"""Doc."""\ndef f():\n{LONG_BODY}\n'),
    (
        checks.long_functions,
        "tests/unit/test_a.py",
        f'"""Doc."""\nclass C:\n    async def f():\n{LONG_BODY.replace("    ", " " * 8)}\n',
    ),
    (checks.long_file, "tests/unit/test_a.py", '"""Doc."""\n' + "x = 1\n" * checks.FILE_LINES_MAX),
    (checks.undocumented, "tests/unit/test_a.py", "x = 1\n"),
    (checks.undocumented, "gwctl/cli/__init__.py", ""),
    (checks.forbidden_imports, "gwctl/supervisor/core/fleet.py", "import time\n"),
    (checks.forbidden_imports, "gwctl/supervisor/core/fleet.py", "from os import fork\n"),
    (checks.forbidden_imports, "gwctl/supervisor/master.py", "def f():\n    import asyncio\n"),
    (checks.forbidden_imports, "gwctl/cli/start.py", "from uvicorn.config import Config\n"),
    (checks.forbidden_imports, "gwctl/workers/lifecycle/boot.py", "from gwctl import supervisor\n"),
    (
        checks.forbidden_imports,
        "gwctl/workers/lifecycle/boot.py",
        "from gwctl.supervisor.master import run\n",
    ),
    (checks.forbidden_imports, "gwctl/config/load.py", "import gwctl.workers.lifecycle.boot\n"),
    (checks.forbidden_imports, "gwctl/admin/app.py", "from gwctl.supervisor import history\n"),
    (checks.forbidden_imports, "gwctl/workers/server.py", "import prometheus_client\n"),
    (checks.forbidden_imports, "gwctl/cli/start.py", "from config import settings\n"),
    (checks.forbidden_imports, "gwctl/log/event_log.py", "from unittest import mock\n"),
    (checks.sleeps, "tests/unit/test_a.py", "import time\ntime.sleep(1)\n"),
    (checks.sleeps, "tests/process/test_a.py", "from time import sleep\nsleep(1)\n"),
    (checks.mistranslated, "gwctl/workers/http1/protocol.py", "rest = rest[send(rest) :]\n"),
    (checks.mistranslated, "gwctl/workers/http1/protocol.py", "self._thread = 1\n"),
    (
        checks.mistranslated,
        "gwctl/workers/http1/protocol.py",
        "def f():\n    try:\n        g()\n    except A as error:\n        pass\n    except B as error:\n        pass\n",
    ),
    (
        checks.half_compiled,
        "gwctl/workers/http1/protocol.py",
        "from gwctl.workers.wsgi.file_wrapper import FileWrapper\nclass A(FileWrapper): ...\n",
    ),
    (
        checks.half_compiled,
        "gwctl/workers/wsgi/file_wrapper.py",
        "from gwctl.workers.http1.protocol import Connection\nclass A(Connection): ...\n",
    ),
    (checks.fork_mocks, "tests/unit/test_a.py", 'monkeypatch.setattr(os, "fork", lambda: 0)\n'),
    (checks.fork_mocks, "tests/unit/test_a.py", 'with patch("os.fork"):\n    pass\n'),
]


@pytest.mark.parametrize(("check", "path", "text"), BAD, ids=lambda value: getattr(value, "__name__", None))
def test_a_bad_file_is_found(check: Check, path: str, text: str) -> None:
    assert list(check(Source(path, text)))


GOOD = [
    (checks.sentences, "gwctl/supervisor/a.py", 'raise BindError("cannot bind to it")\n'),
    (checks.sentences, "gwctl/workers/a.py", 'log.warning("no room for new connections")\n'),
    (
        checks.sentences,
        "gwctl/supervisor/core/a.py",
        'def f():\n    """It is for this."""\n    return f"{a}/{b}"\n',
    ),
    (
        checks.long_functions,
        "gwctl/a.py",
        f'"""Doc."""\ndef f():\n{LONG_BODY[: LONG_BODY.rindex(chr(10))]}\n',
    ),
    (checks.forbidden_imports, "gwctl/supervisor/master.py", "import os\nimport socket\n"),
    (
        checks.forbidden_imports,
        "gwctl/workers/lifecycle/boot.py",
        "import asyncio\nfrom gwctl.config import settings\n",
    ),
    (checks.forbidden_imports, "tests/apps/django_project/wsgi.py", "import config\n"),
    (checks.mistranslated, "gwctl/workers/http1/protocol.py", "rest = rest[-len(tail) :]\n"),
    (checks.mistranslated, "gwctl/workers/http1/service.py", "self._threads = 1\n"),
    (checks.mistranslated, "gwctl/workers/bridge/event_loop.py", "self._thread = 1\n"),
    (
        checks.half_compiled,
        "gwctl/workers/http1/protocol.py",
        "from gwctl.workers.http1.connection import ConnectionBase\nclass A(ConnectionBase, asyncio.Protocol): ...\n",
    ),
    (checks.sleeps, "tests/apps/slow.py", "import time\ntime.sleep(1)\n"),
    (checks.sleeps, "tests/unit/test_a.py", "import asyncio\nasyncio.sleep(0)\n"),
]


@pytest.mark.parametrize(("check", "path", "text"), GOOD, ids=lambda value: getattr(value, "__name__", None))
def test_a_good_file_is_not(check: Check, path: str, text: str) -> None:
    assert list(check(Source(path, text))) == []


def test_unfinished_work_is_found() -> None:
    assert list(checks.unfinished("a.py", "x = 1  # TO" + "DO: more\n"))
    assert list(checks.unfinished("a.md", "FIX" + "ME\n"))
    assert list(checks.unfinished("a.py", "todos = []\n")) == []


@pytest.mark.parametrize("folder", ["/ho" + "me/", "/ro" + "ot/", "/Us" + "ers/", "/wo" + "rk/"])
def test_machine_paths_are_found(folder: str) -> None:
    assert list(checks.machine_paths("a.md", f"see {folder}jane/project\n"))
    assert list(checks.machine_paths("a.md", f"see $HERE{folder[:-1]}\n")) == []


def test_dead_modules_are_found() -> None:
    """Neither an import from itself nor one from a test keeps a module alive; `-m` in the Makefile does."""
    product = [
        Source(
            "gwctl/cli/__init__.py",
            "from gwctl.config import load\nCOMMANDS = {'start': 'gwctl.cli.start:start'}\n",
        ),
        Source("gwctl/cli/start.py", ""),
        Source("gwctl/config/__init__.py", ""),
        Source("gwctl/config/load.py", ""),
        Source("gwctl/config/reference.py", ""),
        Source("gwctl/config/forgotten.py", "import gwctl.config.forgotten\n"),
    ]
    complaints = list(checks.dead_modules(product, "docs:\n\tpython -m gwctl.config.reference\n"))
    assert complaints == ["gwctl/config/forgotten.py: nobody imports gwctl.config.forgotten"]


def test_circles_are_found() -> None:
    """Also one of annotations, and not what only leads to one."""
    product = [
        Source("gwctl/log/event_log.py", ""),
        Source("gwctl/a.py", "from gwctl import b, log\n"),
        Source("gwctl/b.py", "if TYPE_CHECKING:\n    from gwctl.a import A\n"),
        Source("gwctl/c.py", "import gwctl.a\n"),
    ]
    assert checks.circles(product) == {"gwctl.a", "gwctl.b"}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("def f(request):\n    return request._framing\n", True),
        ("class A:\n    def f(self):\n        self.request._framing = 1\n", True),
        ("from gwctl import b\nb._make_it()\n", True),
        ("from gwctl.b import B\nclass A(B):\n    def f(self):\n        return self._framing\n", False),
        (
            "class A:\n    def __init__(self):\n        self._framing = 1\ndef f(a):\n    return a._framing\n",
            False,
        ),
        ("import other\nother.thing._framing\n", False),
        ("import sys\nif thing := sys.modules.get('thing'):\n    thing._framing()\n", False),
        ("row._replace(a=1)\n", False),
    ],
)
def test_what_is_private_to_another_module_is_found(text: str, found: bool) -> None:
    b = "class B:\n    def __init__(self):\n        self._framing = 0\n    def _replace(self): ...\ndef _make_it(): ...\n"
    complaints = list(checks.foreign_privates([Source("gwctl/a.py", text), Source("gwctl/b.py", b)]))
    assert bool(complaints) == found
