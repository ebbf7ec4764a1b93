"""Upgrades between programs that differ: a built wheel with another scoreboard, another Python, none at all."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from gwctl import __version__
from gwctl.ipc import scoreboard
from tests.load.runner import Load
from tests.support.installation import Installation
from tests.support.server import ROOT, GwctlServer
from tests.support.status import printed_status
from tests.support.wait import until

APP = "asgi_bare:application"
QUICK = {"settle_s": 0.05}
SOURCES = (
    "gwctl",
    "supervisor",
    "workers",
    "config",
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "hatch_build.py",
)


def requests(server: GwctlServer) -> int:
    return sum(pool["requests"] for pool in printed_status(server)["pools"])


@pytest.fixture(scope="module")
def next_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The next version: its records on the scoreboard are larger, and their fields somewhere else."""
    source = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        if (ROOT / name).is_dir():  # what was compiled has the layout of today in it
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("*.so"))
        else:
            shutil.copy(ROOT / name, source / name)
    for name in ("supervisor", "workers", "config"):
        shutil.rmtree(source / "gwctl" / name)
        (source / "gwctl" / name).symlink_to(f"../{name}")
    change(source / "gwctl" / "__init__.py", f'"{__version__}"', '"9.9.9"')
    board = source / "gwctl" / "ipc" / "scoreboard.py"
    change(board, f"LAYOUT: Final = {scoreboard.LAYOUT}", f"LAYOUT: Final = {scoreboard.LAYOUT + 1}")
    change(board, f"RECORD_BYTES: Final = {scoreboard.RECORD_BYTES}", "RECORD_BYTES: Final = 2176")
    change(board, f"REQUESTS: Final = {scoreboard.REQUESTS} ", f"REQUESTS: Final = {scoreboard.BYTES_OUT} ")
    change(
        board, f"BYTES_OUT: Final = {scoreboard.BYTES_OUT}\n", f"BYTES_OUT: Final = {scoreboard.REQUESTS}\n"
    )
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (wheel,) = folder.iterdir()
    return wheel


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text("utf-8")
    assert text.count(old) == 1, (path, old)
    path.write_text(text.replace(old, new), "utf-8")


@pytest.mark.parametrize("preload", [False, True])
def test_to_a_wheel_with_another_version_and_scoreboard(
    gwctl_server, next_wheel: Path, tmp_path: Path, *, preload: bool
) -> None:
    """While workers of both serve, the counters of both are read; afterwards all are of the new one.

    A template of the old layout has nothing more to do, and ends as it should.
    """
    installed = Installation(tmp_path)
    options = {"processes": 2, "preload": preload, "reload": {"settle_s": 1.0}}
    with gwctl_server(APP, environ=installed.environ, **options) as server:
        with Load(server.url, connections=8, expect_body=b"hello") as load:
            load.wait_for_requests(200)
            before = requests(server)
            assert before >= 190
            installed.install(next_wheel)
            server.signal(signal.SIGUSR2)
            kept = "2 workers and 1 template kept" if preload else "2 workers kept"
            server.wait_for_log(rf"upgraded from gwctl .* to gwctl 9\.9\.9, .* {kept}", timeout_s=60)
            assert requests(server) >= before, "while only workers of the other layout serve"
            server.wait_for_log(r"adopted generation 2\b")
            assert printed_status(server)["version"] == "9.9.9"
            load.wait_for_requests(50)
        until(lambda: len(server.workers) == 2 + preload, "the workers of before to go")
        assert load.result.failures == {}, load.result
        assert " warn " not in server.log
        assert requests(server) >= load.result.requests - 8, "counters go on"
        assert "upgraded" in server.gwctl("upgrade").stdout, "and on: from the new layout to itself"


def test_a_respawn_under_a_package_that_was_replaced_runs_what_runs(gwctl_server, tmp_path: Path) -> None:
    """Not a mixture: what a worker still has to import comes from the copy of the program that runs."""
    installed = Installation(tmp_path)
    options = {"allow_errors": ["SIGKILL"], "allow_kill": True, "environ": installed.environ}
    with gwctl_server(APP, processes=2, reload=QUICK, **options) as server:
        installed.becomes("9.9.9")
        installed.edit(
            "gwctl/workers/app/uvicorn_config.py",
            "import",
            "raise SystemError('of the other version')\nimport",
        )
        victim = server.workers[0]
        os.kill(victim, signal.SIGKILL)
        server.wait_for_log(
            rf"warn +master +gwctl 9\.9\.9 is installed, and gwctl {re.escape(__version__)} runs"
        )
        server.wait_for_log(r"web\.\d g1 +pid \d+ ready", count=3)
        assert httpx.get(server.url).text == "hello"
        assert server.gwctl("reload").returncode == 0, "a reload stays with the program that runs, too"
        assert printed_status(server)["version"] == __version__
        assert server.log.count("9.9.9 is installed") == 1, "said once"


# ---- another Python


def interpreters() -> list[Path]:
    """Those of the other versions that gwctl supports, on PATH or below pyenv's folder."""
    found = []
    for minor in range(11, 15):
        name = f"python3.{minor}"
        on_path = [Path(folder) / name for folder in os.get_exec_path()]
        below = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
        candidates = [*on_path, *sorted(below.glob(f"3.{minor}.*/bin/{name}"))]
        if sys.version_info[:2] != (3, minor):
            found += [path for path in candidates if os.access(path, os.X_OK) and runs(path)][:1]
    return found


def runs(path: Path) -> bool:
    """It is an interpreter, not a shim of one that is not chosen."""
    return subprocess.run([str(path), "-c", "import venv"], capture_output=True, check=False).returncode == 0


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_to_another_python(gwctl_server, tmp_path: Path) -> None:
    """The folder of the interpreter is a link to one environment, then to another."""
    if "UPGRADES" not in os.environ:
        pytest.skip("make test-upgrade runs it: it installs gwctl for another Python")
    others = interpreters()
    if not others:
        pytest.skip("no other Python that gwctl supports is on PATH or in PYENV_ROOT")
    environment = tmp_path / "other"
    subprocess.run([str(others[-1]), "-m", "venv", str(environment)], check=True)
    pip = [str(environment / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    done = subprocess.run([*pip, str(ROOT)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"gwctl cannot be installed for {others[-1]}: {done.stderr.strip()[-200:]}")
    link = tmp_path / "venv"
    link.symlink_to(Path(sys.prefix))
    command = (str(link / "bin" / Path(sys.executable).name), "-m", "gwctl")
    other_name = environment / "bin" / Path(sys.executable).name
    if not other_name.exists():
        other_name.symlink_to("python")
    with gwctl_server(APP, processes=2, reload=QUICK, command=command, environ={"PYTHONPATH": ""}) as server:
        with Load(server.url, connections=8, expect_body=b"hello") as load:
            before = printed_status(server)["python"]
            link.unlink()
            link.symlink_to(environment)
            server.signal(signal.SIGUSR2)
            server.wait_for_log(r"adopted generation 2\b", timeout_s=60)
            after = printed_status(server)["python"]
            load.wait_for_requests(50)
            link.unlink()
            link.symlink_to(Path(sys.prefix))
            server.signal(signal.SIGUSR2)
            server.wait_for_log(r"adopted generation 3\b", timeout_s=60)
        assert before != after
        assert printed_status(server)["python"] == before, "and back"
        assert load.result.failures == {}, load.result
