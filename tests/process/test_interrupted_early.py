"""Ctrl-C before a command has anything to say about it: it ends, without a traceback."""

from __future__ import annotations

import json
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
        ("gwctl.config.foreign_names", ["check"]),
        ("gwctl.cli.start", ["start"]),
        ("gwctl.supervisor.start", ["start"]),
        ("gwctl.cli.settings_commands", ["check"]),
        ("gwctl.supervisor.check_app", ["check", "--app"]),
        ("gwctl.config.init_file", ["init", "-c", "x.toml"]),
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


def asks_a_mute_master(
    folder: Path, *arguments: str, progress: bytes = b"", interrupt: bool
) -> tuple[int, str, str]:
    """A command's exit status and output, when its master takes the question and then goes or says nothing."""
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(str(folder / "mute.sock"))
        mute.listen()
        process = subprocess.Popen(
            [sys.executable, "-m", "gwctl", *arguments, "--control", str(folder / "mute.sock")],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        mute.settimeout(30)
        client, _ = mute.accept()
        with client:
            client.settimeout(30)
            assert client.recv(1), "it has asked"
            client.sendall(progress)
            if interrupt:
                process.send_signal(signal.SIGINT)
                process.wait(30)
        out, err = process.communicate(timeout=30)
    return process.returncode, out, err


def test_while_a_command_waits_for_an_answer(tmp_path: Path) -> None:
    """`status` has nothing to say about it."""
    assert asks_a_mute_master(tmp_path, "status", interrupt=True) == (130, "", "")


@pytest.mark.parametrize(
    ("command", "said"), [("reload", "goes on, no longer watched"), ("stop", "goes on stopping")]
)
def test_with_json_an_interrupted_command_writes_its_one_object(
    tmp_path: Path, command: str, said: str
) -> None:
    status, out, err = asks_a_mute_master(tmp_path, command, "--json", interrupt=True)
    document = json.loads(out)
    assert (status, err, document["ok"]) == (130, "", False)
    assert said in document["text"]


def test_a_reload_whose_master_dies_shows_how_far_it_got(tmp_path: Path) -> None:
    news = {"id": 1, "pool": "web", "phase": "boot", "outcome": "ok", "detail": "0.44 s"}
    line = json.dumps({"jsonrpc": "2.0", "method": "progress", "params": news}).encode() + b"\n"
    status, out, err = asks_a_mute_master(tmp_path, "reload", progress=line, interrupt=False)
    assert (status, out) == (1, "web  boot ok (0.44 s)\n")
    assert err == "the master went away before it answered\n"
