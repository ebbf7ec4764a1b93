"""`gwctl start` without a file and `gwctl check --app`: real processes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.support.processes import session_of
from tests.support.server import ROOT
from tests.support.wait import until

APP = """\
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]
"""
ENVIRON = {name: value for name, value in os.environ.items() if not name.startswith("GWCTL_")}


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gwctl", *arguments],
        cwd=folder,
        env={**ENVIRON, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_start_without_a_file(tmp_path: Path) -> None:
    """A module's name is enough; nothing is written into the folder, and SIGTERM ends all of it with status 0."""
    (tmp_path / "shop.py").write_text(APP)
    errors = tmp_path.parent / f"{tmp_path.name}.stderr"
    environ = {
        **ENVIRON,
        "PYTHONPATH": str(ROOT),
        "RUNTIME_DIRECTORY": str(tmp_path.parent),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    with errors.open("wb") as stderr:
        master = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "gwctl",
                "start",
                "shop",
                "--bind",
                "127.0.0.1:0",
                "-w",
                "2",
                "--name",
                tmp_path.name,
            ],
            cwd=tmp_path,
            env=environ,
            stderr=stderr,
            start_new_session=True,
        )
    try:
        until(lambda: "serving:" in errors.read_text(), lambda: f"'serving:' in\n{errors.read_text()}", 30)
        url = re.search(r"http://127\.0\.0\.1:\d+", errors.read_text())
        assert url
        assert httpx.get(url[0]).text == "hello"
        assert [path.name for path in tmp_path.iterdir()] == ["shop.py"]
        master.send_signal(signal.SIGTERM)
        assert master.wait(30) == 0, errors.read_text()
    finally:
        for process in session_of(master.pid):
            os.kill(process.pid, signal.SIGKILL)
        master.wait(10)


def test_check_imports_the_applications(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(APP)
    (tmp_path / "gw.toml").write_text('[pool.web]\napp = "shop"\n[pool.live]\napp = "broken"\nbind = ":1"\n')
    (tmp_path / "broken.py").write_text("import nothing_of_this_name\n")
    result = command(tmp_path, "check", "--app")
    assert result.returncode == 4
    assert re.search(r"^web: imported in \d\.\d\d s, worker class sync$", result.stdout, re.MULTILINE)
    assert "live: cannot import broken" in result.stderr
    assert "No module named 'nothing_of_this_name'" in result.stderr
    assert 'File "' + str(tmp_path / "broken.py") in result.stderr
    assert "gwctl/" not in result.stderr


def test_check_does_not_wait_for_an_import_that_hangs(tmp_path: Path) -> None:
    """Also when it has closed the channel, as code does that makes a daemon of itself."""
    (tmp_path / "hangs.py").write_text("import os, time\nos.closerange(3, 100)\ntime.sleep(100)\n")
    result = command(tmp_path, "check", "--app", "hangs", "--set", "timeouts.boot_timeout_s=1")
    assert result.returncode == 4
    assert "web: the import took longer than boot_timeout_s (1 s)" in result.stderr


@pytest.mark.parametrize("arguments", [("check", "shop"), ("config", "show", "shop")])
def test_settings_commands_import_little(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """They stay quick: neither the supervisor nor a server library is loaded."""
    probe = (
        "import sys; from gwctl.cli import cli; cli(sys.argv[1:], standalone_mode=False); "
        "print([m for m in sys.modules if m.startswith(('gwctl.supervisor', 'gwctl.workers')) "
        "or m in ('asyncio', 'uvloop', 'uvicorn', 'gunicorn')])"
    )
    result = subprocess.run(
        [sys.executable, "-c", probe, *arguments],
        cwd=tmp_path,
        env={**ENVIRON, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.stdout.splitlines()[-1] == "[]", result.stderr


def test_a_folder_for_large_bodies_that_is_not_there_is_told_of_at_the_start(gwctl_server):
    with gwctl_server("wsgi_bare:application", worker="sync", env={"TMPDIR": "/nowhere"}) as server:
        server.wait_for_log(r"warn  master +pool\.web: TMPDIR=/nowhere cannot be used: No such file")
