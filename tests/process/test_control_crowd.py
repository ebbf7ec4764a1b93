"""However many silent clients sit at the control socket, of one process or of many: an operator gets in at once."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from gwctl.supervisor.control.server import CLIENTS_MAX
from tests.support.processes import descriptors
from tests.support.wait import until

APP = "wsgi_bare:application"
SAID = [b"", b'{"jsonrpc": "2.0", "id": 1, "meth', b'{"id": 1, "method": "status"}\n' * 300]
"""Nothing, half a line, and more questions than answers are read."""
CROWD = 3 * CLIENTS_MAX


def a_client(path: Path, number: int) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(str(path))
    sock.setblocking(False)
    with contextlib.suppress(BlockingIOError, BrokenPipeError):
        sock.send(SAID[number % len(SAID)])
    return sock


@contextlib.contextmanager
def one_process(path: Path) -> Iterator[None]:
    socks = [a_client(path, number) for number in range(CROWD)]
    yield
    for sock in socks:
        sock.close()


@contextlib.contextmanager
def many_processes(path: Path) -> Iterator[None]:
    """One connection each."""
    pids = []
    for number in range(CROWD):
        pid = os.fork()
        if pid == 0:
            with contextlib.suppress(BaseException):
                sock = a_client(path, number)
                while sock:
                    signal.pause()
            os._exit(0)
        pids.append(pid)
    yield
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


@pytest.mark.parametrize("crowd", [one_process, many_processes], ids=lambda crowd: crowd.__name__)
def test_an_operator_gets_in_at_once(gwctl_server, crowd):
    with gwctl_server(APP, worker="sync", reload={"settle_s": 0.0}) as server:
        path = server.folder / "gwctl" / "test.sock"
        before = len(descriptors(server.pid))
        with crowd(path):
            full = before + CLIENTS_MAX
            until(lambda: len(descriptors(server.pid)) >= full, "all places to be taken")
            status = server.gwctl("status", "--json", timeout_s=10)
            assert json.loads(status.stdout)["pid"] == server.pid, status
            reload = server.gwctl("reload", timeout_s=10)
            assert reload.returncode == 0, reload
            assert len(descriptors(server.pid)) <= full + 4
            assert server.gwctl("stop", timeout_s=20).returncode == 0
            assert server.wait_for_exit() == 0
