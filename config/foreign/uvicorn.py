"""uvicorn's options (0.54), and those of ``fastapi run``, which is uvicorn."""

from __future__ import annotations

from typing import Any, Final

from gwctl.config.foreign import convert, reasons
from gwctl.config.foreign.option import COVERED, Near, Option, Server, Several, becomes, nothing


def _interface(value: Any, near: Near) -> Any:
    """ASGI is found out; a WSGI application runs in threads, as uvicorn runs it."""
    del near
    given = str(value).lower()
    return "threads" if given == "wsgi" else "asgi" if given.startswith("asgi") else COVERED


def _concurrency(value: Any, near: Near) -> Any:
    """Beyond it uvicorn answers 503."""
    return Several({"requests_max": convert.number(value, near), "overload": "refuse"})


def _access_log(value: Any, near: Near) -> Any:
    del near
    return "stdout" if convert.is_yes(value) else COVERED


def _proxy_headers(value: Any, near: Near) -> Any:
    del near
    return COVERED if convert.is_yes(value) else Several({"trusted_proxies": []})


def _pythonpath(value: Any, near: Near) -> Any:
    del near
    return [str(value)] if str(value) not in {"", "."} else COVERED


def _queue(value: Any, near: Near) -> Any:
    """Messages there, bytes here: as many of 2 KiB."""
    return Several(
        {"websocket.queue_bytes_max": convert.number(value, near) * 2048},
        "uvicorn counts messages, gwctl bytes",
    )


def _switch(name: str, target: str, told_off: str) -> tuple[Option, Option]:
    """``--NAME`` and ``--no-NAME`` of what gwctl does always."""
    flag = name.replace("_", "-")
    converted = convert.only_if_no(told_off)
    return (
        becomes(name, target, f"--{flag}", converted, told_off, takes="nothing"),
        becomes(name, target, f"--no-{flag}", converted, told_off, takes="nothing", const=False),
    )


_BIND: Final = (
    becomes("host", "bind", "--host", convert.host_port, "with `port`: HOST:PORT"),
    becomes("port", "bind", "--port", convert.port_of_host("127.0.0.1"), "with `host`: HOST:PORT"),
    becomes("uds", "bind", "--uds", convert.unix, "unix:PATH"),
    becomes("fd", "bind", "--fd", convert.descriptor, "fd:N"),
    becomes("backlog", "backlog", "--backlog", convert.number),
)
_WORKERS: Final = (
    becomes("workers", "processes", "--workers", convert.number, variable="WEB_CONCURRENCY"),
    becomes("loop", "loop", "--loop", convert.asyncio_loop, "uvloop is the default"),
    nothing("http", "The engine is gwctl's own", "--http"),
    nothing(
        "http2",
        reasons.HTTP2,
        "--http2",
        takes="nothing",
    ),
    becomes("lifespan", "lifespan", "--lifespan", convert.text),
    becomes("interface", "worker", "--interface", _interface, "WSGI is `threads`"),
    becomes(
        "limit_concurrency",
        "requests_max",
        "--limit-concurrency",
        _concurrency,
        'with overload = "refuse": 503',
    ),
    becomes("limit_max_requests", "recycle.requests_max", "--limit-max-requests", convert.max_requests),
    becomes(
        "limit_max_requests_jitter",
        "recycle.jitter_percent",
        "--limit-max-requests-jitter",
        convert.jitter,
        "a percentage of the limit, which grows by it",
    ),
    becomes("timeout_keep_alive", "timeouts.keepalive_timeout_s", "--timeout-keep-alive", convert.seconds),
    becomes(
        "timeout_graceful_shutdown",
        "timeouts.drain_timeout_s",
        "--timeout-graceful-shutdown",
        convert.seconds,
    ),
    becomes(
        "timeout_worker_healthcheck",
        "timeouts.boot_timeout_s",
        "--timeout-worker-healthcheck",
        convert.covered,
        "left out: a worker's own loop says that it lives, and a boot has its own limit",
    ),
    nothing(
        "reset_contextvars",
        "Each request is a task with a context of its own",
        "--reset-contextvars",
        takes="nothing",
    ),
)
_RELOAD: Final = (
    nothing("reload", reasons.NOT_WATCHED, "--reload", takes="nothing"),
    nothing("reload_dir", reasons.NOT_WATCHED, "--reload-dir", takes="list"),
    nothing("reload_include", reasons.NOT_WATCHED, "--reload-include", takes="list"),
    nothing("reload_exclude", reasons.NOT_WATCHED, "--reload-exclude", takes="list"),
    nothing("reload_delay", reasons.NOT_WATCHED, "--reload-delay"),
)
_WEBSOCKETS: Final = (
    nothing("ws", "WebSockets are spoken by gwctl's own engine", "--ws"),
    becomes("ws_max_size", "websocket.message_bytes_max", "--ws-max-size", convert.number),
    becomes(
        "ws_max_queue", "websocket.queue_bytes_max", "--ws-max-queue", _queue, "bytes, 2 KiB for each message"
    ),
    becomes("ws_ping_interval", "websocket.ping_interval_s", "--ws-ping-interval", convert.seconds),
    becomes("ws_ping_timeout", "websocket.ping_timeout_s", "--ws-ping-timeout", convert.seconds),
    becomes(
        "ws_per_message_deflate", "websocket.per_message_deflate", "--ws-per-message-deflate", convert.switch
    ),
)
_APPLICATION: Final = (
    becomes("app", "app", convert=convert.application),
    becomes("factory", "app", "--factory", convert.covered, "module:factory()", takes="nothing"),
    becomes("app_dir", "pythonpath", "--app-dir", _pythonpath),
    becomes("env_file", "env_file", "--env-file", convert.text),
    becomes("root_path", "root_path", "--root-path", convert.root_path),
)
_LOGS: Final = (
    nothing("log_config", reasons.LOGGING, "--log-config"),
    becomes(
        "log_level", "master.log_level", "--log-level", convert.log_level, "critical is error, trace is debug"
    ),
    becomes("access_log", "access_log", "--access-log", _access_log, "stdout", takes="nothing"),
    becomes(
        "access_log",
        "access_log",
        "--no-access-log",
        _access_log,
        "off, the default",
        takes="nothing",
        const=False,
    ),
    nothing("use_colors", "Lines have no colours", "--use-colors --no-use-colors", takes="nothing"),
)
_PROXY: Final = (
    becomes(
        "proxy_headers",
        "trusted_proxies",
        "--proxy-headers",
        _proxy_headers,
        "on is the default",
        takes="nothing",
    ),
    becomes(
        "proxy_headers",
        "trusted_proxies",
        "--no-proxy-headers",
        _proxy_headers,
        "off: an empty list",
        takes="nothing",
        const=False,
    ),
    becomes(
        "forwarded_allow_ips",
        "trusted_proxies",
        "--forwarded-allow-ips",
        convert.trusted,
        variable="FORWARDED_ALLOW_IPS",
    ),
    *_switch(
        "server_header",
        "",
        "The Server field is gwctl's unless the application sets it: have a proxy take it out",
    ),
    *_switch("date_header", "", "Every response has a Date"),
    nothing(
        "header",
        "Fields of all responses belong into middleware of the application, or a proxy",
        "--header",
        takes="list",
    ),
)
_TLS: Final = (
    becomes("ssl_keyfile", "tls.key", "--ssl-keyfile", convert.one_file),
    becomes(
        "ssl_certfile", "tls.certificate", "--ssl-certfile", convert.one_file, "and `tls:` before the address"
    ),
    nothing(
        "ssl_keyfile_password",
        reasons.KEY_PASSWORD,
        "--ssl-keyfile-password",
    ),
    becomes("ssl_version", "tls.minimum_version", "--ssl-version", convert.tls_version),
    becomes("ssl_cert_reqs", "tls.verify", "--ssl-cert-reqs", convert.verify),
    becomes("ssl_ca_certs", "tls.client_ca", "--ssl-ca-certs", convert.text),
    becomes("ssl_ciphers", "tls.ciphers", "--ssl-ciphers", convert.text),
)
_OTHERS: Final = (
    becomes(
        "h11_max_incomplete_event_size",
        "limits.head_bytes_max",
        "--h11-max-incomplete-event-size",
        convert.number,
    ),
    nothing("version", "gwctl --version", "--version", takes="nothing"),
)

OPTIONS: Final[tuple[Option, ...]] = (
    *_APPLICATION,
    *_BIND,
    *_WORKERS,
    *_RELOAD,
    *_WEBSOCKETS,
    *_LOGS,
    *_PROXY,
    *_TLS,
    *_OTHERS,
)
_DEFAULTS: Final = {
    "processes": (1, 'uvicorn has one unless told; "auto": by CPUs and memory'),
    "access_log": ("stdout", "uvicorn writes one unless told"),
}
SERVER: Final = Server("uvicorn", ("uvicorn", "uvicorn.main"), OPTIONS, _DEFAULTS, "UVICORN_")
FASTAPI: Final = Server(
    "fastapi",
    ("fastapi", "fastapi run", "fastapi dev"),
    (
        *(each for each in OPTIONS if not {"--host", "--port"} & set(each.flags)),
        becomes("host", "bind", "--host", convert.host_port),
        becomes("port", "bind", "--port", convert.port_of_host("0.0.0.0")),
        nothing("entrypoint", "The application is `app`", "--entrypoint -e"),
        becomes("app_name", "app", "--app", convert.covered),
        nothing("no_reload", reasons.NOT_WATCHED, "--no-reload", takes="nothing"),
    ),
    {**_DEFAULTS, "bind": (["0.0.0.0:8000"], "fastapi run listens there unless told")},
)
