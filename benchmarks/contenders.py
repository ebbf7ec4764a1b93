"""The servers that are compared, and how each is started.

Each as its own documentation recommends for the most requests a second of one worker with
keep-alive, without access log unless that is measured:

gunicorn sync   has no keep-alive.
granian WSGI    as it comes, which is faster than with the one blocking thread that it recommends for
                applications that do not wait (100 against 64 thousand requests a second); with 8 it stands
                beside the other servers with threads.
uWSGI           `http-socket` closes every connection without saying so, `http11-socket` holds the worker
                for one client: keep-alive for many needs its router, a second process on the same core.
                The router's buffer of a page makes Nagle's algorithm delay responses larger than that.
bjoern, fastpysgi   unsupervised: nothing restarts them, and only fastpysgi can fork workers.
nginx           `return 200` from one worker: what the machine, wrk and HTTP itself allow.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from benchmarks.peers import PEERS
from benchmarks.tools import APPS, RESULTS, ROOT, find

Kind = Literal["sync", "threads", "asgi", "limit"]
THREADS = 8


@dataclass(frozen=True)
class Launch:
    """What a server is started with. ``folder`` takes its files."""

    app: str
    port: int
    folder: Path
    workers: int = 1
    access_log: bool = False

    @property
    def log_file(self) -> str:
        return str(self.folder / "access.log")


@dataclass(frozen=True)
class Contender:
    """``packages`` must be in the peers' environment; ``workers`` is false of one that has no workers."""

    name: str
    kind: Kind
    command: Callable[[Launch], list[str]]
    packages: tuple[str, ...] = ()
    access_log: bool = True
    workers: bool = True
    environment: Mapping[str, str] = field(default_factory=dict)
    python: str = ""
    """Its interpreter, where ours is not the one that runs this."""

    @property
    def ours(self) -> bool:
        return self.name.startswith("gwctl")

    @property
    def variant(self) -> bool:
        """Ours with something other than by default: measured with hello world only."""
        return self.ours and bool(self.environment)

    @property
    def interface(self) -> str:
        return "asgi" if self.kind == "asgi" else "wsgi"


# ---- ours


def gwctl(kind: Kind, variant: str = "", python: str = sys.executable, **environment: str) -> Contender:
    def command(launch: Launch) -> list[str]:
        config = launch.folder / "gw.toml"
        config.write_text(settings(kind, launch), "utf-8")
        return [python, "-m", "gwctl", "start", "-c", str(config)]

    name = f"gwctl {kind}" + (f", {variant}" if variant else "")
    other = "" if python == sys.executable else python
    return Contender(name, kind, command, environment=environment, python=other)


def settings(worker: str, launch: Launch) -> str:
    """gw.toml with the defaults, but for what is measured."""
    lines = [
        '[master]\nname = "bench"\ncontrol = "off"\nlog_level = "warning"\n\n[pool.web]',
        f'app = "{launch.app}"\nworker = "{worker}"\nchdir = "{APPS}"',
        f'processes = {launch.workers}\nbind = ["127.0.0.1:{launch.port}"]',
    ]
    if worker == "threads":
        lines.append(f"threads = {THREADS}")
    if launch.access_log:
        lines.append(f'access_log = "{launch.log_file}"')
    return "\n".join(lines) + "\n"


def compiled() -> str | None:
    """The interpreter of an environment that has a compiled build of gwctl, if there is one."""
    python = Path(os.environ.get("GWCTL_BENCH_COMPILED") or RESULTS / "compiled" / "bin" / "python")
    code = "import gwctl.workers.http1.protocol as engine; print(engine.__file__)"
    if not python.exists():
        return None
    # Away from the checkout, whose pure modules would come first on sys.path.
    run = subprocess.run([str(python), "-c", code], check=False, capture_output=True, text=True, cwd=APPS)
    return str(python) if run.stdout.strip().endswith((".so", ".pyd")) else None


# ---- the peers


def peer(
    name: str, kind: Kind, package: str, *arguments: str, program: str = "", **more: object
) -> Contender:
    """In the arguments ``{app}``, ``{port}`` and ``{workers}`` are replaced.

    ``more``: ``log_on`` and ``log_off``, arguments for an access log (``{log}``: its file) or none;
    neither: the server has no access log. ``single``: it has no workers. ``packages``: what else it needs.
    """
    log_on, log_off = more.get("log_on"), more.get("log_off", ())
    assert isinstance(log_off, tuple)
    assert log_on is None or isinstance(log_on, tuple)

    def command(launch: Launch) -> list[str]:
        extra = (log_on or ()) if launch.access_log else log_off
        places = {"app": launch.app, "port": launch.port, "workers": launch.workers, "log": launch.log_file}
        return [
            str(PEERS / "bin" / (program or package)),
            *(a.format(**places) for a in (*arguments, *extra)),
        ]

    return Contender(
        name, kind, command, (package,), access_log=log_on is not None, workers=not more.get("single")
    )


def gunicorn(worker: str, kind: Kind, *arguments: str) -> Contender:
    common = ("-w", "{workers}", "-b", "127.0.0.1:{port}", "--log-level", "warning", "-k", worker)
    return peer(
        f"gunicorn {worker}",
        kind,
        "gunicorn",
        *common,
        *arguments,
        "{app}",
        log_on=("--access-logfile", "{log}"),
    )


def granian(name: str, kind: Kind, *arguments: str) -> Contender:
    common = ("--workers", "{workers}", "--port", "{port}", "--http", "1", "--no-ws")
    return peer(
        name,
        kind,
        "granian",
        *common,
        *arguments,
        "{app}",
        log_on=("--access-log",),
        log_off=("--log-level", "warning"),
    )


def script(name: str, kind: Kind, package: str, *, single: bool) -> Contender:
    arguments = (str(ROOT / "benchmarks" / "serve.py"), package, "{app}", "{port}", "{workers}")
    return peer(name, kind, package, *arguments, program="python", single=single)


NGINX_CONF = """\
daemon off;
worker_processes {workers};
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 1024; }}
http {{
    access_log {log};
    keepalive_requests 1000000000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location / {{ default_type text/plain; return 200 "Hello, world!"; }}
    }}
}}
"""


def nginx_command(launch: Launch) -> list[str]:
    config = launch.folder / "nginx.conf"
    log = launch.log_file if launch.access_log else "off"
    places = {"folder": launch.folder, "port": launch.port, "workers": launch.workers, "log": log}
    config.write_text(NGINX_CONF.format(**places), "utf-8")
    return [find("nginx", "nginx") or "nginx", "-p", str(launch.folder), "-c", str(config)]


NGINX = Contender("nginx return 200", "limit", nginx_command)
UWSGI = (
    *("--http", "127.0.0.1:{port}", "--http-keepalive", "--http-auto-chunked", "--http-buffer-size", "65536"),
    *("--master", "--processes", "{workers}", "--need-app", "--die-on-term", "--module", "{app}"),
)
UVICORN = ("{app}", "--port", "{port}", "--workers", "{workers}", "--log-level", "info")

CONTENDERS = (
    NGINX,
    gwctl("sync"),
    gunicorn("sync", "sync"),
    granian("granian wsgi", "sync", "--interface", "wsgi"),
    peer("uwsgi", "sync", "uwsgi", *UWSGI, log_on=("--logto", "{log}"), log_off=("--disable-logging",)),
    script("fastpysgi wsgi", "sync", "fastpysgi", single=False),
    script("bjoern", "sync", "bjoern", single=True),
    gwctl("threads"),
    gunicorn("gthread", "threads", "--threads", str(THREADS)),
    granian("granian wsgi, 8", "threads", "--interface", "wsgi", "--blocking-threads", str(THREADS)),
    peer(
        "waitress",
        "threads",
        "waitress",
        *(f"--threads={THREADS}", "--asyncore-use-poll", "--listen=127.0.0.1:{port}", "{app}"),
        program="waitress-serve",
        single=True,
    ),
    gwctl("asgi"),
    gunicorn("asgi", "asgi"),
    peer("uvicorn", "asgi", "uvicorn", *UVICORN, log_on=("--access-log",), log_off=("--no-access-log",)),
    granian("granian asgi", "asgi", "--interface", "asgi"),
    peer(
        "hypercorn",
        "asgi",
        "hypercorn",
        *("-k", "uvloop", "-w", "{workers}", "-b", "127.0.0.1:{port}", "{app}"),
        log_on=("--access-logfile", "{log}"),
    ),
    script("fastpysgi asgi", "asgi", "fastpysgi", single=False),
)

KINDS: tuple[Kind, ...] = ("sync", "threads", "asgi")


@functools.cache
def variants() -> tuple[Contender, ...]:
    """Ours in other builds: with the parser in Python, and compiled where such a build exists."""
    python = compiled()
    found = [gwctl(kind, "Python parser", GWCTL_PARSER="python") for kind in KINDS]
    if python:
        found += [gwctl(kind, "compiled", python=python) for kind in KINDS]
    return tuple(found)


def everybody() -> dict[str, Contender]:
    return {contender.name: contender for contender in (*CONTENDERS, *variants())}
