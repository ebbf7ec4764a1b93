"""Ctrl-C before a command has anything to say about it: it ends, without a traceback."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.server import ROOT

TYPES_CTRL_C = """
import os, signal, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder())
sys.argv = ["gwctl", *{arguments!r}]
from gwctl.__main__ import main
main()
"""


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("gwctl.memory_limits", ["start"]),
        ("click", ["start"]),
        ("gwctl.config.familiar", ["check"]),
        ("gwctl.cli.start", ["start"]),
        ("gwctl.supervisor.startup", ["start"]),
        ("gwctl.cli.settings_commands", ["check"]),
        ("gwctl.supervisor.trial", ["check", "--app"]),
        ("gwctl.config.init", ["init", "-c", "x.toml"]),
        ("gwctl.cli.control_commands", ["status"]),
    ],
)
def test_in_an_import(tmp_path: Path, module: str, arguments: list[str]) -> None:
    (tmp_path / "gw.toml").write_text('[pool.web]\napp = "shop:application"\nbind = "127.0.0.1:0"\n')
    ended = subprocess.run(
        [sys.executable, "-c", TYPES_CTRL_C.format(module=module, arguments=arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "RUNTIME_DIRECTORY": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (130, "")
    assert not (tmp_path / "x.toml").exists()


def test_while_a_command_waits_for_an_answer(tmp_path: Path) -> None:
    """Of a master that says nothing: `status` has nothing to say about it either."""
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(str(tmp_path / "mute.sock"))
        mute.listen()
        process = subprocess.Popen(
            [sys.executable, "-m", "gwctl", "status", "--control", str(tmp_path / "mute.sock")],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        mute.settimeout(30)
        client, _ = mute.accept()
        client.settimeout(30)
        assert client.recv(1), "it has asked"
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=30)
        client.close()
    assert (process.returncode, said) == (130, "")
