"""What is soaked: a real server with an application of several releases, good ones and broken ones."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from gwctl.cli import COMMANDS
from gwctl.errors import ControlError
from tests.load.plan import Part, Plan
from tests.soak import builds
from tests.support.processes import children
from tests.support.server import APPS, ROOT, GwctlServer
from tests.support.status import status_of
from tests.support.wait import until

POOL: Final = "web"
SIZE: Final = 3
SIZE_MAX: Final = 5
KEEP_S: Final = 6.0
REQUEST_TIMEOUT_S: Final = 4.0
LINGER_S: Final = 1.5
CONTROL_TIMEOUT_S: Final = 10.0
PATIENCE_S: Final = 40.0
"""Of the clients. A stopped worker that is told to drain is killed only when its drain has lasted too long."""
SOFT_MIB, HARD_MIB = 160, 320

SETTINGS: Final[dict[str, Any]] = {
    "http": ["h2", "h1"],
    "timeouts": {
        "request_timeout_s": REQUEST_TIMEOUT_S,
        "heartbeat_timeout_s": 5,
        "drain_timeout_s": 12,
        "linger_s": LINGER_S,
        "boot_timeout_s": 30,
    },
    "reload": {"settle_s": 0.3},
    "crash": {"backoff_min_s": 0.1, "backoff_max_s": 1, "healthy_after_s": 1, "breaker_retry_s": 2},
    "recycle": {
        "requests_max": 20_000,
        "memory_soft_bytes": SOFT_MIB << 20,
        "memory_hard_bytes": HARD_MIB << 20,
    },
}

LIFESPAN_FAILS: Final = """
async def application(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database for the soak"})
"""
BROKEN_RELEASES: Final = {
    "import": "import nothing_of_that_name\n",
    "syntax": "def application(:\n",
    "exit": "raise SystemExit(7)\n",
    "lifespan": LIFESPAN_FAILS,
}
BROKEN_MARKS: Final = (
    "nothing_of_that_name",
    "SyntaxError",
    "SystemExit",
    "sys.exit(7)",
    "no database for the soak",
)
"""One of them is in every error line that a broken release may cause."""
BROKEN_SETTINGS: Final = "[pool.web]\nprocesses = 'many'\n"

BURN: Final = """
import time
_end = time.{clock}() + {seconds}
while time.{clock}() < _end:
    compile("def f(a, b):\\n    return [a + i * b for i in range(10)]\\n" * 20, "release", "exec")
"""
"""An import that takes processor time, as imports do; ``clock`` says whose seconds are counted."""


class Stage:
    """A server and its files. Use it in a ``with`` statement: that starts the server and judges its end."""

    def __init__(
        self,
        worker: str,
        *,
        broken: str = "",
        import_s: float = 0.0,
        module: str = "soaked",
        **settings: Any,
    ) -> None:
        self.worker = worker
        self._module = module
        self._import_s = import_s
        self.release = 0
        self.server = GwctlServer(
            "shop:application",
            worker=worker,
            master={"keep_s": KEEP_S} if "rollback" in COMMANDS else {},
            environ={"PYTHONPATH": f"{ROOT}{os.pathsep}{APPS}"},
            allow_errors=["."],  # the verdict judges them, one by one
            allow_kill=True,
            command=self._command(broken),
            **{"processes": SIZE, **SETTINGS, **settings},
        )
        self.folder = self.server.folder
        self.server.tables["pool"][POOL]["chdir"] = str(self.folder)
        self.server.write_config()
        self.deploy()

    def _command(self, broken: str) -> tuple[str, ...]:
        if not broken:
            return (sys.executable, "-m", "gwctl")
        return (sys.executable, "-c", builds.script(broken))

    def __enter__(self) -> Self:
        self.server.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.server.__exit__(kind, value, trace)

    # ---- files

    def deploy(self, broken: str = "") -> None:
        """Put another release in place, or what is not one."""
        self.release += 1
        text = BROKEN_RELEASES.get(broken, "")
        if not text:
            burn = BURN.format(clock="process_time", seconds=self._import_s) if self._import_s else ""
            text = f"{burn}\n{self.source(self.release)}"
        self._write(self.folder / "shop.py", f'"""Release {self.release}."""\n{text}')
        if broken == "settings":
            self._write(self.server.config, BROKEN_SETTINGS)
        else:
            self.server.write_config()

    def source(self, release: int) -> str:
        """The application's module of that release."""
        return f"from {self._module} import {self.interface} as application\n"

    def _write(self, path: Path, text: str) -> None:
        """All at once: a worker may boot at any moment."""
        beside = path.with_suffix(".new")
        beside.write_text(text, "utf-8")
        beside.replace(path)

    @property
    def interface(self) -> str:
        return "asgi" if self.worker == "asgi" else "wsgi"

    @property
    def broken_releases(self) -> list[str]:
        kinds = ["import", "syntax", "exit", "settings"]
        return [*kinds, "lifespan"] if self.worker == "asgi" else kinds

    # ---- what it says

    @property
    def port(self) -> int:
        return int(self.server.url.rpartition(":")[2])

    def status(self) -> dict[str, Any]:
        """The pool's part of the status.

        Raises:
            ControlError: The master does not answer.
        """
        pool: dict[str, Any] = status_of(self.server, CONTROL_TIMEOUT_S)["pools"][0]
        return pool

    def log_size(self) -> int:
        return (self.folder / "stderr").stat().st_size

    def log_after(self, offset: int) -> str:
        with (self.folder / "stderr").open("rb") as log:
            log.seek(offset)
            return log.read().decode("utf-8", "replace")

    def wait_for_log(self, pattern: str, offset: int, timeout_s: float) -> str:
        """Return what ``pattern`` matched in the lines written after ``offset``."""
        compiled = re.compile(pattern, re.MULTILINE)
        match = until(
            lambda: compiled.search(self.log_after(offset)),
            lambda: f"{pattern!r} in the log:\n{self.log_after(offset)[-3000:]}",
            timeout_s,
        )
        assert match
        return match[0]

    def wait_until_calm(self, size: int, timeout_s: float = 60.0) -> None:
        """All workers serve, and nobody else is there."""

        def calm() -> bool:
            try:
                pool = self.status()
            except ControlError:
                return False
            workers = pool["workers"]
            others = len(children(self.server.pid)) - len(pool["templates"])
            return len(workers) == size == pool["ready"] == others and all(
                worker["state"] == "ready" for worker in workers
            )

        until(calm, lambda: f"{size} ready workers and no other: {self.status()}", timeout_s)


def parts(url: str, worker: str, haste: float = 1.0) -> list[Part]:
    """The mixed load of one worker class; all pauses are divided by ``haste``."""

    def part(count: int, label: str, path: str, think_s: float, expect: bytes | None, **more: Any) -> Part:
        plan = Plan(url + path, think_s / haste, PATIENCE_S, expect_body=expect, label=label, **more)
        return Part(plan, count)

    one_at_a_time = worker == "sync"  # few connections: three slow requests hold up everybody
    found = [
        part(12 if one_at_a_time else 24, "keep-alive", "/", 0.04, b"hello"),
        part(4, "posts", "/post", 0.08, b"20000", body=b"p" * 20_000),
        part(4, "short", "/", 0.06, b"hello", habit="short"),
        part(2 if one_at_a_time else 4, "http2", "/", 0.08, b"hello", habit="http2"),
        part(1, "http2 posts", "/post", 0.16, b"20000", body=b"p" * 20_000, habit="http2"),
        part(1 if one_at_a_time else 4, "slow readers", "/large", 0.3, None, read_bytes_per_s=4 << 20),
    ]
    if worker == "asgi":
        found.append(part(12, "websockets", "/", 0.1, None, habit="websocket"))
    return found
