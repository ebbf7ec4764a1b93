"""The settings of gw.toml as frozen structs: the one place where a setting is defined.

Each field carries its documentation, unit and bounds in ``msgspec.Meta``; the configuration
reference, ``gwctl init``, ``gwctl config show`` and the messages about mistakes are all made
from these. Durations end in ``_s``, sizes in ``_bytes``, limits in ``_max``.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Seconds = Annotated[float, Meta(ge=0)]
PositiveSeconds = Annotated[float, Meta(gt=0)]


class Timeouts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[pool.NAME.timeouts]"""

    boot_timeout_s: Annotated[PositiveSeconds, Meta(description="Import, lifespan startup and warm-up of a worker.")] = 60.0
    drain_timeout_s: Annotated[PositiveSeconds, Meta(description="How long a draining worker may take to finish what it has.")] = 30.0
    linger_s: Annotated[Seconds, Meta(description="A draining worker closes an idle kept-alive connection only after this much silence.")] = 2.0
    keepalive_timeout_s: Annotated[PositiveSeconds, Meta(description="An idle kept-alive connection is closed after this.")] = 75.0
    header_timeout_s: Annotated[PositiveSeconds, Meta(description="From the first byte of a request to the end of its header.")] = 10.0
    body_timeout_s: Annotated[PositiveSeconds, Meta(description="Longest silence while a request body is being received.")] = 30.0
    response_timeout_s: Annotated[PositiveSeconds, Meta(description="Longest time a client may take no byte of a response.")] = 60.0


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[pool.NAME.limits]"""

    request_line_bytes_max: Annotated[int, Meta(ge=64, le=1048576, description="Longest request line; 414 beyond.")] = 8190
    header_bytes_max: Annotated[int, Meta(ge=64, le=1048576, description="Longest header field, name and value; 431 beyond.")] = 8190
    headers_max: Annotated[int, Meta(ge=1, le=256, description="Most header fields in a request; 431 beyond.")] = 100
    body_bytes_max: Annotated[int, Meta(ge=0, description="Largest request body; 413 beyond. 0 is no limit.")] = 1073741824
    body_memory_bytes: Annotated[int, Meta(ge=0, description="A WSGI request body larger than this waits in a temporary file.")] = 1048576


class Reload(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[pool.NAME.reload]"""

    settle_s: Annotated[Seconds, Meta(description="How long new workers must live and serve before they are trusted.")] = 2.0
    surge: Annotated[int, Meta(ge=1, description="Extra workers while replacing.")] = 1
    draining_max: Annotated[int, Meta(ge=0, description="Most parked and draining workers at once; 0 is twice `processes`.")] = 0


class Crash(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[pool.NAME.crash]"""

    backoff_min_s: Annotated[PositiveSeconds, Meta(description="First wait before a slot that keeps dying is tried again.")] = 0.5
    backoff_max_s: Annotated[PositiveSeconds, Meta(description="Longest such wait.")] = 60.0
    healthy_after_s: Annotated[PositiveSeconds, Meta(description="A worker that lived this long clears its slot's record.")] = 30.0


class PoolSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[pool.NAME]: one application with its listeners and workers."""

    app: Annotated[str, Meta(description="`module:attribute`, `module:factory()` or a module with `application` or `app`.")]
    worker: Annotated[Literal["auto", "sync", "threads", "asgi"], Meta(description="Worker class; auto looks at the application.")] = "auto"
    processes: Annotated[int, Meta(ge=1, le=1024)] | Literal["auto"] = "auto"
    threads: Annotated[int, Meta(ge=1, le=1024, description="Threads of a `threads` worker.")] = 8
    bind: Annotated[tuple[str, ...], Meta(description="Addresses: HOST:PORT, [IPv6]:PORT, unix:PATH, fd:N, systemd:NAME.")] = ("127.0.0.1:8000",)
    backlog: Annotated[int, Meta(ge=1, le=65535, description="Connections that may wait to be accepted.")] = 2048
    socket_mode: Annotated[str, Meta(pattern="^0?[0-7]{3}$", description="Permissions of Unix sockets, octal.")] = "660"
    socket_user: Annotated[str, Meta(description="Owner of Unix sockets; empty: the pool's user.")] = ""
    socket_group: Annotated[str, Meta(description="Group of Unix sockets; empty: the pool's group.")] = ""
    user: Annotated[str, Meta(description="Workers run as this user (name or number); empty: as the master.")] = ""
    group: Annotated[str, Meta(description="Workers run with this group; empty: the user's own.")] = ""
    umask: Annotated[str, Meta(pattern="^$|^0?[0-7]{3}$", description="Workers' umask, octal; empty: as the master's.")] = ""
    chdir: Annotated[str, Meta(description="Working directory of the workers; empty: the file's folder.")] = ""
    pythonpath: Annotated[tuple[str, ...], Meta(description="Folders put in front of sys.path, after `chdir` itself.")] = ()
    env: Annotated[dict[str, str], Meta(description="Environment variables of the workers.")] = {}
    env_file: Annotated[str, Meta(description="File of NAME=value lines, read again at each worker's start.")] = ""
    nofile: Annotated[int, Meta(ge=0, description="Open files a worker may have (RLIMIT_NOFILE); 0 leaves it.")] = 0
    root_path: Annotated[str, Meta(description="Path prefix the application is mounted at (SCRIPT_NAME, root_path).")] = ""
    access_log: Annotated[str, Meta(description="`off`, `stdout` or a file.")] = "off"
    timeouts: Timeouts = Timeouts()
    limits: Limits = Limits()
    reload: Reload = Reload()
    crash: Crash = Crash()


class MasterSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[master]"""

    name: Annotated[str, Meta(pattern="^$|^[A-Za-z0-9][A-Za-z0-9_.-]*$", description="Instance name in titles, logs and the control socket; empty: from the folder or the application.")] = ""
    pidfile: Annotated[str, Meta(description="Where to write the master's pid; empty: nowhere.")] = ""
    control: Annotated[str, Meta(description="Control socket: `auto` (runtime directory), `off` or a path.")] = "auto"
    log_level: Annotated[Literal["debug", "info", "warning", "error"], Meta(description="Least level of events logged.")] = "info"
    bind_retry_s: Annotated[Seconds, Meta(description="How long to retry an address in use (an expiring worker may hold it).")] = 5.0


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A whole gw.toml."""

    pool: dict[str, PoolSettings]
    master: MasterSettings = MasterSettings()
