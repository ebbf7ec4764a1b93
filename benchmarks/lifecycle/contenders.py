"""The servers that are compared, each run as one would in production, and how each is reloaded.

All have four workers and, where they have such a limit, kill a worker that hangs after
`HANG_LIMIT_S` (their defaults are between none and 60 s):

gwctl      `gwctl reload`; `request_timeout_s` and `heartbeat_timeout_s` for the hang.
gunicorn   SIGHUP; `--timeout`.
uvicorn    SIGHUP (with --workers); the pings of its supervisor have 5 s.
granian    SIGHUP; `--respawn-failed-workers`, without which the death of a worker ends it. No limit.
uwsgi      SIGHUP, `--lazy-apps`, so that the new workers have the new code; `--harakiri`. Keep-alive for
           many clients takes its HTTP router.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from benchmarks.lifecycle.site import APP
from benchmarks.peers import PEERS

WORKERS: Final = 4
THREADS: Final = 8
HANG_LIMIT_S: Final = 10
COMMAND_TIMEOUT_S: Final = 60.0

Kind = Literal["sync", "threads", "asgi"]


@dataclass(frozen=True)
class Contender:
    """``command(folder, port)`` starts it in ``folder``, where the application is."""

    name: str
    kind: Kind
    command: Callable[[Path, int], list[str]]
    packages: tuple[str, ...] = ()

    @property
    def ours(self) -> bool:
        return not self.packages

    def reload(self, folder: Path, pid: int) -> str:
        """Ask for it. Returns what whoever asked was told: how it went, or nothing."""
        if not self.ours:
            os.kill(pid, signal.SIGHUP)
            return ""
        command = [sys.executable, "-m", "gwctl", "reload", "-c", str(folder / "gw.toml")]
        environ = {**os.environ, "RUNTIME_DIRECTORY": str(folder)}
        run = subprocess.run(
            command, env=environ, timeout=COMMAND_TIMEOUT_S, capture_output=True, text=True, check=False
        )
        return f"exit status {run.returncode}: {last_line(run.stdout + run.stderr)}"


def last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def gwctl(kind: Kind) -> Contender:
    def command(folder: Path, port: int) -> list[str]:
        lines = [
            '[master]\nname = "bench"\n\n[pool.web]',
            f'app = "{APP[kind]}"\nworker = "{kind}"\nchdir = "{folder}"',
            f'processes = {WORKERS}\nbind = ["127.0.0.1:{port}"]',
            f"threads = {THREADS}" if kind == "threads" else "",
            f"[pool.web.timeouts]\nheartbeat_timeout_s = {HANG_LIMIT_S}",
            f"request_timeout_s = {HANG_LIMIT_S}",
        ]
        config = folder / "gw.toml"
        config.write_text("\n".join(lines) + "\n", "utf-8")
        return [sys.executable, "-m", "gwctl", "start", "-c", str(config)]

    return Contender(f"gwctl {kind}", kind, command)


def peer(name: str, kind: Kind, package: str, *arguments: str) -> Contender:
    """In the arguments ``{app}`` and ``{port}`` are replaced."""

    def command(_folder: Path, port: int) -> list[str]:
        return [str(PEERS / "bin" / package), *(a.format(app=APP[kind], port=port) for a in arguments)]

    return Contender(name, kind, command, (package,))


def gunicorn(name: str, kind: Kind, *arguments: str) -> Contender:
    common = ("-w", str(WORKERS), "-b", "127.0.0.1:{port}", "--timeout", str(HANG_LIMIT_S))
    return peer(f"gunicorn {name}", kind, "gunicorn", *common, "-k", name, *arguments, "{app}")


def granian(interface: str, kind: Kind) -> Contender:
    return peer(
        f"granian {interface}",
        kind,
        "granian",
        *("--workers", str(WORKERS), "--port", "{port}", "--interface", interface, "--http", "1"),
        *("--respawn-failed-workers", "{app}"),
    )


UWSGI: Final = (
    *("--http", "127.0.0.1:{port}", "--http-keepalive", "--http-auto-chunked"),
    *("--master", "--processes", str(WORKERS), "--lazy-apps", "--need-app", "--die-on-term"),
    *("--harakiri", str(HANG_LIMIT_S), "--disable-logging", "--module", "{app}"),
)
UVICORN: Final = ("{app}", "--port", "{port}", "--workers", str(WORKERS), "--no-access-log")

CONTENDERS: Final = (
    gwctl("sync"),
    gunicorn("sync", "sync"),
    granian("wsgi", "sync"),
    peer("uwsgi", "sync", "uwsgi", *UWSGI),
    gwctl("threads"),
    gunicorn("gthread", "threads", "--threads", str(THREADS)),
    gwctl("asgi"),
    gunicorn("asgi", "asgi"),
    peer("uvicorn", "asgi", "uvicorn", *UVICORN),
    granian("asgi", "asgi"),
)
