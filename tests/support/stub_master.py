"""A master reduced to a relay: forks one real worker and lets a test speak to it.

Run as a script with one JSON argument; `worker.StubWorker` is the other side. Everything the
worker says goes to stdout as it came, one JSON line each; lines on stdin go to the worker.
First line: ``{"t": "forked", "pid": ..., "port": ...}``; last: ``{"t": "exited", "status": ...}``
(negative: the signal).
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import sys
from typing import Any, NoReturn

import msgspec

from gwctl.config.model.settings import PoolSettings
from gwctl.ipc.assignment import Assignment, Listener
from gwctl.ipc.channel import Channel
from gwctl.ipc.scoreboard import Scoreboard
from gwctl.log.level import Level
from gwctl.workers.lifecycle import boot


class Relay:
    def __init__(self, options: dict[str, Any]) -> None:
        self.settings = msgspec.convert(options["pool"], PoolSettings)
        self.log_level = Level[str(options.get("log_level", "debug")).upper()]
        self.threads_given = bool(options.get("threads_given"))
        for module in options.get("preimport", ()):
            importlib.import_module(module)  # for a user who cannot read where Python is installed
        self.trial = bool(options.get("trial"))
        self.master_pid = int(str(options.get("master_pid", os.getpid())))
        self.out = os.dup(1)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.setblocking(False)
        self.port = self.listener.getsockname()[1]
        self.board = Scoreboard(4)
        self.ours, self.theirs = socket.socketpair()

    def say(self, message: dict[str, object]) -> None:
        os.write(self.out, json.dumps(message).encode() + b"\n")

    def boot(self) -> NoReturn:
        """In the child, as the forking module leaves it: signals blocked, nothing of ours open."""
        self.ours.close()
        os.close(self.out)
        os.dup2(2, 1)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.setpgid(0, 0)
        record = self.board.allocate()
        assert record is not None
        url = f"http://127.0.0.1:{self.port}"
        boot.run(
            Assignment(
                worker=1,
                pool="web",
                slot=2,
                generation=3,
                instance="shop",
                settings=self.settings,
                processes=1,
                listeners=(Listener(self.listener, url.removeprefix("http://"), url),),
                channel=Channel(self.theirs),
                record=record,
                access_log_fd=-1,
                log_level=self.log_level,
                master_pid=self.master_pid,
                threads_given=self.threads_given,
                trial=self.trial,
            )
        )

    def run(self) -> None:
        gc.freeze()  # as a master does
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        pid = os.fork()
        if pid == 0:
            self.boot()
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        self.theirs.close()
        self.listener.close()  # the worker's copy is the only one, so tests see it close
        self.say({"t": "forked", "pid": pid, "port": self.port})
        self.relay(os.pidfd_open(pid))
        _, status = os.waitpid(pid, 0)
        self.say({"t": "exited", "status": os.waitstatus_to_exitcode(status)})

    def hear(self) -> bytes:
        """Empty at the end, also at the reset that an unread line of ours makes of it."""
        try:
            return self.ours.recv(65536)
        except ConnectionResetError:
            return b""

    def relay(self, pidfd: int) -> None:
        selector = selectors.DefaultSelector()
        for source in (0, self.ours.fileno(), pidfd):
            selector.register(source, selectors.EVENT_READ)
        while True:
            ready = [key.fd for key, _ in selector.select()]
            if self.ours.fileno() in ready:
                data = self.hear()
                os.write(self.out, data)
                if not data:
                    selector.unregister(self.ours)
            elif pidfd in ready:
                return
            if 0 in ready:
                line = os.read(0, 65536)
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    self.ours.sendall(line)
                if not line:
                    selector.unregister(0)


if __name__ == "__main__":
    Relay(json.loads(sys.argv[1])).run()
