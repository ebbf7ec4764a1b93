"""Folders and exceptions whose texts are not UTF-8: master, workers and commands go on as usual."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.server import ROOT

APPLICATION = "def application(environ, start_response):\n    start_response('200 OK', [])\n    return []\n"


@pytest.mark.parametrize("preload", [False, True], ids=["workers", "template"])
def test_a_folder_whose_name_is_not_utf8(gwctl_server, tmp_path: Path, preload: bool) -> None:
    """The settings name no folder, so that what is relative is that of the file."""
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/shop\xff"))
    folder.mkdir()
    (folder / "shop.py").write_text(APPLICATION, "utf-8")
    server = gwctl_server(
        "shop:application", worker="sync", preload=preload, reload={"settle_s": 0.05}, cwd=folder
    )
    config = folder / "gw.toml"
    del server.tables["pool"]["web"]["chdir"]
    server.config = config
    server.write_config()
    server.arguments[-1] = str(config)
    with server:
        for command in (["status"], ["status", "--json"], ["reload"], ["status", "-c", str(config)]):
            done = server.gwctl(*command)
            assert done.returncode == 0, (command, done.stderr)
        (folder / "shop.py").write_text("raise ValueError('no \\udcff')")
        server.allow_errors.append("was not adopted")
        done = server.gwctl("reload")
        assert done.returncode == 1
        assert "cannot import shop: ValueError: no \\udcff" in done.stderr, done
        assert server.gwctl("status").returncode == 0


@pytest.mark.parametrize("encoding", ["utf-8:strict", "latin-1:strict"])
@pytest.mark.parametrize("command", ["check", "config show", "config show --json"])
def test_commands_write_what_the_terminal_has_no_characters_for(
    tmp_path: Path, encoding: str, command: str
) -> None:
    """The folder's name, and the mark of what is masked."""
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/shop\xff"))
    folder.mkdir()
    (folder / "gw.toml").write_text('[pool.web]\napp = "shop"\nenv = { KEY = "secret" }\n', "utf-8")
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": encoding}
    argv = [sys.executable, "-m", "gwctl", *command.split()]
    done = subprocess.run(argv, cwd=folder, env=environ, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert b"udcff" in done.stdout
