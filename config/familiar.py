"""What settings are called elsewhere, so that whoever comes from there is told our word for it.

Names are of gunicorn, uvicorn, granian, hypercorn and uWSGI, in lower case with underscores.
A target is a setting below the pool, or ``master.`` and one of the master.
"""

from __future__ import annotations

from typing import Final

SETTINGS: Final = {
    "access_log_file": "access_log",
    "accesslog": "access_log",
    "address": "bind",
    "app_dir": "chdir",
    "app_module": "app",
    "application": "app",
    "binds": "bind",
    "blocking_threads": "threads",
    "callable": "app",
    "chmod_socket": "socket_mode",
    "cwd": "chdir",
    "dir": "chdir",
    "directory": "chdir",
    "environment": "env",
    "environment_file": "env_file",
    "envfile": "env_file",
    "factory": "app",
    "fd": "bind",
    "gid": "group",
    "forwarded_allow_ips": "trusted_proxies",
    "forwarder_headers": "forwarded_headers",
    "graceful_timeout": "timeouts.drain_timeout_s",
    "host": "bind",
    "http": "bind",
    "http_socket": "bind",
    "interface": "worker",
    "k": "worker",
    "keep_alive": "timeouts.keepalive_timeout_s",
    "keep_alive_timeout": "timeouts.keepalive_timeout_s",
    "keepalive": "timeouts.keepalive_timeout_s",
    "limit_nofile": "nofile",
    "limit_request_field_size": "limits.header_bytes_max",
    "limit_request_fields": "limits.headers_max",
    "limit_request_line": "limits.request_line_bytes_max",
    "listen": "bind",
    "log_level": "master.log_level",
    "loglevel": "master.log_level",
    "max_body_size": "limits.body_bytes_max",
    "max_fd": "nofile",
    "module": "app",
    "num_workers": "processes",
    "pid": "master.pidfile",
    "pid_file": "master.pidfile",
    "port": "bind",
    "proc_name": "master.name",
    "process_name": "master.name",
    "procname": "master.name",
    "python_path": "pythonpath",
    "raw_env": "env",
    "read_timeout": "timeouts.body_timeout_s",
    "script_name": "root_path",
    "shutdown_timeout": "timeouts.drain_timeout_s",
    "socket": "bind",
    "startup_timeout": "timeouts.boot_timeout_s",
    "target": "app",
    "trusted_hosts": "trusted_proxies",
    "timeout_graceful_shutdown": "timeouts.drain_timeout_s",
    "timeout_keep_alive": "timeouts.keepalive_timeout_s",
    "timeout_worker_healthcheck": "timeouts.boot_timeout_s",
    "uds": "bind",
    "uid": "user",
    "url_path_prefix": "root_path",
    "w": "processes",
    "worker_class": "worker",
    "worker_type": "worker",
    "workers": "processes",
    "workers_kill_timeout": "timeouts.drain_timeout_s",
    "working_dir": "chdir",
    "working_directory": "chdir",
    "wsgi": "app",
    "wsgi_app": "app",
    "wsgi_file": "app",
}

_TLS: Final = "There is no TLS yet: put a proxy such as nginx in front"
_PRELOAD: Final = "Each worker imports the application by itself, after the fork"
_REQUESTS_MAX: Final = "There are no limits yet after which a worker is replaced"
_PROXY: Final = "Forwarded headers are read from `trusted_proxies`; an empty list turns that off"

NOTES: Final = {
    "certfile": _TLS,
    "daemon": "gwctl stays in the foreground: let systemd keep it running",
    "daemonize": "gwctl stays in the foreground: let systemd keep it running",
    "error_log": "Events go to stderr",
    "errorlog": "Events go to stderr",
    "keyfile": _TLS,
    "lifespan": "An ASGI application that knows lifespan has one, and a startup that fails ends the boot",
    "loop": "Every worker runs on uvloop",
    "max_requests": _REQUESTS_MAX,
    "max_requests_jitter": _REQUESTS_MAX,
    "preload": _PRELOAD,
    "preload_app": _PRELOAD,
    "proxy_headers": _PROXY,
    "reload": "Files are not watched: run gwctl reload after a change",
    "reuse_port": "Workers share one listener, so that none that dies takes waiting connections with it",
    "ssl_certfile": _TLS,
    "ssl_keyfile": _TLS,
    "timeout": "Each thing has its own: boot_timeout_s, body_timeout_s, response_timeout_s, drain_timeout_s",
    "worker_tmp_dir": "Heartbeats are in shared memory: nothing is written to a folder",
}
"""Names that have no counterpart, with what to know instead: a sentence without its full stop."""

WORDS: Final = {
    "worker": {
        "asyncio": "asgi",
        "async": "asgi",
        "gthread": "threads",
        "thread": "threads",
        "threaded": "threads",
        "uvicorn": "asgi",
        "uvicorn.workers.uvicornh11worker": "asgi",
        "uvicorn.workers.uvicornworker": "asgi",
        "uvicorn_worker.uvicornworker": "asgi",
        "wsgi": "sync",
        "gevent": "threads",
        "eventlet": "threads",
    },
    "log_level": {
        "critical": "error",
        "err": "error",
        "fatal": "error",
        "notice": "info",
        "trace": "debug",
        "verbose": "debug",
        "warn": "warning",
    },
}
"""Values of settings that choose one of several words, in lower case."""
