"""Where control sockets are, and how the masters behind them are found."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from gwctl.control.paths import NoRuntimeDirectoryError, control_path, instances, make_folder


@pytest.fixture
def masters() -> Iterator[list[socket.socket]]:
    opened: list[socket.socket] = []
    yield opened
    for sock in opened:
        sock.close()


def listen(masters: list[socket.socket], path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    sock.listen(1)
    masters.append(sock)
    return path


@pytest.mark.parametrize(
    ("environ", "uid", "expected"),
    [
        ({}, 0, "/run/gwctl/shop.sock"),
        ({"XDG_RUNTIME_DIR": "/run/user/0"}, 0, "/run/gwctl/shop.sock"),
        ({"XDG_RUNTIME_DIR": "/run/user/7"}, 7, "/run/user/7/gwctl/shop.sock"),
        ({"RUNTIME_DIRECTORY": "/run/gwctl"}, 7, "/run/gwctl/shop.sock"),
        (
            {"RUNTIME_DIRECTORY": "/run/shop", "XDG_RUNTIME_DIR": "/run/user/7"},
            7,
            "/run/shop/gwctl/shop.sock",
        ),
        ({"RUNTIME_DIRECTORY": "/run/a:/run/b"}, 7, "/run/a/gwctl/shop.sock"),
        ({"RUNTIME_DIRECTORY": "/run/a:/run/gwctl"}, 7, "/run/gwctl/shop.sock"),
    ],
)
def test_where_the_socket_is(environ: dict[str, str], uid: int, expected: str) -> None:
    assert control_path("shop", environ, uid) == Path(expected)


@pytest.mark.parametrize("environ", [{}, {"XDG_RUNTIME_DIR": "relative"}, {"RUNTIME_DIRECTORY": ""}])
def test_nowhere(environ: dict[str, str]) -> None:
    """No /tmp, no working directory: the master goes without."""
    with pytest.raises(NoRuntimeDirectoryError, match="RUNTIME_DIRECTORY"):
        control_path("shop", environ, 7)


def test_the_folder_is_private(tmp_path: Path) -> None:
    folder = tmp_path / "gwctl"
    mask = os.umask(0)
    try:
        make_folder(folder)
    finally:
        os.umask(mask)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    make_folder(folder)


def test_a_folder_that_anybody_may_write_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "gwctl"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(NoRuntimeDirectoryError, match="anybody may write"):
        make_folder(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="gives the folder to another user")
def test_a_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "gwctl"
    folder.mkdir()
    os.chown(folder, 12345, -1)
    with pytest.raises(NoRuntimeDirectoryError, match="belongs to uid 12345"):
        make_folder(folder)


def test_a_missing_parent(tmp_path: Path) -> None:
    with pytest.raises(NoRuntimeDirectoryError, match="cannot make"):
        make_folder(tmp_path / "no" / "gwctl")


def test_instances_are_found_in_all_the_usual_folders(tmp_path: Path, masters: list[socket.socket]) -> None:
    listen(masters, tmp_path / "run/gwctl/shop.sock")
    listen(masters, tmp_path / "run/blog/gwctl/blog.sock")
    listen(masters, tmp_path / "user/gwctl/mine.sock")
    found = instances({"XDG_RUNTIME_DIR": str(tmp_path / "user")}, 7, tmp_path)
    assert [instance.name for instance in found] == ["blog", "mine", "shop"]


def test_a_unit_of_the_user_manager_is_found(tmp_path: Path, masters: list[socket.socket]) -> None:
    """Its runtime directory is below that of the session; for root, whose that is may be another matter (sudo)."""
    path = listen(masters, tmp_path / "user/gwctl-shop/gwctl/shop.sock")
    environ = {"XDG_RUNTIME_DIR": str(tmp_path / "user")}
    assert [instance.path for instance in instances(environ, 7, tmp_path)] == [path]
    assert instances(environ, 0, tmp_path) == []


def test_stale_sockets_and_other_files_are_no_instances(tmp_path: Path, masters: list[socket.socket]) -> None:
    listen(masters, tmp_path / "run/gwctl/dead.sock")
    masters.pop().close()
    (tmp_path / "run/gwctl/file.sock").write_text("")
    assert instances({}, 0, tmp_path) == []


def test_inside_a_service_only_its_folder_counts(tmp_path: Path, masters: list[socket.socket]) -> None:
    listen(masters, tmp_path / "run/gwctl/other.sock")
    path = listen(masters, tmp_path / "service/gwctl/shop.sock")
    found = instances({"RUNTIME_DIRECTORY": str(tmp_path / "service")}, 0, tmp_path)
    assert [(instance.name, instance.path) for instance in found] == [("shop", path)]
