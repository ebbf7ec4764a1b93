"""However many silent clients sit at the control socket, of one process or of many: an operator gets in at once."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gwctl.supervisor.control.server import CLIENTS_MAX
from tests.process.crowd import a_client
from tests.support.processes import descriptors
from tests.support.server import ROOT
from tests.support.wait import until

APP = "wsgi_bare:application"
CROWD = 3 * CLIENTS_MAX


@contextlib.contextmanager
def one_process(path: Path) -> Iterator[None]:
    socks = [a_client(str(path), number) for number in range(CROWD)]
    yield
    for sock in socks:
        sock.close()


_MANY = """
import os, sys
sys.path.insert(0, sys.argv[1])
from tests.process.crowd import a_client
read, write = os.pipe()
for number in range(int(sys.argv[3])):
    if not os.fork():
        os.close(write)
        sock = a_client(sys.argv[2], number)
        os.read(read, 1)  # until the one process that has the other end is gone
        os._exit(0)
sys.stdin.read()
"""


@contextlib.contextmanager
def many_processes(path: Path) -> Iterator[None]:
    """One connection each; children of a small process, not copies of this large one."""
    command = [sys.executable, "-S", "-c", _MANY, str(ROOT), str(path), str(CROWD)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as parent:
        try:
            yield
        finally:
            parent.kill()


@pytest.mark.parametrize("crowd", [one_process, many_processes], ids=lambda crowd: crowd.__name__)
def test_an_operator_gets_in_at_once(gwctl_server, crowd):
    with gwctl_server(APP, worker="sync", reload={"settle_s": 0.0}) as server:
        path = server.folder / "gwctl" / "test.sock"
        before = len(descriptors(server.pid))
        with crowd(path):
            full = before + CLIENTS_MAX
            until(lambda: len(descriptors(server.pid)) >= full, "all places to be taken")
            status = server.gwctl("status", "--json", timeout_s=20)  # silent clients are ended after 30
            assert json.loads(status.stdout).get("pid") == server.pid, status
            reload = server.gwctl("reload", timeout_s=20)
            assert reload.returncode == 0, reload
            until(
                lambda: len(descriptors(server.pid)) <= full + 4, "the worker before and commands to be gone"
            )
            assert server.gwctl("stop", timeout_s=40).returncode == 0
            assert server.wait_for_exit() == 0
