"""Folders and exceptions whose texts are not UTF-8: master, workers and commands go on as usual."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

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
    server._command[-1] = str(config)
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
