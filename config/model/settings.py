"""The settings of gw.toml as frozen structs: the one place where a setting is defined.

Each field carries its meaning, bounds and examples in ``msgspec.Meta``; the configuration
reference, ``gwctl init``, ``gwctl config show`` and the messages about mistakes are all made
from these (`gwctl.config.schema` reads them). Durations end in ``_s``, sizes in ``_bytes``,
limits in ``_max``.

``extra`` of a Meta may hold
    form    what a text that has a ``pattern`` must look like, in words
    path    the text names a ``folder`` or a ``file`` that must exist, or a ``place`` that
            need not; a relative one is under the folder of gw.toml
    words   texts that are no path although ``path`` is given
    flag    the flag of ``gwctl start`` that sets it

Annotations are objects here, not text (no ``from __future__ import annotations``): every start
reads them, and evaluating the texts took longer than all else that is done with settings.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from gwctl.config.model.admin import AdminSettings
from gwctl.config.model.control import ControlSettings
from gwctl.config.model.http2 import Http2Settings
from gwctl.config.model.lifecycle import Crash, Recycle, Reload
from gwctl.config.model.log import LogSettings
from gwctl.config.model.meta import meta as _meta
from gwctl.config.model.meta import octal as _octal
from gwctl.config.model.scaling import Scaling
from gwctl.config.model.statsd import StatsdSettings
from gwctl.config.model.timeouts import Timeouts
from gwctl.config.model.tls import Tls
from gwctl.config.model.types import WORKERS_MAX, PositiveSeconds, Seconds


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How large a request may be."""

    request_line_bytes_max: Annotated[
        int, Meta(ge=64, le=1_048_576), _meta("Longest request line; 414 beyond.", 16_384)
    ] = 8190
    header_bytes_max: Annotated[
        int,
        Meta(ge=64, le=1_048_576),
        _meta("Longest header field, name and value together; 431 beyond.", 16_384),
    ] = 8190
    head_bytes_max: Annotated[
        int,
        Meta(ge=64, le=16_777_216),
        _meta("Request line and all header fields together; 431 beyond.", 32_768),
    ] = 65_536
    headers_max: Annotated[
        int, Meta(ge=1, le=256), _meta("Most header fields of a request; 431 beyond.", 50)
    ] = 100
    body_bytes_max: Annotated[
        int, Meta(ge=0), _meta("Largest request body; 413 beyond. 0: no limit.", 10_485_760)
    ] = 1_073_741_824
    body_memory_bytes: Annotated[
        int,
        Meta(ge=0),
        _meta(
            "A WSGI request body larger than this waits in a temporary file (in TMPDIR), not in memory.",
            65_536,
        ),
    ] = 1_048_576
    bodies_memory_bytes_max: Annotated[
        int,
        Meta(ge=0),
        _meta(
            "All request bodies of a worker together, in memory. Beyond, WSGI bodies go to temporary files; "
            "those that are read while the application runs wait on the wire, and new ones get 503. "
            "0: no limit.",
            268_435_456,
        ),
    ] = 67_108_864
    bodies_disk_bytes_max: Annotated[
        int,
        Meta(ge=0),
        _meta("All request bodies of a worker in temporary files; 503 beyond. 0: no limit.", 10_737_418_240),
    ] = 4_294_967_296
    body_rate_min_bytes_per_s: Annotated[
        int,
        Meta(ge=0),
        _meta(
            "A client that sends less of a body than this, for `rate_grace_s`, gets 408. 0: no limit.", 1000
        ),
    ] = 240
    response_rate_min_bytes_per_s: Annotated[
        int,
        Meta(ge=0),
        _meta(
            "A client that takes less of a response than this, for `rate_grace_s`, is cut off. 0: no limit.",
            1000,
        ),
    ] = 240
    responses_memory_bytes_max: Annotated[
        int,
        Meta(ge=0),
        _meta(
            "What clients have yet to take of a worker's responses, in memory. Beyond, clients are cut off "
            "that would need longer than `response_timeout_s` for theirs at the rate of the last 5 s, or of "
            "less where it is held several times, the "
            "slowest first. 0: no limit.",
            1_073_741_824,
        ),
    ] = 268_435_456
    response_spool_bytes_max: Annotated[
        int,
        Meta(ge=0),
        _meta(
            "What slow clients have yet to take of a worker's WSGI streams may wait in temporary files (in "
            "TMPDIR) while others wait for the worker, up to this. 0: nothing.",
            1_073_741_824,
        ),
    ] = 268_435_456


class WebSocketSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """WebSockets of `asgi` workers."""

    message_bytes_max: Annotated[
        int,
        Meta(ge=1, le=2_147_483_647),
        _meta(
            "Largest message, decompressed and all fragments together; closed with 1009 beyond.", 1_048_576
        ),
    ] = 16_777_216
    queue_bytes_max: Annotated[
        int,
        Meta(ge=0, le=2_147_483_647),
        _meta("No more is read while more than this waits for the application to receive it.", 1_048_576),
    ] = 65_536
    memory_bytes_max: Annotated[
        int,
        Meta(ge=0),
        _meta(
            "Memory for the messages of all WebSockets of a worker: those being received, those that wait "
            "for the application, and output that clients have not taken. Near it, connections that hold "
            "much are not read from; beyond it, the one that holds most is closed with 1013. Less than "
            "twice `message_bytes_max` counts as that. 0: no limit.",
            268_435_456,
        ),
    ] = 67_108_864
    ping_interval_s: Annotated[
        Seconds, _meta("Time between pings, which also keep proxies from closing. 0: no pings.", 45)
    ] = 20.0
    ping_timeout_s: Annotated[
        PositiveSeconds,
        _meta("A client from which nothing comes for this long after a ping is gone.", 10),
    ] = 20.0
    per_message_deflate: Annotated[
        bool, _meta("Compress messages if the client offers it: less traffic, more processor time.", False)
    ] = True


class PoolSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One application with its listeners and workers."""

    app: Annotated[
        str,
        _meta(
            "The application: `module:attribute`, `module:factory()`, or a module that has "
            "`application`, `app` or one other application.",
            "shop.wsgi:application",
            flag="APP",
        ),
    ]
    worker: Annotated[
        Literal["auto", "sync", "threads", "asgi"],
        _meta(
            "Worker class. auto: `asgi` for an ASGI application; for WSGI `threads` if "
            "`threads` is set, else `sync`.",
            "threads",
            flag="--worker",
        ),
    ] = "auto"
    loop: Annotated[
        Literal["uvloop", "asyncio"],
        _meta(
            "Event loop of the workers. asyncio: Python's own, which is slower, for applications that change "
            "or inspect it (nest_asyncio).",
            "asyncio",
        ),
    ] = "uvloop"
    lifespan: Annotated[
        Literal["auto", "on", "off"],
        _meta(
            "ASGI lifespan. auto: called; an application that raises is served without it, with a warning if "
            "it had begun. on: the boot fails unless the application completes its startup. off: not called. "
            "A startup that the application says has failed fails the boot in any case.",
            "on",
        ),
    ] = "auto"
    pathsend: Annotated[
        bool,
        _meta(
            "Offer ASGI applications `http.response.pathsend`: Starlette's FileResponse then names its file "
            "and the kernel sends it, which is less work for large ones. Not beside middleware that works on "
            "bodies: compression, caches, a BaseHTTPMiddleware that reads body_iterator.",
            True,
        ),
    ] = False
    processes: Annotated[
        Annotated[int, Meta(ge=1, le=WORKERS_MAX)] | Literal["auto"] | Scaling,
        _meta(
            "Worker processes. auto: the least that CPU affinity, cgroup quota and memory allow, by what a "
            "worker was seen to take. A table "
            "with `min` and `max`: as many as the load takes, see [pool.NAME.processes].",
            4,
            flag="--processes",
        ),
    ] = "auto"
    preload: Annotated[
        bool,
        _meta(
            "Import the application once for each generation, in a process of its own, and fork the workers "
            "from that: quicker starts and shared memory. See fork-safety.md. Linux only.",
            True,
        ),
    ] = False
    threads: Annotated[
        int,
        Meta(ge=1, le=1024),
        _meta(
            "Threads of each worker of class `threads`, and for a WSGI application in an `asgi` worker, "
            "where it is 16 unless set.",
            16,
            flag="--threads",
        ),
    ] = 8
    bind: Annotated[
        tuple[str, ...],
        _meta(
            "Addresses: `HOST:PORT`, `[IPv6]:PORT`, `:PORT` (every address), `unix:PATH`, `fd:N` "
            "(inherited), `systemd:NAME` (FileDescriptorName= of a socket unit). Port 0: any free port. "
            "`tls:` before any of them: clients speak TLS there.",
            ["127.0.0.1:8000", "tls:0.0.0.0:8443", "unix:/run/shop/web.sock"],
            flag="--bind",
        ),
    ] = ("127.0.0.1:8000",)
    http: Annotated[
        tuple[Literal["h2", "h1"], ...],
        _meta(
            "Which HTTP is spoken: `h2` (HTTP/2), `h1` (HTTP/1.1 and 1.0), the preferred one first. With TLS "
            "the client chooses among them (ALPN). Without TLS `h2` is for clients that know beforehand that "
            "it is spoken (prior knowledge). Empty: `h2` and `h1` with TLS, `h1` without.",
            ["h2", "h1"],
        ),
    ] = ()
    backlog: Annotated[
        int,
        Meta(ge=1, le=65_535),
        _meta("Connections that may wait to be accepted (the kernel caps it at somaxconn).", 4096),
    ] = 2048
    connections_max: Annotated[
        int,
        Meta(ge=0, le=1_073_741_816),
        _meta(
            "Connections that a worker has open at once. Beyond, those that have been silent longest (two "
            "seconds at least) are closed for new ones; else `overload` says what. A WebSocket over HTTP/2 "
            "counts as one when it is opened, and is answered with 503 beyond. 0: no limit.",
            1000,
        ),
    ] = 0
    requests_max: Annotated[
        int,
        Meta(ge=0, le=1_073_741_816),
        _meta(
            "Requests that a worker has at once, those waiting for a thread included; `overload` says "
            "what beyond. 0: no limit.",
            200,
        ),
    ] = 0
    overload: Annotated[
        Literal["wait", "refuse"],
        _meta(
            "At `connections_max`, `requests_max` and out of open files (`nofile`), when no silent client "
            "can make room. wait: accept no more, so that clients wait in the backlog. refuse: answer 503 "
            "and close.",
            "refuse",
        ),
    ] = "wait"
    retry_after_s: Annotated[
        int,
        Meta(ge=0, le=86_400),
        _meta("Retry-After of such a 503, in whole seconds. 0: none.", 30),
    ] = 1
    socket_mode: Annotated[str, _octal("^0?[0-7]{3}$", "Permissions of Unix sockets, octal.", "600")] = "660"
    socket_user: Annotated[str, _meta("Owner of Unix sockets. Empty: that of the workers.", "shop")] = ""
    socket_group: Annotated[str, _meta("Group of Unix sockets. Empty: that of the workers.", "www-data")] = ""
    user: Annotated[str, _meta("Workers run as this user, name or number. Empty: as the master.", "shop")] = (
        ""
    )
    group: Annotated[str, _meta("Workers run with this group. Empty: the own one of `user`.", "www-data")] = (
        ""
    )
    umask: Annotated[
        str, _octal("^$|^0?[0-7]{3}$", "Umask of the workers, octal. Empty: as the master's.", "027")
    ] = ""
    application_metrics: Annotated[
        bool,
        _meta(
            "Have the application's own prometheus_client metrics in `/metrics` of the admin listener, those "
            "of all workers as one and with a label `pool`: see monitoring.md.",
            True,
        ),
    ] = False
    chdir: Annotated[
        str,
        _meta(
            "Working directory of the workers, first on sys.path; links in it are resolved afresh "
            "at each worker's start. Empty: the folder of gw.toml.",
            "/srv/shop/current",
            path="folder",
        ),
    ] = ""
    pythonpath: Annotated[
        tuple[str, ...], _meta("Folders put on sys.path behind `chdir`.", ["src"], path="folder")
    ] = ()
    env: Annotated[
        dict[str, str],
        _meta("Environment variables of the workers.", {"DJANGO_SETTINGS_MODULE": "shop.settings"}),
    ] = {}
    env_file: Annotated[
        str,
        _meta(
            "File of NAME=value lines, read again at each worker's start; `env` wins over it.",
            "/etc/shop/environment",
            path="file",
        ),
    ] = ""
    nofile: Annotated[
        int,
        Meta(ge=0, le=1_073_741_816),
        _meta("Open files a worker may have (RLIMIT_NOFILE). 0: as the master's.", 65_536),
    ] = 0
    root_path: Annotated[
        str,
        Meta(
            pattern="^$|^/.*[^/]$", extra={"form": 'a path that starts with / and ends without, as in "/api"'}
        ),
        _meta("Path the application is mounted at (SCRIPT_NAME, root_path).", "/api"),
    ] = ""
    trusted_proxies: Annotated[
        tuple[str, ...],
        _meta(
            "Who is believed about a client's address and scheme (`forwarded_headers`): addresses, "
            "networks, `unix` (peers on Unix sockets) or `*` (everybody).",
            ["10.0.0.0/8", "unix"],
        ),
    ] = ("127.0.0.1", "::1", "unix")
    proxy_protocol: Annotated[
        bool,
        _meta(
            "Connections begin with a PROXY header (version 1 or 2), as haproxy's `send-proxy` writes it. "
            "All of them must, and only `trusted_proxies` may connect.",
            True,
        ),
    ] = False
    forwarded_headers: Annotated[
        tuple[str, ...],
        _meta(
            "What trusted proxies are believed in: `Forwarded`, `X-Forwarded-For`, `-Proto`, `-Host`, "
            "`-Port`, `-Prefix`. Name only fields that your proxy sets or removes itself: others it "
            "passes on as the client sent them.",
            ["X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host"],
        ),
    ] = ("X-Forwarded-For", "X-Forwarded-Proto")
    body_buffering: Annotated[
        bool,
        _meta(
            "Whether a WSGI request body is received before the application is called, so that a slow "
            "client holds a buffer and not a worker. false: `wsgi.input` reads from the connection, for "
            "applications that pass large bodies on as they come.",
            False,
        ),
    ] = True
    access_log: Annotated[
        str,
        _meta(
            "A line for each request: `off`, `stdout` or a file.",
            "/var/log/shop/access.log",
            path="place",
            words=("off", "stdout"),
        ),
    ] = "off"
    access_log_format: Annotated[
        str,
        _meta(
            "What its lines look like: `combined` (with seconds and worker behind it), `json`, or a template "
            "like those of gunicorn, with `%(h)s` and its kin. See logs.md.",
            '%(h)s %(t)s "%(r)s" %(s)s %(B)s %(D)s "%({x-request-id}i)s"',
        ),
    ] = "combined"
    access_log_slow_s: Annotated[
        Seconds,
        _meta(
            "Only requests that took at least so long, those answered with 5xx, and `access_log_sample` of "
            "the others. 0: all.",
            0.5,
        ),
    ] = 0.0
    access_log_exclude: Annotated[
        tuple[str, ...],
        _meta(
            "Paths whose requests are not logged, whatever comes of them; `*` at the end: all that begin so.",
            ["/healthz", "/static/*"],
        ),
    ] = ()
    access_log_sample: Annotated[
        Annotated[float, Meta(ge=0, le=1)] | Literal["auto"],
        _meta(
            "Share of the requests that are logged, 5xx and slow ones aside, which all are. auto: 1, with "
            "`access_log_slow_s` 0.",
            0.01,
        ),
    ] = "auto"
    log_queries: Annotated[
        bool,
        _meta(
            "Whether the event log and `gwctl status` show the queries of requests. They often hold tokens: "
            "without it `/reset?token=...` is shown as `/reset?…`. The access log always has them.",
            True,
        ),
    ] = False
    health_path: Annotated[
        str,
        Meta(pattern="^$|^/[^?#]*$", extra={"form": 'a path without query, as in "/healthz"'}),
        _meta(
            "Path that is answered without the application: 200, and 503 while the worker drains; then the "
            "connection is closed. For probes of load balancers and Kubernetes on the application's port; "
            "the admin listener has more. Empty: none.",
            "/healthz",
        ),
    ] = ""
    log_application: Annotated[
        bool,
        _meta(
            "Whether what the application logs (Python's `logging`) and does not handle itself becomes lines "
            "of the event log, with logger, level and exception. false: Python writes it to stderr.",
            False,
        ),
    ] = True
    log_application_level: Annotated[
        Literal["debug", "info", "warning", "error", "critical"],
        _meta(
            "Level of Python's root logger while the application is imported, which may set another. Its "
            "loggers' own levels are its own.",
            "info",
        ),
    ] = "warning"
    capture_output: Annotated[
        bool,
        _meta(
            "Whether what workers print (stdout and stderr, also of C libraries and child processes) is "
            "taken line by line into the event log, with worker and stream. See logs.md.",
            True,
        ),
    ] = False
    request_id_header: Annotated[
        str,
        Meta(
            pattern="^$|^[A-Za-z0-9-]{1,64}$",
            extra={"form": 'the name of a header, as in "X-Request-ID"'},
        ),
        _meta(
            "Header of request ids: taken from `trusted_proxies` (or the trace id of their `traceparent`), "
            "else made; for the application and the logs. See logs.md. Empty: no ids.",
            "X-Request-ID",
        ),
    ] = ""
    request_id_in_response: Annotated[bool, _meta("Whether responses have that header, too.", True)] = False
    ready_min: Annotated[
        int,
        Meta(ge=0, le=WORKERS_MAX),
        _meta(
            "How many workers have to be ready for the admin listener to call the pool ready. 0: it never "
            "counts.",
            2,
        ),
    ] = 1
    timeouts: Timeouts = Timeouts()
    tls: Tls = Tls()
    limits: Limits = Limits()
    http2: Http2Settings = Http2Settings()
    websocket: WebSocketSettings = WebSocketSettings()
    reload: Reload = Reload()
    crash: Crash = Crash()
    recycle: Recycle = Recycle()

    @property
    def follows_capacity(self) -> bool:
        """How many processes it has, or may have, depends on the machine."""
        processes = self.processes
        return (processes.max if isinstance(processes, Scaling) else processes) == "auto"


class MasterSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The master process itself."""

    name: Annotated[
        str,
        Meta(
            pattern="^$|^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$",
            extra={"form": "at most 64 letters, digits, and _ . - inside"},
        ),
        _meta(
            "Name of this instance in process titles and of its control socket. Empty: that of the "
            "folder of gw.toml, without a file that of the application's module.",
            "shop",
            flag="--name",
        ),
    ] = ""
    pidfile: Annotated[
        str, _meta("File for the master's pid. Empty: none.", "/run/shop/gwctl.pid", path="place")
    ] = ""
    control: Annotated[
        str,
        _meta(
            "Control socket: `auto` (in the runtime directory), `off` or a path.",
            "/run/shop/control.sock",
            path="place",
            words=("auto", "off"),
        ),
    ] = "auto"
    keep_s: Annotated[
        Seconds,
        _meta(
            "How long the generation before stays parked after a reload, so that `gwctl rollback` can go "
            "back to it. Its workers hold their memory meanwhile. 0: it drains at once.",
            300,
        ),
    ] = 0.0
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], _meta("Least level of the events logged.", "warning")
    ] = "info"
    bind_retry_s: Annotated[
        Seconds,
        _meta("How long to try again an address in use: a worker that outlives its master may hold it.", 30),
    ] = 5.0
    drain_delay_s: Annotated[
        Seconds,
        _meta(
            "After SIGTERM or `gwctl stop`: how long connections are still accepted, while status says that "
            "it stops, so that load balancers send nobody any more when the door is closed. 0: no delay.",
            5,
        ),
    ] = 0.0
    privileges: Annotated[
        Literal["all", "least"],
        _meta(
            "What the master keeps of its rights, for itself and all workers. `least`: no program that is "
            "executed gains any by setuid or setgid (`sudo`, some `ping` and `sendmail`), and of root's "
            "capabilities those are left that [gwctl needs](security.md#what-the-master-keeps). "
            "It takes a restart.",
            "least",
        ),
    ] = "all"
    cgroups: Annotated[
        Literal["auto", "off"],
        _meta(
            "`auto`: where a control group is delegated to gwctl (systemd's Delegate=, a container that may "
            "write to its own), each worker gets one of its own, so that the kernel kills one worker for "
            "want of memory and nothing else ([containers](deploy-containers.md#control-groups)). `off`: "
            "all stay in one. It takes a restart.",
            "off",
        ),
    ] = "auto"


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A whole gw.toml."""

    pool: dict[str, PoolSettings]
    master: MasterSettings = MasterSettings()
    control: ControlSettings = ControlSettings()
    admin: AdminSettings = AdminSettings()
    statsd: StatsdSettings = StatsdSettings()
    log: LogSettings = LogSettings()
