"""The options of hypercorn (0.18), granian (2.8), daphne (4.2) and waitress (3.0) that matter."""

from __future__ import annotations

from typing import Any, Final

from gwctl.config.foreign import convert, reasons
from gwctl.config.foreign.option import COVERED, Near, NoCounterpart, Server, Several, becomes, nothing

_HTTP3: Final = "HTTP/3 is not spoken: let a proxy in front speak it"


def _statsd(value: Any, near: Near) -> Any:
    found = convert.statsd(value, near)
    return Several({name: each for name, each in found.settings.items() if name != "statsd.gunicorn_names"})


# ---- hypercorn

_HYPERCORN: Final = (
    becomes("application_path", "app", convert=convert.application),
    becomes(
        "bind", "bind", "-b --bind", convert.addresses, "with a certificate `tls:` in front", takes="list"
    ),
    becomes(
        "insecure_bind", "bind", "--insecure-bind", convert.addresses, "without `tls:` in front", takes="list"
    ),
    nothing("quic_bind", _HTTP3, "--quic-bind", takes="list"),
    becomes("workers", "processes", "-w --workers", convert.number),
    becomes(
        "worker_class", "loop", "-k --worker-class", convert.asyncio_loop, "uvloop or asyncio; trio stays"
    ),
    becomes("accesslog", "access_log", "--access-logfile --access-log", convert.access_log, "`-` is stdout"),
    becomes(
        "access_log_format",
        "access_log_format",
        "--access-logformat",
        convert.text,
        "the same fields, see logs.md",
    ),
    becomes(
        "errorlog", "log.to", "--error-logfile --log-file --error-log", convert.event_log, "`-` is stderr"
    ),
    nothing("logconfig", reasons.LOGGING, "--log-config"),
    nothing("logconfig_dict", reasons.LOGGING),
    becomes("loglevel", "master.log_level", "--log-level", convert.log_level),
    becomes("backlog", "backlog", "--backlog", convert.number),
    becomes("graceful_timeout", "timeouts.drain_timeout_s", "--graceful-timeout", convert.seconds),
    becomes("shutdown_timeout", "timeouts.drain_timeout_s", convert=convert.seconds),
    becomes("startup_timeout", "timeouts.boot_timeout_s", convert=convert.seconds),
    becomes("keep_alive_timeout", "timeouts.keepalive_timeout_s", "--keep-alive", convert.seconds),
    becomes("read_timeout", "timeouts.body_timeout_s", "--read-timeout", convert.seconds),
    nothing("keep_alive_max_requests", "A connection lives as long as it is used"),
    nothing("max_app_queue_size", "A body waits on the wire until the application reads it"),
    becomes("max_requests", "recycle.requests_max", "--max-requests", convert.max_requests),
    becomes(
        "max_requests_jitter",
        "recycle.jitter_percent",
        "--max-requests-jitter",
        convert.jitter,
        "a percentage",
    ),
    becomes("group", "socket_group", "-g --group", convert.text, "of Unix sockets"),
    becomes("user", "socket_user", "-u --user", convert.text, "of Unix sockets"),
    nothing("umask", "Of Unix sockets: `socket_mode` says their permissions", "-m --umask"),
    becomes("certfile", "tls.certificate", "--certfile", convert.one_file, "and `tls:` before each address"),
    becomes("keyfile", "tls.key", "--keyfile", convert.one_file),
    nothing(
        "keyfile_password",
        reasons.KEY_PASSWORD,
        "--keyfile-password",
    ),
    becomes("ca_certs", "tls.client_ca", "--ca-certs", convert.text),
    becomes("ciphers", "tls.ciphers", "--ciphers", convert.text),
    becomes("verify_mode", "tls.verify", "--verify-mode --cert-reqs", convert.verify),
    nothing("alpn_protocols", reasons.HTTP2),
    *(
        nothing(f"h2_{name}", reasons.HTTP2)
        for name in ("max_concurrent_streams", "max_header_list_size", "max_inbound_frame_size")
    ),
    becomes("h11_max_incomplete_size", "limits.head_bytes_max", convert=convert.number),
    nothing("config", "gw.toml is read in this folder, another one with -c", "-c --config"),
    nothing("daemon", reasons.FOREGROUND, "-D --daemon", takes="nothing"),
    nothing("debug", "PYTHONASYNCIODEBUG=1 in `env` has asyncio check itself", "--debug", takes="nothing"),
    becomes("pid_path", "master.pidfile", "-p --pid", convert.text),
    becomes("root_path", "root_path", "--root-path", convert.root_path),
    nothing(
        "server_names",
        "Hosts are checked by the proxy or the application (ALLOWED_HOSTS)",
        "--server-name",
        takes="list",
    ),
    becomes("statsd_host", "statsd.to", "--statsd-host", _statsd),
    becomes(
        "statsd_prefix",
        "statsd.prefix",
        "--statsd-prefix",
        lambda value, _near: str(value).strip(".") or COVERED,
    ),
    nothing("dogstatsd_tags", "`statsd.tags` are those of all figures"),
    nothing("use_reloader", reasons.NOT_WATCHED, "--reload", takes="nothing"),
    becomes("websocket_max_message_size", "websocket.message_bytes_max", convert=convert.number),
    becomes(
        "websocket_ping_interval", "websocket.ping_interval_s", "--websocket-ping-interval", convert.seconds
    ),
    becomes("wsgi_max_body_size", "limits.body_bytes_max", convert=convert.number),
    becomes(
        "include_server_header",
        "",
        "",
        convert.only_if_no("The Server field is gwctl's unless the application sets it"),
        "The Server field is gwctl's unless the application sets it",
    ),
    becomes(
        "include_date_header",
        "",
        "",
        convert.only_if_no("Every response has a Date"),
        "Every response has a Date",
    ),
)
HYPERCORN: Final = Server(
    "hypercorn",
    ("hypercorn", "hypercorn.__main__"),
    _HYPERCORN,
    {"processes": (1, 'hypercorn has one unless told; "auto": by CPUs and memory')},
)


# ---- granian


def _interface(value: Any, near: Near) -> Any:
    given = str(value).lower()
    if given == "rsgi":
        raise NoCounterpart("RSGI is Granian's own: the application has to be ASGI or WSGI")
    if given == "wsgi":
        return Several({"worker": "threads"}) if convert.count_of(near, "blocking_threads") > 1 else "sync"
    return Several({"worker": "asgi", **({"lifespan": "off"} if given == "asginl" else {})})


def _blocking_threads(value: Any, near: Near) -> Any:
    count = convert.number(value, near)
    return count if count > 1 else COVERED


def _metrics(value: Any, near: Near) -> Any:
    if not convert.is_yes(value):
        return COVERED
    host = str(near.get("metrics_address") or "127.0.0.1")
    return Several({"admin.bind": [convert.address(host, near.get("metrics_port", 9090))]}, "at /metrics")


def _switched(name: str, target: str, converted: Any, told: str = "") -> tuple[Any, Any]:
    flag = name.replace("_", "-")
    return (
        becomes(name, target, f"--{flag}", converted, told, takes="nothing"),
        becomes(name, target, f"--no-{flag}", converted, told, takes="nothing", const=False),
    )


def _always(name: str, told: str) -> tuple[Any, Any]:
    """Describe a switch of what gwctl does always."""
    return _switched(name, "", convert.only_if_no(told), told)


_GRANIAN: Final = (
    becomes("app", "app", convert=convert.application),
    becomes("host", "bind", "--host", convert.host_port, "with `port`: HOST:PORT"),
    becomes("port", "bind", "--port", convert.port_of_host("127.0.0.1"), "with `host`: HOST:PORT"),
    becomes("uds", "bind", "--uds", convert.unix, "unix:PATH"),
    becomes("uds_permissions", "socket_mode", "--uds-permissions", convert.octal),
    becomes("interface", "worker", "--interface", _interface, "rsgi has no counterpart"),
    nothing("http", reasons.HTTP2, "--http"),
    *_always("ws", "WebSockets are served if the application accepts them"),
    becomes("workers", "processes", "--workers", convert.number),
    becomes("blocking_threads", "threads", "--blocking-threads", _blocking_threads),
    nothing("blocking_threads_idle_timeout", reasons.ENGINE, "--blocking-threads-idle-timeout"),
    nothing("runtime_threads", reasons.ENGINE, "--runtime-threads"),
    nothing("runtime_blocking_threads", reasons.ENGINE, "--runtime-blocking-threads"),
    nothing("runtime_mode", reasons.ENGINE, "--runtime-mode"),
    becomes("loop", "loop", "--loop", convert.asyncio_loop),
    nothing("task_impl", reasons.ENGINE, "--task-impl"),
    becomes("backlog", "backlog", "--backlog", convert.number),
    becomes("backpressure", "requests_max", "--backpressure", convert.number),
    becomes("http1_buffer_size", "limits.head_bytes_max", "--http1-buffer-size", convert.number),
    becomes(
        "http1_header_read_timeout",
        "timeouts.header_timeout_s",
        "--http1-header-read-timeout",
        convert.milliseconds,
    ),
    *_always("http1_keep_alive", "Connections are kept alive: have the proxy close them"),
    nothing(
        "http1_pipeline_flush",
        reasons.ENGINE,
        "--http1-pipeline-flush --no-http1-pipeline-flush",
        takes="nothing",
    ),
    *(
        nothing(f"http2_{name}", reasons.HTTP2, f"--http2-{name.replace('_', '-')}")
        for name in (
            "initial_connection_window_size",
            "initial_stream_window_size",
            "keep_alive_interval",
            "keep_alive_timeout",
            "max_concurrent_streams",
            "max_frame_size",
            "max_headers_size",
            "max_send_buffer_size",
        )
    ),
    nothing(
        "http2_adaptive_window",
        reasons.HTTP2,
        "--http2-adaptive-window --no-http2-adaptive-window",
        takes="nothing",
    ),
    *_always("log", 'Events are always logged: log_level = "error" is the least'),
    becomes("log_level", "master.log_level", "--log-level", convert.log_level, variable="GRANIAN_LOG_LEVEL"),
    nothing("log_config", reasons.LOGGING, "--log-config"),
    *_switched(
        "access_log",
        "access_log",
        lambda value, _near: "stdout" if convert.is_yes(value) else COVERED,
        "stdout",
    ),
    nothing(
        "access_log_fmt",
        "Granian's fields have other names: see `access_log_format` in logs.md",
        "--access-log-fmt",
    ),
    becomes(
        "ssl_certificate",
        "tls.certificate",
        "--ssl-certificate",
        convert.one_file,
        "and `tls:` before the address",
    ),
    becomes("ssl_keyfile", "tls.key", "--ssl-keyfile", convert.one_file),
    nothing(
        "ssl_keyfile_password",
        reasons.KEY_PASSWORD,
        "--ssl-keyfile-password",
    ),
    becomes("ssl_protocol_min", "tls.minimum_version", "--ssl-protocol-min", convert.tls_version),
    becomes("ssl_ca", "tls.client_ca", "--ssl-ca", convert.text),
    nothing(
        "ssl_crl",
        "Lists of revoked certificates are not read: let a proxy in front do so",
        "--ssl-crl",
        takes="list",
    ),
    *_switched(
        "ssl_client_verify",
        "tls.verify",
        lambda value, _near: "required" if convert.is_yes(value) else COVERED,
    ),
    becomes("url_path_prefix", "root_path", "--url-path-prefix", convert.root_path),
    *_always("respawn_failed_workers", "Workers that die are replaced; the [crash] table says how often"),
    nothing(
        "respawn_interval",
        "The next worker serves before the one before goes: see [reload]",
        "--respawn-interval",
    ),
    nothing("rss_sample_interval", "Memory is looked at every five seconds", "--rss-sample-interval"),
    nothing("rss_samples", "Memory is looked at every five seconds", "--rss-samples"),
    becomes("workers_lifetime", "recycle.age_max_s", "--workers-lifetime", convert.seconds),
    becomes("workers_max_rss", "recycle.memory_soft_bytes", "--workers-max-rss", convert.mebibytes, "bytes"),
    becomes("workers_kill_timeout", "timeouts.drain_timeout_s", "--workers-kill-timeout", convert.seconds),
    becomes("factory", "app", "--factory", convert.covered, "module:factory()", takes="nothing"),
    nothing("no_factory", "The application is no factory unless () follows", "--no-factory", takes="nothing"),
    becomes("working_dir", "chdir", "--working-dir", convert.text),
    becomes("env_files", "env_file", "--env-files", convert.text, "one"),
    nothing("static_path_route", reasons.STATIC, "--static-path-route", takes="list"),
    nothing("static_path_mount", reasons.STATIC, "--static-path-mount", takes="list"),
    nothing("static_path_dir_to_file", reasons.STATIC, "--static-path-dir-to-file"),
    nothing("static_path_expires", reasons.STATIC, "--static-path-expires"),
    *_switched("metrics", "admin.bind", _metrics, "at /metrics of the admin listener"),
    nothing(
        "metrics_scrape_interval",
        "Figures are those of the moment of the scrape",
        "--metrics-scrape-interval",
    ),
    becomes("metrics_address", "admin.bind", "--metrics-address", convert.covered, "with `metrics`"),
    becomes("metrics_port", "admin.bind", "--metrics-port", convert.covered, "with `metrics`"),
    nothing("reload", reasons.NOT_WATCHED, "--reload --no-reload", takes="nothing"),
    *(
        nothing(f"reload_{name}", reasons.NOT_WATCHED, f"--reload-{name.replace('_', '-')}", takes="list")
        for name in ("paths", "ignore_dirs", "ignore_patterns", "ignore_paths", "tick")
    ),
    nothing(
        "reload_ignore_worker_failure",
        reasons.NOT_WATCHED,
        "--reload-ignore-worker-failure --no-reload-ignore-worker-failure",
        takes="nothing",
    ),
    becomes("process_name", "master.name", "--process-name", convert.text),
    becomes("pid_file", "master.pidfile", "--pid-file", convert.text),
)
_OTHER_VARIABLES: Final = {
    "GRANIAN_WEBSOCKETS": "ws",
    "GRANIAN_LOG_ENABLED": "log",
    "GRANIAN_LOG_ACCESS_ENABLED": "access_log",
    "GRANIAN_LOG_ACCESS_FMT": "access_log_fmt",
    "GRANIAN_METRICS_ENABLED": "metrics",
}
OTHER_VARIABLES: Final = {"granian": _OTHER_VARIABLES}
"""Variables that are not called as their option is."""
GRANIAN: Final = Server(
    "granian",
    ("granian", "granian.cli"),
    _GRANIAN,
    {"processes": (1, 'granian has one unless told; "auto": by CPUs and memory')},
    "GRANIAN_",
    {"interface": "Granian's default is RSGI, which is its own: the application has to be ASGI or WSGI"},
)


# ---- daphne


def _endpoint(value: Any, near: Near) -> Any:
    """Twisted's strings, as in ``ssl:443:privateKey=key.pem:certKey=crt.pem``."""
    del near
    found: dict[str, Any] = {"bind": []}
    for each in convert.listed(value):
        kind, *parts = each.replace("\\:", "\0").split(":")
        named = dict(part.replace("\0", ":").partition("=")[::2] for part in parts if "=" in part)
        first = next((part for part in parts if "=" not in part), "")
        if kind == "unix":
            found["bind"].append(f"unix:{first}")
        elif kind == "fd":
            found["bind"].append(f"fd:{named.get('fileno', first)}")
        elif kind in {"tcp", "tcp6", "ssl"}:
            found["bind"].append(
                convert.address(named.get("interface") or "0.0.0.0", named.get("port", first))
            )
        else:
            raise NoCounterpart(f"{kind}: is an endpoint of Twisted's: write its addresses into `bind`")
        if kind == "ssl":
            found |= {"tls.key": [named.get("privateKey", "")], "tls.certificate": [named.get("certKey", "")]}
    return Several(found)


def _verbosity(value: Any, near: Near) -> Any:
    return {0: "warning", 1: COVERED}.get(convert.number(value, near), "debug")


_DAPHNE: Final = (
    becomes("application", "app", convert=convert.application),
    becomes("port", "bind", "-p --port", convert.port_of_host("127.0.0.1"), "with `host`: HOST:PORT"),
    becomes("host", "bind", "-b --bind", convert.host_port, "with `port`: HOST:PORT"),
    becomes("unix_socket", "bind", "-u --unix-socket", convert.unix, "unix:PATH"),
    becomes("fd", "bind", "--fd", convert.descriptor, "fd:N"),
    becomes("endpoint", "bind", "-e --endpoint", _endpoint, "tcp, ssl, unix and fd", takes="list"),
    nothing(
        "websocket_timeout",
        "A WebSocket lives until either side closes it, or a ping has no answer",
        "--websocket_timeout --websocket-timeout",
    ),
    nothing(
        "websocket_connect_timeout",
        "`timeouts.header_timeout_s` bounds the handshake",
        "--websocket_connect_timeout --websocket-connect-timeout",
    ),
    becomes("verbosity", "master.log_level", "-v --verbosity", _verbosity),
    becomes("http_timeout", "timeouts.request_timeout_s", "-t --http-timeout", convert.seconds),
    becomes("access_log", "access_log", "--access-log", convert.access_log, "`-` is stdout"),
    nothing("log_fmt", reasons.LOGGING, "--log-fmt"),
    becomes("ping_interval", "websocket.ping_interval_s", "--ping-interval", convert.seconds),
    becomes("ping_timeout", "websocket.ping_timeout_s", "--ping-timeout", convert.seconds),
    becomes(
        "websocket_max_message_size",
        "websocket.message_bytes_max",
        "--websocket-max-message-size",
        convert.number,
    ),
    nothing(
        "websocket_max_frame_size",
        "`websocket.message_bytes_max` bounds a message, of however many frames",
        "--websocket-max-frame-size",
    ),
    nothing(
        "application_close_timeout",
        "A task whose client has gone is told so and goes on to its end or to `request_timeout_s`",
        "--application-close-timeout",
    ),
    becomes("root_path", "root_path", "--root-path", convert.root_path),
    nothing(
        "proxy_headers",
        "Forwarded fields are believed of `trusted_proxies`: this machine, unless told",
        "--proxy-headers",
        takes="nothing",
    ),
    nothing("proxy_headers_host", "`forwarded_headers` has X-Forwarded-For", "--proxy-headers-host"),
    nothing("proxy_headers_port", "Name X-Forwarded-Port in `forwarded_headers`", "--proxy-headers-port"),
    nothing("server_name", "The Server field is gwctl's unless the application sets it", "-s --server-name"),
    nothing(
        "no_server_name",
        "The Server field is gwctl's unless the application sets it",
        "--no-server-name",
        takes="nothing",
    ),
)
DAPHNE: Final = Server(
    "daphne",
    ("daphne", "daphne.cli"),
    _DAPHNE,
    {
        "processes": (1, 'daphne is one process; "auto": by CPUs and memory'),
        "worker": ("asgi", "daphne serves ASGI"),
        "access_log": ("stdout", "daphne writes one unless told"),
    },
)


# ---- waitress


def _trusted_proxy(value: Any, near: Near) -> Any:
    del near
    return [str(value)]


def _listen(value: Any, near: Near) -> Any:
    del near
    return [convert.address(each, 8080) for each in " ".join(convert.many(value)).split()]


_WAITRESS: Final = (
    becomes("application", "app", convert=convert.application),
    becomes("call", "app", "--call", convert.covered, "module:factory()", takes="nothing"),
    nothing("app", "The application is `app`", "--app"),
    becomes("host", "bind", "--host", convert.host_port, "with `port`: HOST:PORT"),
    becomes("port", "bind", "--port", convert.port_of_host("0.0.0.0"), "with `host`: HOST:PORT"),
    becomes("listen", "bind", "--listen", _listen, takes="list"),
    nothing("ipv4", "`bind` has addresses: :PORT is both kinds", "--ipv4 --no-ipv4", takes="nothing"),
    nothing("ipv6", "`bind` has addresses: :PORT is both kinds", "--ipv6 --no-ipv6", takes="nothing"),
    becomes("unix_socket", "bind", "--unix-socket", convert.unix, "unix:PATH"),
    becomes("unix_socket_perms", "socket_mode", "--unix-socket-perms", convert.octal),
    nothing("url_scheme", "A trusted proxy says it by X-Forwarded-Proto", "--url-scheme"),
    becomes("url_prefix", "root_path", "--url-prefix", convert.root_path),
    nothing("ident", "The Server field is gwctl's unless the application sets it", "--ident"),
    becomes("threads", "threads", "--threads", convert.number),
    becomes("backlog", "backlog", "--backlog", convert.number),
    *(
        nothing(name, reasons.ENGINE, f"--{name.replace('_', '-')}")
        for name in (
            "recv_bytes",
            "send_bytes",
            "outbuf_high_watermark",
            "cleanup_interval",
            "asyncore_loop_timeout",
        )
    ),
    nothing(
        "outbuf_overflow",
        "`limits.response_spool_bytes_max` bounds what waits for slow clients on disk",
        "--outbuf-overflow",
    ),
    becomes("inbuf_overflow", "limits.body_memory_bytes", "--inbuf-overflow", convert.number),
    becomes("connection_limit", "connections_max", "--connection-limit", convert.number),
    becomes("channel_timeout", "timeouts.keepalive_timeout_s", "--channel-timeout", convert.seconds),
    nothing(
        "log_socket_errors",
        "Clients that leave are counted, not logged",
        "--log-socket-errors --no-log-socket-errors",
        takes="nothing",
    ),
    becomes("max_request_header_size", "limits.head_bytes_max", "--max-request-header-size", convert.number),
    becomes("max_request_body_size", "limits.body_bytes_max", "--max-request-body-size", convert.number),
    nothing(
        "expose_tracebacks",
        "Tracebacks go to the log, never to a client",
        "--expose-tracebacks --no-expose-tracebacks",
        takes="nothing",
    ),
    nothing("asyncore_use_poll", reasons.ENGINE, "--asyncore-use-poll", takes="nothing"),
    nothing("channel_request_lookahead", reasons.ENGINE, "--channel-request-lookahead"),
    becomes("trusted_proxy", "trusted_proxies", "--trusted-proxy", _trusted_proxy),
    nothing(
        "trusted_proxy_count",
        "Addresses of all `trusted_proxies` are passed over, however many",
        "--trusted-proxy-count",
    ),
    nothing("trusted_proxy_headers", "Name them in `forwarded_headers`", "--trusted-proxy-headers"),
    nothing(
        "clear_untrusted_proxy_headers",
        "Fields of others are passed on and not believed",
        "--clear-untrusted-proxy-headers --no-clear-untrusted-proxy-headers",
        takes="nothing",
    ),
)
WAITRESS: Final = Server(
    "waitress",
    ("waitress-serve", "waitress", "waitress.runner"),
    _WAITRESS,
    {
        "processes": (1, 'waitress is one process; "auto": by CPUs and memory'),
        "worker": ("threads", "waitress has threads"),
        "threads": (4, "waitress has four unless told"),
        "bind": (["0.0.0.0:8080"], "waitress listens there unless told"),
    },
)
