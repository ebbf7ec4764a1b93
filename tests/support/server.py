"""A real gwctl master as a subprocess, and what every test of one asserts at its end.

    with gwctl_server("wsgi_bare:application", worker="sync", processes=2) as server:
        assert httpx.get(server.url).text == "hello"

On entry gw.toml is written to a folder of its own, `python -m gwctl start -c` is run in a
session of its own, and the line that says "serving:" is awaited. On exit it gets SIGTERM and
must end with status 0, leave no process of its session behind, have no zombie, and have
logged no error and no SIGKILL that the test did not announce.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from gwctl.log.destination import is_file
from tests.support import started, toml_text
from tests.support.processes import Process, session_of
from tests.support.wait import DEADLINE_S, until

ROOT = Path(__file__).resolve().parents[2]
APPS = ROOT / "tests" / "apps"
STOP_TIMEOUT_S = 40.0

_ERROR_LINE = re.compile(r"^\d\d:\d\d:\d\d\.\d{3} error .*$", re.MULTILINE)
_KILL = re.compile(r"SIGKILL|signal 9|\bkilled\b", re.IGNORECASE)
_URL = re.compile(r"https?://(?:\d+\.\d+\.\d+\.\d+|\[[0-9a-f:]+\]):\d+")

Bind = str | Sequence[str] | None


class GwctlServer:
    """One master. See the module for what entering and leaving do.

    Args:
        app: What ``app`` is in gw.toml, importable from ``chdir``.
        worker: Worker class; None leaves the setting out.
        bind: None: the test binds a port and passes its descriptor; else the setting's value.
        master: The [master] table.
        admin: The [admin] table.
        pools: More pools, by name, as tables. The first pool is ``web``.
        environ: Additions to the environment of the master.
        allow_errors: Patterns (searched) of error lines that are expected.
        allow_kill: Lines that speak of SIGKILL are expected.
        command: What to run instead of ``python -m gwctl``, which is a fork of what has it imported (`started`).
        prelude: Python that the process runs before it is gwctl, as whoever starts it might.
        arguments: What follows it instead of ``start -c gw.toml``.
        cwd: Working directory of the master; the folder of gw.toml unless given.
        settings: Further settings of pool ``web``; tables as mappings.
    """

    stdin: int = subprocess.DEVNULL
    inside: Sequence[str] = ()  # the program that starts the master, which must be one of its own then

    def __init__(
        self,
        app: str,
        *,
        worker: str | None = None,
        bind: Bind = None,
        chdir: Path = APPS,
        master: Mapping[str, Any] | None = None,
        admin: Mapping[str, Any] | None = None,
        log: Mapping[str, Any] | None = None,
        pools: Mapping[str, Mapping[str, Any]] | None = None,
        environ: Mapping[str, str] | None = None,
        allow_errors: Sequence[str] = (),
        allow_kill: bool = False,
        command: Sequence[str] = (),
        prelude: str = "",
        arguments: Sequence[str] = (),
        cwd: Path | None = None,
        **settings: Any,
    ) -> None:
        self.allow_errors = list(allow_errors)
        self.allow_kill = allow_kill
        self.folder = Path(tempfile.mkdtemp(prefix="gwctl-"))
        self.config = self.folder / "gw.toml"
        self.expected_status = 0
        self._url = ""
        self._listener: socket.socket | None = None
        self._process: started.Started | None = None
        self._gwctl = list(command)
        self._prelude = prelude
        self.arguments = list(arguments or ("start", "-c", str(self.config)))
        self._cwd = cwd or self.folder
        self.environ = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "RUNTIME_DIRECTORY": str(self.folder),
            **(environ or {}),
        }
        web: dict[str, Any] = {"app": app, "chdir": str(chdir), "bind": self._bind(bind), "processes": 1}
        if worker:
            web["worker"] = worker
        self.tables: dict[str, Any] = {"master": {"name": "test", **(master or {})}}
        if admin is not None:
            self.tables["admin"] = dict(admin)
        if log is not None:
            self.tables["log"] = dict(log)
        self.tables["pool"] = {"web": {**web, **settings}, **(pools or {})}
        self.write_config()

    def _bind(self, bind: Bind) -> list[str]:
        if bind is None:
            self._listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
            self._url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
            return [f"fd:{self._listener.fileno()}"]
        return [bind] if isinstance(bind, str) else list(bind)

    def write_config(self) -> None:
        """Write gw.toml from ``tables``, which a test may have changed, for a reload."""
        self.config.write_text(toml_text.dumps(self.tables), "utf-8")

    # ---- what a test asks

    @property
    def command_line(self) -> list[str]:
        """What starts the master, for a test that does so itself."""
        return [*self.inside, *(self._gwctl or started.GWCTL), *self.arguments]

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    @property
    def log(self) -> str:
        """The event log so far."""
        to = self.tables.get("log", {}).get("to", "stderr")
        path = self.folder / (to if is_file(to) else "stderr")
        return path.read_text("utf-8", "replace") if path.exists() else ""

    @property
    def stderr(self) -> str:
        """Everything on stderr so far, where the event log is elsewhere."""
        return (self.folder / "stderr").read_text("utf-8", "replace")

    @property
    def output(self) -> str:
        """Everything on stdout so far: the access log, and what applications print."""
        return (self.folder / "stdout").read_text("utf-8", "replace")

    @property
    def url(self) -> str:
        """Of the first TCP listener, without a slash at the end."""
        if not self._url:
            found = _URL.search(self.log)
            assert found, f"no URL in the log:\n{self.log}"
            self._url = found[0]
        return self._url

    @property
    def workers(self) -> list[int]:
        """Pids of the master's children, zombies included, in ascending order. They are in its session."""
        return sorted(process.pid for process in session_of(self.pid) if process.parent == self.pid)

    @property
    def status(self) -> int | None:
        """Exit status of the master, None while it runs."""
        assert self._process
        return self._process.poll()

    def wait_for_log(self, pattern: str, *, count: int = 1, timeout_s: float = DEADLINE_S) -> re.Match[str]:
        """Wait until ``pattern`` (multi-line) was logged ``count`` times; return the last match."""
        compiled = re.compile(pattern, re.MULTILINE)

        def found() -> re.Match[str] | None:
            matches = list(compiled.finditer(self.log))
            return matches[-1] if len(matches) >= count else None

        match = until(found, lambda: f"{pattern!r} x{count} in the log:\n{self.log}", timeout_s)
        assert match
        return match

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def gwctl(self, *arguments: str, timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Run a `gwctl` command that talks to this master."""
        return started.run(
            arguments, command=self._gwctl, environ=self.environ, cwd=self._cwd, timeout_s=timeout_s
        )

    def begin_gwctl(self, *arguments: str, stdout: started.Stream) -> started.Started:
        """Start a `gwctl` command that talks to this master, and do not wait for it."""
        return started.start(
            arguments,
            command=self._gwctl,
            environ=self.environ,
            cwd=self._cwd,
            stdout=stdout,
            stderr=started.PIPE,
        )

    # ---- life

    def start(self) -> None:
        """Start the master without waiting for anything."""
        inherited = [self._listener.fileno()] if self._listener else []
        with (self.folder / "stdout").open("wb") as stdout, (self.folder / "stderr").open("wb") as stderr:
            self._process = started.start(
                self.arguments,
                command=[*self.inside, *(self._gwctl or started.GWCTL)] if self.inside else self._gwctl,
                prelude=self._prelude,
                environ=self.environ,
                cwd=self._cwd,
                stdin=self.stdin,
                stdout=stdout,
                stderr=stderr,
                pass_fds=inherited,
                start_new_session=True,
            )
        if self._listener:
            self._listener.close()  # from now on a connection is refused when the server is gone

    def wait_until_serving(self, timeout_s: float = DEADLINE_S) -> None:
        def serving() -> bool:
            assert self.status is None, f"gwctl ended with status {self.status}:\n{self.log}"
            return "serving:" in self.log

        until(serving, lambda: f"'serving:' in the log:\n{self.log}", timeout_s)

    def wait_for_exit(self, timeout_s: float | None = None) -> int:
        assert self._process
        timeout_s = STOP_TIMEOUT_S if timeout_s is None else timeout_s
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the master still runs after {timeout_s:g} s:\n{self.log}") from None

    def stop(self) -> None:
        """SIGTERM, then all that every test asserts."""
        if self.status is None:
            zombies = "a zombie to be reaped"
            until(
                lambda: not [p for p in session_of(self.pid) if p.is_zombie and p.pid != self.pid],
                zombies,
                STOP_TIMEOUT_S,
            )
            self.signal(signal.SIGTERM)
        status = self.wait_for_exit()
        assert status == self.expected_status, f"exit status {status}:\n{self.log}"
        self.assert_no_process_left()
        self.assert_log_clean()

    def kill_master(self) -> None:
        """SIGKILL; `stop` then waits for what it leaves: nobody ends them in order any more."""
        self.expected_status = -signal.SIGKILL
        self.signal(signal.SIGKILL)

    def assert_no_process_left(self) -> None:
        """No process of this master's session remains; a zombie that init has not reaped yet is none of ours.

        A master that ends takes all with it. After one that was killed they are waited for.
        """

        def left() -> list[Process]:
            return [p for p in session_of(self.pid) if not (p.is_zombie and p.parent == 1)]

        def report() -> str:
            return f"left behind: {', '.join(map(str, left()))}\n{self.log}"

        if self.expected_status == -signal.SIGKILL:
            until(lambda: not left(), report)
        assert not left(), report()

    def assert_log_clean(self) -> None:
        errors = _ERROR_LINE.findall(self.log)
        unexpected = [line for line in errors if not any(re.search(p, line) for p in self.allow_errors)]
        assert not unexpected, "unexpected errors in the log:\n" + "\n".join(unexpected) + f"\n\n{self.log}"
        if not self.allow_kill:
            kills = [line for line in self.log.splitlines() if _KILL.search(line)]
            assert not kills, f"unexpected SIGKILL: {kills}\n{self.log}"

    def __enter__(self) -> Self:
        try:
            self.start()
            self.wait_until_serving()
        except BaseException:
            self.destroy()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.stop()
            else:
                print(f"---- log of gwctl ({self.config})\n{self.log}")  # pytest shows it with the failure
        finally:
            self.destroy()

    def destroy(self) -> None:
        """Leave nothing, whatever happened."""
        if self._process:
            for process in session_of(self._process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)
            self._process.kill()
            self._process.wait()
        if self._listener:
            self._listener.close()
        shutil.rmtree(self.folder, ignore_errors=True)
