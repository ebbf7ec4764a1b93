"""What is built is what is installed is what serves, beside a project with names like our folders'."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from hatch_build import CustomBuildHook
from tests.support.server import ROOT, GwctlServer

BUILD_TIMEOUT_S = 120

WSGI = """
import json, sys
import config, supervisor, workers
from config.settings import GREETING

def application(environ, start_response):
    import gwctl.config.model.settings, gwctl.workers.lifecycle.boot
    names = ("config", "supervisor", "workers", "gwctl.config", "gwctl.workers")
    files = {name: sys.modules[name].__file__ for name in names}
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({"greeting": GREETING, "files": files}).encode()]
"""


def run(*command: str, cwd: Path = ROOT) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=BUILD_TIMEOUT_S)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(target: str, source: Path, folder: Path) -> Path:
    """Build with the backend itself: no environment to set up, no network."""
    run(sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(folder), cwd=source)
    (archive,) = folder.iterdir()
    return archive


def wheel_contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    return build("wheel", ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def unpacked_sdist(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sdist")
    with tarfile.open(build("sdist", ROOT, folder)) as archive:
        archive.extractall(folder, filter="data")
    (unpacked,) = (path for path in folder.iterdir() if path.is_dir())
    return unpacked


def test_the_wheel_has_one_top_level_name(wheel: Path) -> None:
    names = {name.split("/")[0] for name in wheel_contents(wheel)}
    assert {name for name in names if not name.endswith((".dist-info", ".data"))} == {"gwctl"}


def test_the_wheel_has_the_manual_pages_where_man_finds_them(wheel: Path) -> None:
    found = {name.partition(".data/")[2] for name in wheel_contents(wheel) if ".data/" in name}
    assert found == {f"data/share/man/man1/{path.name}" for path in (ROOT / "docs/man").iterdir()}


def test_the_wheel_has_every_module(wheel: Path) -> None:
    """Real files where the working tree has links, the marker for type checkers, and the dashboard."""
    expected = {
        f"gwctl/{folder}{path.relative_to(base).as_posix()}"
        for folder, base in (
            ("", ROOT / "gwctl"),
            ("supervisor/", ROOT / "supervisor"),
            ("workers/", ROOT / "workers"),
            ("config/", ROOT / "config"),
        )
        for path in base.rglob("*.py")
    }
    contents = wheel_contents(wheel)
    assert {name for name in contents if name.endswith(".py")} == expected
    assert {"gwctl/py.typed", "gwctl/admin/page.html"} <= set(contents)


def test_the_sdist_is_complete(unpacked_sdist: Path) -> None:
    """No link is left in it, and what a packager needs to test and document is there."""
    assert not [path for path in unpacked_sdist.rglob("*") if path.is_symlink()]
    for name in (
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "CHANGELOG.md",
        "Makefile",
        "docs",
        "examples",
        "tests",
    ):
        assert (unpacked_sdist / name).exists(), name


def test_the_sdist_builds_the_same_wheel(unpacked_sdist: Path, wheel: Path, tmp_path: Path) -> None:
    again = build("wheel", unpacked_sdist, tmp_path)
    assert wheel_contents(again) == wheel_contents(wheel)


def make_project(folder: Path) -> None:
    """A project that calls its folders as Django projects do, and as ours are called."""
    (folder / "config").mkdir()
    (folder / "config" / "__init__.py").write_text("")
    (folder / "config" / "settings.py").write_text('GREETING = "from the project"\n')
    (folder / "config" / "wsgi.py").write_text(WSGI)
    (folder / "workers.py").write_text("")
    (folder / "supervisor.py").write_text("")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_installed_beside_a_project_with_the_same_names(wheel: Path, tmp_path: Path) -> None:
    """A fresh virtual environment with the wheel alone serves config.wsgi:application."""
    environment = tmp_path / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", str(environment))
    pip = (sys.executable, "-m", "pip", "--python", str(environment / "bin" / "python"))
    run(*pip, "install", "--quiet", "--disable-pip-version-check", "--no-compile", str(wheel))
    project = tmp_path / "project"
    project.mkdir()
    make_project(project)
    server = GwctlServer(
        "unused",
        bind="127.0.0.1:0",
        command=(str(environment / "bin" / "gwctl"),),
        arguments=("start", "config.wsgi:application", "--bind", "127.0.0.1:0"),
        cwd=project,
        environ={"PYTHONPATH": ""},
    )
    with server:
        answer = json.loads(httpx.get(server.url).text)
    assert answer["greeting"] == "from the project"
    for name, file in answer["files"].items():
        owner = environment if name.startswith("gwctl.") else project
        assert Path(file).is_relative_to(owner), (name, file)
    assert sorted(path.name for path in project.iterdir() if path.name != "__pycache__") == [
        "config",
        "supervisor.py",
        "workers.py",
    ]


def test_the_compiled_build_has_what_the_modules_import(monkeypatch: pytest.MonkeyPatch) -> None:
    """mypyc checks types first, in an environment that pip makes for the build alone."""
    metadata = SimpleNamespace(
        core=SimpleNamespace(dependencies=["msgspec>=0.19"], optional_dependencies={"fast": ["gunicorn_h1c"]})
    )
    hook = CustomBuildHook("", {}, None, metadata, "", "wheel")
    assert hook.dependencies() == []
    monkeypatch.setenv("GWCTL_COMPILE", "1")
    assert {"msgspec>=0.19", "gunicorn_h1c"} < {*hook.dependencies()}
