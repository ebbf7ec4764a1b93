"""gunicorn's settings (27)."""

from __future__ import annotations

from typing import Any, Final

from gwctl.config.foreign import convert, reasons
from gwctl.config.foreign.option import (
    COVERED,
    Convert,
    Near,
    NoCounterpart,
    Option,
    Server,
    Several,
    becomes,
    hook,
    nothing,
)
from gwctl.config.model.settings import Limits

_HEAD_BYTES: Final = Limits().head_bytes_max
_SHARED: Final = "Heartbeats are in shared memory: nothing is written to a folder"
_SENDFILE: Final = "Files go by sendfile where the kernel can"
_DIRTY: Final = "There is no pool for heavy jobs beside the web workers: run them in a service of their own"
_STRICT: Final = (
    "Requests are taken strictly by RFC 9112: have the client, or a proxy in front, send what is right"
)
_MASTER_RUNS_NO_CODE: Final = "The master runs no code of the application"


def _head_part(target: str) -> Convert:
    """Bound a line of the head. 0 is no limit there; here all of a head has one."""

    def converted(value: Any, near: Near) -> Any:
        given = convert.number(value, near)
        if not given:
            return Several(
                {target: _HEAD_BYTES}, "0 is no limit there; here as much as a whole head may have"
            )
        if given <= _HEAD_BYTES:
            return given
        most = min(given, 1_048_576)
        return Several({target: most, "limits.head_bytes_max": 2 * most})

    return converted


def _fields_limit(value: Any, near: Near) -> Any:
    given = convert.number(value, near)
    if given <= 256:
        return given or 256
    return Several({"limits.headers_max": 256}, "256 is the most")


def _prefix(value: Any, near: Near) -> Any:
    del near
    given = str(value or "").strip(".")
    return given or COVERED


def _upload_folder(value: Any, near: Near) -> Any:
    del near
    return Several({"env": {"TMPDIR": str(value)}}) if value else COVERED


def _proxies(value: Any, near: Near) -> Any:
    """Only matters where the PROXY protocol is on."""
    if convert.proxy_protocol(near.get("proxy_protocol", "off"), near) is COVERED:
        return COVERED
    return convert.trusted(value, near)


def _connections(value: Any, near: Near) -> Any:
    kind = str(near.get("worker_class") or "sync").lower()
    if kind.endswith("sync") and convert.count_of(near, "threads") <= 1:
        raise NoCounterpart("gunicorn's sync workers take no notice of it")
    return convert.number(value, near)


def _protocol(value: Any, near: Near) -> Any:
    del near
    if str(value).lower() == "http":
        return COVERED
    raise NoCounterpart("HTTP is spoken alone: in nginx, `proxy_pass http://...` instead of `uwsgi_pass`")


def _keepalive(value: Any, near: Near) -> Any:
    given = convert.seconds(value, near)
    if given > 0:
        return given
    raise NoCounterpart("connections are kept alive: have the application or the proxy close them")


_APP: Final = becomes(
    "wsgi_app", "app", convert=convert.gunicorn_application, told="of a module alone `application`"
)
_PROCESSES: Final = (
    becomes("workers", "processes", "-w --workers", convert.number, variable="WEB_CONCURRENCY"),
    becomes(
        "worker_class",
        "worker",
        "-k --worker-class",
        convert.worker_class,
        "gthread, gevent and eventlet are `threads`; uvicorn's workers are `asgi`; tornado and aiohttp stay",
    ),
    becomes("threads", "threads", "--threads", convert.threads, "more than one: `worker` is threads, too"),
    becomes("worker_connections", "connections_max", "--worker-connections", _connections),
    becomes("max_requests", "recycle.requests_max", "--max-requests", convert.max_requests),
    becomes(
        "max_requests_jitter",
        "recycle.jitter_percent",
        "--max-requests-jitter",
        convert.jitter,
        "a percentage of the limit, which grows by it",
    ),
    becomes(
        "timeout",
        "timeouts.request_timeout_s",
        "-t --timeout",
        convert.timeout,
        "with sync; with other classes `timeouts.heartbeat_timeout_s`, as there. Above 60 it is also the "
        "`timeouts.boot_timeout_s`",
    ),
    becomes(
        "graceful_timeout",
        "timeouts.drain_timeout_s",
        "--graceful-timeout",
        convert.positive_seconds("the end of a worker"),
    ),
    becomes("keepalive", "timeouts.keepalive_timeout_s", "--keep-alive", _keepalive),
    becomes("asgi_loop", "loop", "--asgi-loop", convert.asyncio_loop),
    becomes("asgi_lifespan", "lifespan", "--asgi-lifespan", convert.text),
    nothing(
        "asgi_disconnect_grace_period",
        "An application whose client has gone is told so, and its task goes on to its end or to `request_timeout_s`",
        "--asgi-disconnect-grace-period",
    ),
    becomes(
        "websocket_max_message_size",
        "websocket.message_bytes_max",
        "--websocket-max-message-size",
        convert.number,
    ),
    nothing(
        "http_parser",
        "The C parser is used where it is installed: pip install 'gwctl[fast]'",
        "--http-parser",
    ),
)
_SOCKETS: Final = (
    becomes(
        "bind",
        "bind",
        "-b --bind",
        convert.addresses,
        "unix:PATH and HOST:PORT are the same; fd://N is fd:N; with a certificate `tls:` in front",
        takes="list",
    ),
    becomes("backlog", "backlog", "--backlog", convert.number),
    nothing(
        "reuse_port",
        "Workers share one listener, so that none that dies takes waiting connections with it",
        "--reuse-port",
        takes="nothing",
    ),
)
_MECHANICS: Final = (
    becomes("preload_app", "preload", "--preload", convert.switch, takes="nothing"),
    becomes(
        "sendfile",
        "",
        "--no-sendfile",
        convert.only_if_no(_SENDFILE),
        _SENDFILE,
        takes="nothing",
        const=False,
    ),
    becomes("chdir", "chdir", "--chdir", convert.text),
    nothing(
        "daemon",
        reasons.FOREGROUND,
        "-D --daemon",
        takes="nothing",
    ),
    becomes("raw_env", "env", "-e --env", convert.variables, "a table", takes="list"),
    becomes("pidfile", "master.pidfile", "-p --pid", convert.text),
    nothing("worker_tmp_dir", _SHARED, "--worker-tmp-dir"),
    becomes("user", "user", "-u --user", convert.text, "the workers; see `master.privileges` for the master"),
    becomes("group", "group", "-g --group", convert.text),
    becomes("umask", "umask", "-m --umask", convert.umask, "octal, in quotes"),
    nothing("initgroups", "Workers have all groups of their user", "--initgroups", takes="nothing"),
    becomes("tmp_upload_dir", "env", convert=_upload_folder, told="`TMPDIR`: bodies wait there"),
    nothing(
        "secure_scheme_headers",
        "The scheme is taken from `X-Forwarded-Proto` or `Forwarded` of `trusted_proxies`: have the proxy set one",
    ),
    becomes(
        "forwarded_allow_ips",
        "trusted_proxies",
        "--forwarded-allow-ips",
        convert.trusted,
        variable="FORWARDED_ALLOW_IPS",
    ),
    becomes("pythonpath", "pythonpath", "--pythonpath", convert.texts, "a list"),
    nothing(
        "paste",
        'Name the application in Python: a module with app = loadapp("config:production.ini", relative_to=...)',
        "--paste --paster",
    ),
    nothing(
        "raw_paste_global_conf",
        "As of `paste`: give it to loadapp(global_conf=...)",
        "--paste-global",
        takes="list",
    ),
    becomes(
        "proxy_protocol",
        "proxy_protocol",
        "--proxy-protocol",
        convert.proxy_protocol,
        takes="maybe",
        const="auto",
    ),
    becomes("proxy_allow_ips", "trusted_proxies", "--proxy-allow-from", _proxies, "with `proxy_protocol`"),
    becomes(
        "protocol", "", "--protocol", _protocol, "HTTP is spoken alone: `proxy_pass http://...` in nginx"
    ),
    nothing("uwsgi_allow_ips", "HTTP is spoken alone: see `trusted_proxies`", "--uwsgi-allow-from"),
    *(
        nothing(name, _STRICT, f"--{name.replace('_', '-')}", takes="nothing")
        for name in (
            "permit_obsolete_folding",
            "strip_header_spaces",
            "permit_unconventional_http_method",
            "permit_unconventional_http_version",
            "casefold_http_method",
        )
    ),
    nothing(
        "forwarder_headers",
        "A proxy says where the application is mounted by X-Forwarded-Prefix: name it in `forwarded_headers`",
        "--forwarder-headers",
    ),
    nothing(
        "header_map", "A header field with _ in its name is never one with -: it is left out", "--header-map"
    ),
    becomes("root_path", "root_path", "--root-path", convert.root_path),
)
_LOGS: Final = (
    becomes("accesslog", "access_log", "--access-logfile", convert.access_log, "`-` is stdout"),
    nothing(
        "disable_redirect_access_to_syslog",
        "The access log is `access_log`, the event log `log.to`: they are apart",
        "--disable-redirect-access-to-syslog",
        takes="nothing",
    ),
    becomes(
        "access_log_format",
        "access_log_format",
        "--access-logformat",
        convert.text,
        "the same fields, see logs.md",
    ),
    becomes(
        "errorlog", "log.to", "--error-logfile --log-file", convert.event_log, "`-` is stderr, the default"
    ),
    becomes("loglevel", "master.log_level", "--log-level", convert.log_level, "critical is error"),
    becomes("capture_output", "capture_output", "--capture-output", convert.switch, takes="nothing"),
    nothing("logger_class", reasons.LOGGING, "--logger-class"),
    nothing("logconfig", reasons.LOGGING, "--log-config"),
    nothing("logconfig_dict", reasons.LOGGING),
    nothing("logconfig_json", reasons.LOGGING, "--log-config-json"),
    becomes(
        "syslog",
        "log.to",
        "--log-syslog",
        convert.syslog,
        "with `syslog_addr`: UDP or /dev/log",
        takes="nothing",
    ),
    becomes("syslog_addr", "log.to", "--log-syslog-to", convert.covered, "with `syslog`"),
    nothing("syslog_prefix", "Lines are told apart by `master.name`", "--log-syslog-prefix"),
    nothing("syslog_facility", "It is daemon's", "--log-syslog-facility"),
    nothing(
        "enable_stdio_inheritance",
        "What workers print goes to the master's streams; `capture_output` makes lines of the event log of it",
        "-R --enable-stdio-inheritance",
        takes="nothing",
    ),
    becomes(
        "statsd_host",
        "statsd.to",
        "--statsd-host",
        convert.statsd,
        "with `statsd.gunicorn_names`: the same names",
    ),
    becomes("dogstatsd_tags", "statsd.tags", "--dogstatsd-tags", convert.texts),
    becomes("statsd_prefix", "statsd.prefix", "--statsd-prefix", _prefix),
    nothing(
        "enable_backlog_metric",
        "The backlog is always counted: gwctl status, metrics, statsd",
        "--enable-backlog-metric",
        takes="nothing",
    ),
)
_TLS: Final = (
    becomes("keyfile", "tls.key", "--keyfile", convert.one_file),
    becomes(
        "certfile",
        "tls.certificate",
        "--certfile",
        convert.one_file,
        "and `tls:` before each address of `bind`",
    ),
    becomes("ssl_version", "tls.minimum_version", "--ssl-version", convert.tls_version),
    becomes("cert_reqs", "tls.verify", "--cert-reqs", convert.verify),
    becomes("ca_certs", "tls.client_ca", "--ca-certs", convert.text),
    nothing(
        "suppress_ragged_eofs",
        "An end without close_notify is an end",
        "--suppress-ragged-eofs",
        takes="nothing",
    ),
    nothing(
        "do_handshake_on_connect",
        "Handshakes are done by the loop: none holds a worker up",
        "--do-handshake-on-connect",
        takes="nothing",
    ),
    becomes("ciphers", "tls.ciphers", "--ciphers", convert.text),
)
_SECURITY: Final = (
    becomes(
        "limit_request_line",
        "limits.request_line_bytes_max",
        "--limit-request-line",
        _head_part("limits.request_line_bytes_max"),
    ),
    becomes(
        "limit_request_fields", "limits.headers_max", "--limit-request-fields", _fields_limit, "256 at most"
    ),
    becomes(
        "limit_request_field_size",
        "limits.header_bytes_max",
        "--limit-request-field_size",
        _head_part("limits.header_bytes_max"),
    ),
)
_OTHERS: Final = (
    nothing("config", "gw.toml is read in this folder, another one with -c", "-c --config"),
    becomes("control_socket", "master.control", "--control-socket", convert.text),
    nothing(
        "control_socket_mode",
        "Its user and root may use it; `control.allow_users` names others",
        "--control-socket-mode",
    ),
    becomes(
        "control_socket_disable",
        "master.control",
        "--no-control-socket",
        convert.if_yes("master.control", "off"),
        takes="nothing",
    ),
    becomes("proc_name", "master.name", "-n --name", convert.text),
    nothing("default_proc_name", "`master.name` is the name"),
    nothing("reload", reasons.NOT_WATCHED, "--reload", takes="nothing"),
    nothing("reload_engine", reasons.NOT_WATCHED, "--reload-engine"),
    nothing("reload_extra_files", reasons.NOT_WATCHED, "--reload-extra-file", takes="list"),
    nothing("spew", "gwctl profile and gwctl dump show what a worker does", "--spew", takes="nothing"),
    nothing("check_config", "gwctl check does it", "--check-config", takes="nothing"),
    nothing("print_config", "gwctl config show does it", "--print-config", takes="nothing"),
    nothing("dirty_apps", _DIRTY, "--dirty-app", takes="list"),
    *(
        nothing(f"dirty_{name}", _DIRTY, f"--dirty-{name.replace('_', '-')}")
        for name in ("workers", "timeout", "threads", "graceful_timeout")
    ),
    nothing("http_protocols", reasons.HTTP2, "--http-protocols"),
    nothing("http2_cleartext", reasons.HTTP2, "--http2-cleartext"),
    *(
        nothing(f"http2_{name}", reasons.HTTP2, f"--http2-{name.replace('_', '-')}")
        for name in (
            "max_concurrent_streams",
            "initial_window_size",
            "max_frame_size",
            "max_header_list_size",
        )
    ),
)
_HOOKS: Final = (
    hook("on_starting", f"{_MASTER_RUNS_NO_CODE}: do it before gwctl starts (ExecStartPre=, an entrypoint)"),
    hook("on_reload", f"{_MASTER_RUNS_NO_CODE}: what reloads can do it, before gwctl reload"),
    hook(
        "when_ready",
        f"{_MASTER_RUNS_NO_CODE}: systemd is told (Type=notify), and gwctl events --follow tells others",
    ),
    hook("pre_fork", f"{_MASTER_RUNS_NO_CODE}: with preload, do it when the application is imported"),
    hook(
        "post_fork",
        "At the import of the application, which each worker does after its fork; with preload, "
        "os.register_at_fork(after_in_child=...) in the application",
    ),
    hook("post_worker_init", "At the end of the application's module, or in ASGI's lifespan startup"),
    hook("worker_int", "In the application: ASGI's lifespan shutdown, or atexit"),
    hook("worker_abort", "The log has the stacks of a worker that is killed: nothing is called"),
    hook("pre_exec", f"{_MASTER_RUNS_NO_CODE}: what calls gwctl upgrade can do it before"),
    hook(
        "pre_request",
        "In middleware of the application; `request_id_header` and `access_log` may be what it is for",
    ),
    hook("post_request", "In middleware of the application; `access_log` and metrics may be what it is for"),
    hook("child_exit", f"{_MASTER_RUNS_NO_CODE}: for prometheus_client's files set `application_metrics`"),
    hook("worker_exit", "In the application: ASGI's lifespan shutdown, or atexit"),
    hook("nworkers_changed", f"{_MASTER_RUNS_NO_CODE}: gwctl events --follow tells it"),
    hook("on_exit", f"{_MASTER_RUNS_NO_CODE}: do it after gwctl has ended (ExecStopPost=)"),
    hook("ssl_context", "The [pool.NAME.tls] table says what TLS is like"),
    hook("on_dirty_starting", _DIRTY),
    hook("dirty_post_fork", _DIRTY),
    hook("dirty_worker_init", _DIRTY),
    hook("dirty_worker_exit", _DIRTY),
)

OPTIONS: Final[tuple[Option, ...]] = (
    _APP,
    *_PROCESSES,
    *_SOCKETS,
    *_MECHANICS,
    *_LOGS,
    *_TLS,
    *_SECURITY,
    *_OTHERS,
    *_HOOKS,
)
SERVER: Final = Server(
    "gunicorn",
    ("gunicorn", "gunicorn.app.wsgiapp", "gunicorn.app.asgiapp"),
    OPTIONS,
    {"processes": (1, 'gunicorn has one unless told; "auto": by CPUs and memory')},
)
