"""Listeners that a worker has tampered with, as the master finds and mends them."""

from __future__ import annotations

import os
import select
import socket
from pathlib import Path

import pytest

from gwctl.ipc.assignment import Listener
from gwctl.log.event_log import Log
from gwctl.supervisor.history import History
from gwctl.supervisor.listeners.bind import Held, Wanted
from gwctl.supervisor.listeners.repair import ListenerCare
from gwctl.supervisor.listeners.unix_socket import Access
from gwctl.supervisor.recorder import Recorder
from tests.support.wait import DEADLINE_S


class Scene:
    def __init__(self, sock: socket.socket, folder: Path) -> None:
        sock.listen(8)
        sock.setblocking(False)
        self.sock = sock
        self.held = Held(Wanted("addr", "web", 8, Access()), (Listener(sock, "addr", "url"),))
        self.care = ListenerCare()
        self.care.remember([self.held])
        self.path = folder / "log"
        self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT)
        self._recorder = Recorder(Log(self._fd), History.of("shop"))

    def check(self) -> str:
        self.care.check([self.held], self._recorder)
        return self.path.read_text()

    def close(self) -> None:
        os.close(self._fd)
        self.sock.close()


def tcp(host: str = "127.0.0.1") -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((host, 0))
    return sock


def test_one_that_is_well_is_left_alone(tmp_path: Path) -> None:
    scene = Scene(tcp(), tmp_path)
    assert scene.check() == ""
    scene.close()


@pytest.mark.parametrize("how", [socket.SHUT_RD, socket.SHUT_RDWR])
def test_one_that_was_shut_down_listens_at_the_same_port_again_each_time(tmp_path: Path, how: int) -> None:
    scene = Scene(tcp(), tmp_path)
    name = scene.sock.getsockname()
    for _ in range(3):
        scene.sock.shutdown(how)
        log = scene.check()
        with socket.create_connection(name):
            assert select.select([scene.sock], [], [], DEADLINE_S)[0]  # the client may know of it first
            taken, _ = scene.sock.accept()
            taken.close()
    assert log.count("was shut down; clients that waited there were reset. It listens again") == 1, (
        "told now and then"
    )
    scene.close()


def test_a_port_that_somebody_else_has_by_now(tmp_path: Path) -> None:
    scene = Scene(tcp(), tmp_path)
    name = scene.sock.getsockname()
    scene.sock.shutdown(socket.SHUT_RDWR)
    with socket.create_server(name):
        assert "It cannot listen again (Address already in use)" in scene.check()
    scene.close()


def test_a_unix_socket_that_was_shut_down_counts_as_lost(tmp_path: Path) -> None:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(tmp_path / "sock"))
    scene = Scene(sock, tmp_path)
    assert scene.check() == ""
    assert not scene.held.lost
    sock.shutdown(socket.SHUT_RDWR)
    assert scene.check().count("was shut down and cannot be mended") == 1
    assert scene.held.lost
    assert scene.check().count("\n") == 1
    scene.close()


def test_one_that_blocks_is_set_back(tmp_path: Path) -> None:
    scene = Scene(tcp(), tmp_path)
    scene.sock.setblocking(True)
    assert "was set to block" in scene.check()
    assert not os.get_blocking(scene.sock.fileno())
    scene.close()
