"""A process that has imported gwctl and forks what tests start: a start costs a fifth of what an interpreter's does.

Tests start gwctl more than a thousand times, and nine tenths of what a start costs are the same imports. So
each process of the tests keeps one of these servers beside it (`started.start` asks it), and a master or a
command is a fork of that, with arguments, environment, folder, descriptors and session of its own. It runs
``python -m gwctl`` as the interpreter would. What differs is how it came to be: no `exec`, its parent is
this server, and memory is shared.

Run as a script with one argument: the descriptor of a SOCK_SEQPACKET socket. A message on it is a `Start`
as JSON, with `REPLY`, stdin, stdout, stderr and those of ``pass_fds``. On `REPLY` it says ``PID`` at once,
and the status at its end.
"""

from __future__ import annotations

import atexit
import fcntl
import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import sys
import threading
from dataclasses import dataclass
from typing import Final, NoReturn

from setproctitle import setproctitle

from gwctl.config.model.settings import PoolSettings
from gwctl.supervisor.upgrade import program
from gwctl.workers.lifecycle.prefork_imports import import_for

# What a master that serves, or a command that has spoken with one, has imported.
PREIMPORTED: Final = (
    "gwctl.cli.start",
    "gwctl.cli.control_commands",
    "gwctl.cli.events_view",
    "gwctl.cli.reload_view",
    "gwctl.cli.requests_view",
    "gwctl.cli.settings_commands",
    "gwctl.cli.status_view",
    "gwctl.supervisor.start",
    "tests.load.runner",  # the client of many of them
)
REPLY, STDERR = 0, 3
_MESSAGE_BYTES_MAX: Final = 1 << 20
_DESCRIPTORS_MAX: Final = 64
_OUT_OF_THE_WAY: Final = 700  # above what a test passes, below the soft limit of open files


@dataclass(frozen=True)
class Start:
    """What to run, as `subprocess.Popen` takes it."""

    module: str
    prelude: str
    """Python to be run before it."""
    arguments: list[str]
    environ: dict[str, str]
    cwd: str
    pass_fds: list[int]
    new_session: bool


class ForkServer:
    """Forks what it is asked for, and tells how each ended, until the other side is gone."""

    def __init__(self, requests: socket.socket) -> None:
        self._requests = requests
        self._replies: dict[int, tuple[int, socket.socket]] = {}
        self._selector = selectors.DefaultSelector()
        self._selector.register(requests, selectors.EVENT_READ)

    def until_forked(self) -> tuple[Start, list[int]] | None:
        """In a child: what to run, and its descriptors. In the server: None when nobody asks any more."""
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is not self._requests:
                    self._ended(key.fd)
                    continue
                data, fds, _flags, _address = socket.recv_fds(
                    self._requests, _MESSAGE_BYTES_MAX, _DESCRIPTORS_MAX
                )
                if not data:
                    return None
                start = Start(**json.loads(data))
                if self._fork(fds):
                    return start, fds

    def _fork(self, fds: list[int]) -> bool:
        pid = os.fork()
        if pid == 0:
            self._leave_to_child()
            return True
        reply = socket.socket(fileno=fds[REPLY])
        for fd in fds[REPLY + 1 :]:
            os.close(fd)
        reply.send(b"%d" % pid)
        pidfd = os.pidfd_open(pid)
        self._replies[pidfd] = pid, reply
        self._selector.register(pidfd, selectors.EVENT_READ)
        return False

    def _ended(self, pidfd: int) -> None:
        self._selector.unregister(pidfd)
        os.close(pidfd)
        pid, reply = self._replies.pop(pidfd)
        _, status = os.waitpid(pid, 0)
        try:
            reply.send(b"%d" % os.waitstatus_to_exitcode(status))
        except (BrokenPipeError, ConnectionResetError):
            pass  # nobody wants to know: the test has ended
        finally:
            reply.close()

    def _leave_to_child(self) -> None:
        self._selector.close()
        self._requests.close()
        for pidfd, (_, reply) in self._replies.items():
            os.close(pidfd)
            reply.close()
        self._replies.clear()


def become(start: Start, fds: list[int]) -> None:
    """Make this process what `subprocess` would have made of it: its descriptors, session, folder, environment."""
    targets = [0, 1, 2, *start.pass_fds]
    os.close(fds[REPLY])
    aside = []
    for fd in fds[REPLY + 1 :]:
        aside.append(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _OUT_OF_THE_WAY))
        os.close(fd)
    for fd, target in zip(aside, targets, strict=True):
        os.dup2(fd, target)  # which makes it inheritable
        os.close(fd)
    if start.new_session:
        os.setsid()
    os.chdir(start.cwd)
    os.environ.clear()
    os.environ.update(start.environ)
    sys.path[0] = start.cwd  # where ``-m`` looks first
    sys.orig_argv = [sys.executable, "-m", start.module, *start.arguments]
    sys.argv = [start.module, *start.arguments]


def main() -> None:
    for module in PREIMPORTED:
        importlib.import_module(module)
    setproctitle("fork server of the tests")  # finds its place before forks change environ
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is for the tests
    import_for(PoolSettings(app="shop", worker=worker_class) for worker_class in ("sync", "threads", "asgi"))
    sources = program.archive()
    # Else each master reads five hundred files: a third of what its life costs.
    program.archive = lambda: sources
    gc.freeze()
    forked = ForkServer(socket.socket(fileno=int(sys.argv[1]))).until_forked()
    if forked is None:
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    start, fds = forked
    become(start, fds)
    del forked, fds
    try:
        exec(start.prelude, {"__name__": "prelude"})
        runpy.run_module(start.module, run_name="__main__", alter_sys=True)
    except SystemExit as ending:
        if isinstance(ending.code, int):
            end(ending.code)
        raise
    end(0)


def end(status: int) -> NoReturn:
    """As the interpreter does, but for taking apart what it has imported, page by page that was shared."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        sys.exit(status)  # the interpreter says what it thinks of that
    threading._shutdown()  # type: ignore[attr-defined]  # joins threads
    atexit._run_exitfuncs()
    os._exit(status)


if __name__ == "__main__":
    main()
