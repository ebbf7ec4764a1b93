"""Unix sockets are made privately, replace only what is dead, and remove only what is theirs."""

from __future__ import annotations

import errno
import os
import socket
import stat
from pathlib import Path

import pytest

from gwctl.errors import BindError
from gwctl.supervisor.listeners import unix_socket
from gwctl.supervisor.listeners.unix_socket import Access, bind


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.sock"


def stale(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        sock.listen(1)


def refused(path: Path) -> BindError:
    with pytest.raises(BindError) as caught:
        bind(path, Access(), 8)
    return caught.value


def test_listens_with_the_wanted_mode(path: Path) -> None:
    made = bind(path, Access(0o640), 8)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert not made.sock.getblocking()
    assert made.sock.getsockname() == str(path)
    assert not os.get_inheritable(made.sock.fileno())
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    made.unlink()
    assert not path.exists()
    made.sock.close()


def test_no_moment_with_more_permissions(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before owner and group are set, only the owner's bits are there; the umask is as before after it."""
    seen = []
    real = os.chown
    monkeypatch.setattr(os, "chown", lambda *a: (seen.append(stat.S_IMODE(path.stat().st_mode)), real(*a)))
    mask = os.umask(0)
    try:
        bind(path, Access(0o666, os.getuid(), os.getgid()), 8).sock.close()
        assert seen == [0o600]
        assert os.umask(0) == 0
    finally:
        os.umask(mask)


@pytest.mark.skipif(os.geteuid() != 0, reason="gives the socket to another user")
def test_owner_and_group(path: Path) -> None:
    bind(path, Access(0o660, 12345, 23456), 8).sock.close()
    found = path.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (12345, 23456, 0o660)


def test_a_stale_socket_is_replaced(path: Path) -> None:
    stale(path)
    made = bind(path, Access(), 8)
    assert made.inode == (path.lstat().st_dev, path.lstat().st_ino)
    assert list(path.parent.iterdir()) == [path], "something was left beside it"
    made.sock.close()


def test_a_live_socket_is_an_error_that_names_its_owner(path: Path) -> None:
    live = bind(path, Access(), 8)
    error = refused(path)
    assert error.errno == errno.EADDRINUSE
    assert f"in use by pid {os.getpid()} (" in error.reason
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    live.sock.close()


def test_a_full_backlog_is_alive(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        sock.listen(0)
        clients = [socket.socket(socket.AF_UNIX) for _ in range(3)]
        for client in clients:
            client.setblocking(False)
            client.connect_ex(str(path))
        error = refused(path)
        assert (error.errno, error.reason) == (errno.EADDRINUSE, "in use: its backlog is full")
        for client in clients:
            client.close()


def test_other_things_are_left_alone(path: Path) -> None:
    path.write_text("precious")
    assert refused(path).reason == "there is a file at this path, not a socket; it is left alone"
    assert path.read_text() == "precious"
    path.unlink()
    path.symlink_to("/nowhere")
    assert "a symbolic link" in refused(path).reason
    path.unlink()
    path.mkdir()
    assert "a folder" in refused(path).reason


def test_a_datagram_socket_is_left_alone(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(path))
        assert "cannot be tried" in refused(path).reason
        assert path.exists()


def test_path_too_long(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 120)
    error = refused(path)
    assert error.errno == errno.ENAMETOOLONG
    assert error.reason == f"the path has {len(str(path))} bytes; a Unix socket's path may have 107"


def test_missing_folder(tmp_path: Path) -> None:
    assert refused(tmp_path / "no/x.sock").reason == f"folder {tmp_path}/no does not exist"


def test_only_our_own_file_is_unlinked(path: Path) -> None:
    made = bind(path, Access(), 8)
    path.unlink()
    other = bind(path, Access(), 8)
    made.unlink()
    assert path.exists(), "the new socket of somebody else was removed"
    other.unlink()
    other.sock.close()
    made.sock.close()


def test_unlink_of_a_file_that_is_gone(path: Path) -> None:
    made = bind(path, Access(), 8)
    path.unlink()
    made.unlink()
    made.sock.close()


def test_a_socket_replaced_while_it_was_judged_stale_is_given_back(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process wins the race for a stale socket: its new one survives."""
    stale(path)
    real = unix_socket._raise_if_alive
    winners = []

    def lose_the_race(at: Path) -> None:
        real(at)
        at.unlink()
        monkeypatch.setattr(unix_socket, "_raise_if_alive", real)
        winners.append(bind(at, Access(), 8))

    monkeypatch.setattr(unix_socket, "_raise_if_alive", lose_the_race)
    error = refused(path)
    assert error.errno == errno.EADDRINUSE
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    assert winners[0].inode == (path.lstat().st_dev, path.lstat().st_ino)
    winners[0].sock.close()


def test_nothing_is_left_when_the_owner_cannot_be_set(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(*_args: object) -> None:
        raise PermissionError(errno.EPERM, "no")

    monkeypatch.setattr(os, "chown", deny)
    with pytest.raises(BindError, match="may not give it to uid 4, gid 5"):
        bind(path, Access(0o660, 4, 5), 8)
    assert not path.exists()
