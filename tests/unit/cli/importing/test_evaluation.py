"""A gunicorn.conf.py in its child process: what it sees, what it may not do, and how its mistakes are told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from gwctl.cli.importing import evaluated, evaluation
from gwctl.cli.importing.found import NotImported
from tests.support import processes
from tests.support.wait import until


def settings(folder: Path, text: str, **keywords: Any) -> dict[str, Any]:
    (folder / "conf.py").write_text(textwrap.dedent(text), "utf-8")
    found = evaluation.settings("conf.py", "conf.py", folder, os.environ, **keywords)
    return {given.option.name: given.value for given in found}


def test_it_sees_what_gunicorn_shows_it(tmp_path: Path) -> None:
    """Its folder first on sys.path, the environment, its name; and nothing of gwctl."""
    (tmp_path / "beside.py").write_text("WORKERS = 7\n")
    found = settings(
        tmp_path,
        """
        import os, sys
        import beside
        workers = beside.WORKERS
        bind = [__name__, os.getcwd(), sys.path[0]]
        proc_name = ",".join(name for name in sys.modules if name.startswith("gwctl"))
        pidfile = __file__
        """,
    )
    assert found == {
        "workers": 7,
        "bind": ["__config__", str(tmp_path), str(tmp_path)],
        "proc_name": "",
        "pidfile": str(tmp_path / "conf.py"),
    }


def test_values_of_all_kinds(tmp_path: Path) -> None:
    found = settings(
        tmp_path,
        """
        import enum, pathlib, ssl
        class Own: pass
        cert_reqs = ssl.CERT_REQUIRED
        chdir = pathlib.Path("/srv")
        worker_class = Own
        raw_env = ("A=1", "B=2")
        secure_scheme_headers = {"X": {"Y": Own()}}
        forwarded_allow_ips = {"10.0.0.1"}
        timeout = 1.5
        group = None
        unknown = object()
        def post_fork(server, worker): pass
        """,
    )
    assert found == {
        "cert_reqs": 2,
        "chdir": "/srv",
        "worker_class": "__config__.Own",
        "raw_env": ["A=1", "B=2"],
        "secure_scheme_headers": {"X": {"Y": {"": "object", "name": "Own"}}},
        "forwarded_allow_ips": ["10.0.0.1"],
        "timeout": 1.5,
        "post_fork": "post_fork",
    }


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("workers = 1 / 0\n", "ZeroDivisionError: division by zero"),
        ("import not_there\n", "ModuleNotFoundError: No module named 'not_there'"),
        ("workers = \n", "SyntaxError: invalid syntax"),
        ("raise SystemExit('no')\n", "conf.py cannot be evaluated"),
        ("import os; os._exit(0)\n", "conf.py cannot be evaluated"),
        ("import os; os.kill(os.getpid(), 9)\n", "conf.py cannot be evaluated"),
    ],
)
def test_a_mistake_is_told(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(NotImported) as caught:
        settings(tmp_path, text)
    assert told in str(caught.value)
    assert "evaluated.py" not in str(caught.value)


def test_it_ends_with_all_that_it_started(tmp_path: Path) -> None:
    """A file that never ends is ended, and so is a process that it leaves behind."""
    with pytest.raises(NotImported, match=r"conf\.py took longer than 1 s to evaluate, and was ended"):
        settings(tmp_path, "import time\nprint('x' * 100)\nwhile True: time.sleep(60)\n", time_max_s=1.0)
    settings(
        tmp_path,
        """
        import pathlib, subprocess
        child = subprocess.Popen(["sleep", "600"])
        pathlib.Path("pid").write_text(str(child.pid))
        workers = 1
        """,
    )
    pid = int((tmp_path / "pid").read_text())
    until(lambda: processes.has_ended(pid), "its child to be gone")


def test_it_ends_also_if_nobody_is_left_to_end_it(tmp_path: Path) -> None:
    """The child has an alarm of its own, for a gwctl that was killed."""
    (tmp_path / "conf.py").write_text("import time\nwhile True: time.sleep(60)\n")
    reading, writing = os.pipe()
    try:
        ended = subprocess.run(
            [sys.executable, "-P", evaluated.__file__, "conf.py", str(writing), "0.2"],
            cwd=tmp_path,
            pass_fds=(writing,),
        )
    finally:
        os.close(reading)
        os.close(writing)
    assert ended.returncode == -signal.SIGALRM


def test_what_it_prints_is_not_ours(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert settings(tmp_path, "import sys\nprint('out')\nprint('err', file=sys.stderr)\nworkers = 2\n") == {
        "workers": 2
    }
    assert capfd.readouterr() == ("", "")
