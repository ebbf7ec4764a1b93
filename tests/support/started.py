"""Programs that tests start: as forks of a server that has imported them (`fork_server`), or each on its own.

``TEST_STARTS=exec`` has each be a program of its own, as in production.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Final

ROOT: Final = Path(__file__).resolve().parents[2]
GWCTL: Final = (sys.executable, "-m", "gwctl")
PIPE, DEVNULL = subprocess.PIPE, subprocess.DEVNULL
# What an interpreter, its allocator or the C library reads as it starts comes too late for a fork.
_READ_AT_START: Final = ("PYTHON", "LD_", "MALLOC_", "GLIBC_", "LC_", "LANG", "TZ", "VIRTUAL_ENV")
_BECOME: Final = "import os, sys\nos.execvp(sys.argv[1], sys.argv[1:])\n"
Stream = int | IO[bytes]


class Forked:
    """A process of the fork server, with what tests use of `subprocess.Popen`."""

    def __init__(
        self,
        reply: socket.socket,
        stdin: IO[bytes] | None,
        stdout: IO[bytes] | None,
        stderr: IO[bytes] | None,
    ) -> None:
        self._reply = reply
        self.stdin, self.stdout, self.stderr = stdin, stdout, stderr
        self.returncode: int | None = None
        self.pid = int(reply.recv(64))

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            self._reply.settimeout(timeout)
            try:
                self.returncode = int(self._reply.recv(64))
            except (TimeoutError, BlockingIOError):
                raise subprocess.TimeoutExpired(f"pid {self.pid}", timeout or 0) from None
            self._reply.close()
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[bytes | None, bytes | None]:
        """Read both streams to their ends, then wait. What is no pipe is None."""
        end = None if timeout is None else time.monotonic() + timeout

        def left() -> float | None:
            return None if end is None else max(0.0, end - time.monotonic())

        if self.stdin:
            self.stdin.close()
        streams = [stream for stream in (self.stdout, self.stderr) if stream]
        with selectors.DefaultSelector() as selector:
            for stream in streams:
                selector.register(stream, selectors.EVENT_READ, bytearray())
            read = {stream: selector.get_key(stream).data for stream in streams}
            while selector.get_map():
                ready = selector.select(left())
                if not ready and left() == 0:
                    raise subprocess.TimeoutExpired(f"pid {self.pid}", timeout or 0)
                for key, _ in ready:
                    if block := os.read(key.fd, 65536):
                        key.data.extend(block)
                    else:
                        selector.unregister(key.fileobj)
        self.wait(left())
        for stream in streams:
            stream.close()
        return tuple(bytes(read[stream]) if stream else None for stream in (self.stdout, self.stderr))  # type: ignore[return-value]

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # it ended just now, as `subprocess` has it
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


Started = subprocess.Popen[bytes] | Forked


def start(
    arguments: Sequence[str],
    *,
    environ: Mapping[str, str],
    cwd: Path | str,
    command: Sequence[str] = (),
    module: str = "gwctl",
    prelude: str = "",
    stdin: Stream = DEVNULL,
    stdout: Stream = DEVNULL,
    stderr: Stream = DEVNULL,
    pass_fds: Sequence[int] = (),
    start_new_session: bool = False,
) -> Started:
    """Start ``command``; without one ``python -m module``, which is forked if it can be.

    ``prelude`` is Python that the process runs before it becomes the module, as whoever starts it might.
    """
    if command or not _can_be_forked(environ):
        program = [*(command or (sys.executable, "-m", module)), *arguments]
        if prelude:
            program = [sys.executable, "-c", prelude + _BECOME, *program]
        return subprocess.Popen(
            program,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env=environ,
            cwd=cwd,
            pass_fds=pass_fds,
            start_new_session=start_new_session,
        )
    request = {
        "module": module,
        "prelude": prelude,
        "arguments": list(arguments),
        "environ": dict(environ),
        "cwd": str(cwd),
        "pass_fds": list(pass_fds),
        "new_session": start_new_session,
    }
    with contextlib.ExitStack() as theirs:
        streams = [
            _descriptor(stdin, theirs, is_input=True),
            *(_descriptor(s, theirs) for s in (stdout, stderr)),
        ]
        reply, to_reply = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        theirs.enter_context(to_reply)
        fds = [to_reply.fileno(), *(fd for fd, _ in streams), *pass_fds]
        socket.send_fds(_server(), [json.dumps(request).encode()], fds)
    return Forked(reply, *(kept for _, kept in streams))


def run(
    arguments: Sequence[str],
    *,
    environ: Mapping[str, str],
    cwd: Path | str,
    command: Sequence[str] = (),
    prelude: str = "",
    timeout_s: float = 60.0,
) -> subprocess.CompletedProcess[str]:
    """Run it to its end, with its output as text."""
    process = start(
        arguments, environ=environ, cwd=cwd, command=command, prelude=prelude, stdout=PIPE, stderr=PIPE
    )
    try:
        stdout, stderr = process.communicate(timeout=timeout_s)
    except BaseException:
        process.kill()
        process.wait()
        raise
    assert process.returncode is not None
    assert stdout is not None
    assert stderr is not None
    return subprocess.CompletedProcess(arguments, process.returncode, stdout.decode(), stderr.decode())


def _can_be_forked(environ: Mapping[str, str]) -> bool:
    if os.environ.get("TEST_STARTS") == "exec":
        return False
    names = {name for name in {*environ, *_ENVIRON} if name.startswith(_READ_AT_START)}
    return all(environ.get(name) == _ENVIRON.get(name) for name in names)


def _descriptor(
    given: Stream, theirs: contextlib.ExitStack, *, is_input: bool = False
) -> tuple[int, IO[bytes] | None]:
    """The descriptor for the process, and our end where it is a pipe."""
    if given == DEVNULL:
        fd = os.open(os.devnull, os.O_RDWR)
        theirs.callback(os.close, fd)
        return fd, None
    if given == PIPE:
        read, write = os.pipe()
        fd, kept = (read, write) if is_input else (write, read)
        theirs.callback(os.close, fd)
        return fd, os.fdopen(kept, "wb" if is_input else "rb", buffering=0)
    return given if isinstance(given, int) else given.fileno(), None


_ENVIRON: Final = {**os.environ, "PYTHONPATH": str(ROOT)}


@functools.cache
def _server() -> socket.socket:
    """Of this process; begun when it is first asked, ends when this process does."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "tests/support/fork_server.py"), str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            env=_ENVIRON,
            cwd="/",
            stdin=DEVNULL,
            stdout=DEVNULL,
        )

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours
