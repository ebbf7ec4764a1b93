"""Pipes where files are expected: opening one waits for its other end, which a master must not do."""

from __future__ import annotations

import os
import signal

import httpx

from tests.support.server import GwctlServer

APP = "wsgi_bare:application"


def test_an_access_log_that_is_a_pipe_without_reader_is_refused(tmp_path):
    """Waiting for a reader, the master would hear no signal but SIGKILL."""
    pipe = tmp_path / "access"
    os.mkfifo(pipe)
    server = GwctlServer(APP, worker="sync", bind="127.0.0.1:0", access_log=str(pipe))
    try:
        server.start()
        assert server.wait_for_exit() == 1
        assert f"cannot write the access log {pipe}: it is a pipe that nobody reads" in server.log
    finally:
        server.destroy()


def test_an_access_log_that_is_a_pipe_is_written_while_somebody_reads(gwctl_server, tmp_path):
    """SIGUSR1 without a reader keeps the pipe; lines go to whoever reads it."""
    pipe = tmp_path / "access"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    options = {"access_log": str(pipe), "allow_errors": ["it is a pipe that nobody reads", "Broken pipe"]}
    with gwctl_server(APP, worker="sync", **options) as server:
        httpx.get(f"{server.url}/?one")
        os.set_blocking(reader, True)
        assert b"/?one" in os.read(reader, 4096)
        os.close(reader)
        server.signal(signal.SIGUSR1)
        server.wait_for_log("it is a pipe that nobody reads; writing to the old file goes on")
        assert httpx.get(server.url).text == "hello"


def test_a_reload_does_not_wait_for_a_settings_file_that_is_a_pipe(gwctl_server):
    """As after `gwctl start -c <(make-settings)`: nobody writes a second time, and the master serves on."""
    with gwctl_server(APP, worker="sync", allow_errors=["was not adopted"]) as server:
        server.config.unlink()
        os.mkfifo(server.config)
        server.signal(signal.SIGHUP)
        server.wait_for_log("generation 2 was not adopted")
        assert httpx.get(server.url).text == "hello"
