"""Access log files that cannot be written: the reason is that of what is there."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from gwctl.supervisor.generations.access_logs import AccessLogs
from gwctl.supervisor.service.log_files import LogFileError


def refused(path: Path) -> str:
    with pytest.raises(LogFileError) as caught:
        AccessLogs().open([str(path)])
    return str(caught.value).removeprefix(f"cannot write the access log {path}: ")


def test_what_is_there_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert refused(tmp_path / "pipe") == "it is a pipe that nobody reads"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "socket"))
    assert refused(tmp_path / "socket") == "it is a socket"


def test_the_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    assert refused(tmp_path / "nope" / "log") == f"folder {tmp_path}/nope does not exist"
    (tmp_path / "link").symlink_to(tmp_path / "gone" / "log")
    assert refused(tmp_path / "link") == f"folder {tmp_path}/gone does not exist"
