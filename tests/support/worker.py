"""One real worker under a stub master, for tests of what happens between fork and exit."""

from __future__ import annotations

import http.client
import json
import os
import selectors
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from gwctl import __version__
from gwctl.ipc.channel import PROTOCOL
from gwctl.ipc.scoreboard import LAYOUT
from tests.support import processes, started
from tests.support.wait import DEADLINE_S, until

ROOT = Path(__file__).parents[2]
MODULE = "tests.support.stub_master"
STUB_MASTER = (sys.executable, "-m", MODULE)
"""As ``command``: a program of its own, which has imported nothing before."""


class StubWorker:
    """``folder`` is the worker's chdir, with the application's modules in it.

    Keyword arguments beyond the named ones are settings of the pool.
    """

    def __init__(
        self,
        folder: Path,
        app: str,
        *,
        options: dict[str, Any] | None = None,
        environ: dict[str, str] | None = None,
        greet: bool = True,
        command: Sequence[str] = (),
        **pool: Any,
    ) -> None:
        settings = {"chdir": str(folder), **pool, "app": app}
        arguments = json.dumps({"pool": settings, **(options or {})})
        self.stderr_path = folder / "stderr.txt"
        with self.stderr_path.open("wb") as stderr:
            self.master = started.start(
                [arguments],
                command=command,
                module=MODULE,
                stdin=started.PIPE,
                stdout=started.PIPE,
                stderr=stderr,
                cwd=ROOT,
                environ={**os.environ, "PYTHONPATH": str(ROOT), **(environ or {})},
            )
        self._buffer = b""
        self.messages: list[dict[str, Any]] = []
        forked = self.expect("forked")
        self.pid, self.port = forked["pid"], forked["port"]
        if greet:
            with suppress(BrokenPipeError):  # it ended as it was born: its messages and its status say why
                self.send(t="hello", protocol=PROTOCOL, scoreboard_layout=LAYOUT, version=__version__)

    # ---- the channel

    def send(self, **message: Any) -> None:
        assert self.master.stdin is not None
        self.master.stdin.write(json.dumps(message).encode() + b"\n")
        self.master.stdin.flush()

    def expect(self, kind: str, timeout_s: float = DEADLINE_S) -> dict[str, Any]:
        """Read until a message of ``kind`` comes, and return it. All are kept in `messages`."""
        end = time.monotonic() + timeout_s
        while True:
            line, newline, rest = self._buffer.partition(b"\n")
            if newline:
                self._buffer = rest
                message: dict[str, Any] = json.loads(line)
                self.messages.append(message)
                if message["t"] == kind:
                    return message
                continue
            self._read(kind, end)

    def _read(self, kind: str, end: float) -> None:
        assert self.master.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self.master.stdout, selectors.EVENT_READ)
            left = end - time.monotonic()
            data = os.read(self.master.stdout.fileno(), 65536) if left > 0 and selector.select(left) else b""
        if not data:
            raise AssertionError(f"no {kind!r} came, only {self.messages}; stderr: {self.stderr}")
        self._buffer += data

    def ready(self) -> dict[str, Any]:
        return self.expect("ready")

    def serving(self) -> Self:
        """Wait until ready, say serve and wait until it accepts."""
        self.ready()
        self.send(t="serve")
        return self

    def exit_status(self) -> int:
        status: int = self.expect("exited")["status"]
        return status

    # ---- what it does

    def get(self, path: str = "/", timeout_s: float = DEADLINE_S) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    @property
    def stderr(self) -> str:
        return self.stderr_path.read_text("utf-8", "replace")

    @property
    def title(self) -> str:
        return Path(f"/proc/{self.pid}/cmdline").read_text("utf-8", "replace").strip("\0 ")

    def logged(self, text: str) -> str:
        """Wait until ``text`` is in stderr and return all of it."""
        until(lambda: text in self.stderr, lambda: f"{text!r} in stderr: {self.stderr}")
        return self.stderr

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def is_gone(self) -> bool:
        process = processes.look(self.pid)
        return process is None or process.is_zombie

    # ---- the end

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        process = processes.look(self.pid)
        if process is not None and process.parent == self.master.pid:
            with suppress(ProcessLookupError):  # the master may reap it just now
                os.kill(self.pid, signal.SIGKILL)
        self.master.kill()
        self.master.communicate()
