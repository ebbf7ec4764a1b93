"""Stdin, stdout and stderr as a careless starter leaves them: closed, broken, or a terminal."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys

import httpx
import pytest

from tests.support.processes import descriptors, look, session_of
from tests.support.server import GwctlServer
from tests.support.wait import until

APP = "wsgi_bare:application"
READS_STDIN = """
import os

def application(environ, start_response):
    try:
        answer = os.read(0, 100)
    except OSError as error:
        answer = str(error).encode()
    start_response("200 OK", [("Content-Length", str(len(answer)))])
    return [answer]
"""


@pytest.mark.parametrize("closed", ["0", "1", "0 1", "0 1 2"])
def test_closed_descriptors_are_not_taken_by_sockets_of_ours(gwctl_server, tmp_path, closed):
    """Else the access log goes to the master's signal pipe, or what an application prints to a selector."""
    starter = tmp_path / "starter"
    redirections = " ".join(f"{fd}>&-" for fd in closed.split())
    starter.write_text(f'exec {sys.executable} -m gwctl "$@" {redirections}\n')
    server = gwctl_server(APP, worker="sync", processes=1, access_log="stdout", command=["sh", str(starter)])
    try:
        server.start()
        until(lambda: answers(server._url), f"an answer; the log:\n{server.log}")
        for pid in (server.pid, *server.workers):
            held = descriptors(pid)
            assert {held[int(fd)] for fd in closed.split()} == {"/dev/null"}, held
        server.stop()
    finally:
        server.destroy()


def test_a_broken_stderr_does_not_change_the_exit_status(tmp_path):
    """4 says that the application cannot be imported, also to somebody who does not read its traceback."""
    (tmp_path / "broken.py").write_text("1 / 0\n")
    read, write = os.pipe()
    os.close(read)
    server = GwctlServer("broken:app", chdir=tmp_path, bind="127.0.0.1:0")
    try:
        ended = subprocess.run(server.command_line, env=server.environ, stderr=write, timeout=30, check=False)
        assert ended.returncode == 4
    finally:
        os.close(write)
        server.destroy()


def test_an_application_that_reads_a_terminal_gets_nothing(tmp_path):
    """A worker is in no foreground process group: its read would fail and be tried again for ever."""
    (tmp_path / "reads.py").write_text(READS_STDIN)
    server = GwctlServer("reads:application", worker="sync", chdir=tmp_path)
    assert server._listener
    server._listener.set_inheritable(True)
    command = server.command_line
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(command[0], command, server.environ)
    shown = bytearray()
    try:
        while b"serving:" not in shown:
            shown += os.read(terminal, 4096)
        assert httpx.get(server.url, timeout=10).text == ""
        os.write(terminal, b"\x03")
        until(lambda: master.is_zombie if (master := look(pid)) else True, "the master to end by Ctrl-C")
    finally:
        for process in session_of(pid):
            os.kill(process.pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(terminal)
        server.destroy()


def answers(url: str) -> bool:
    try:
        return httpx.get(url).text == "hello"
    except httpx.TransportError:
        return False
