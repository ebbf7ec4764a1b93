"""The options of uWSGI (2.0) that are met most."""

from __future__ import annotations

from typing import Any, Final

from gwctl.config.foreign import convert, reasons
from gwctl.config.foreign.option import (
    COVERED,
    Near,
    NoCounterpart,
    Option,
    Server,
    Several,
    becomes,
    nothing,
)

_HTTP_NOW: Final = (
    "it speaks HTTP: in nginx write `proxy_pass http://...` in place of `uwsgi_pass`, with the Host, X-Forwarded-For "
    "and X-Forwarded-Proto fields"
)
_ALWAYS: Final = "It is so always"
_OWN_SERVICE: Final = "gwctl serves HTTP alone: run it as a service of its own, beside"
_ONE_STATUS: Final = "gwctl status and gwctl top show it; [admin] bind has metrics and the dashboard"
_ROUTING: Final = "Routing and headers are for the proxy in front, or middleware of the application"
_NO_LOOP: Final = 'worker = "threads" or an ASGI application serve many at once: there are no green threads'
_PLUGIN: Final = "There are no plugins: gwctl runs Python, the one that it is installed for"
_NO_LANGUAGE: Final = "gw.toml has no such language: write out what it says"
_CACHES: Final = "There is nothing shared between workers: take Redis, memcached or a database"
_EMPEROR: Final = "A [pool.NAME] for each application, or `gwctl unit --template`: one unit for many folders"
_SWITCHES: Final = frozenset(
    {
        "asyncio_loop", "cheap", "emperor_tyrant", "enable_metrics", "freebind", "gevent_early_monkey_patch",
        "gevent_monkey_patch", "greenlet", "http_websockets", "log_micros", "log_zero", "memory_report_full", "reuse_port",
        "static_gzip_all", "static_safe", "stats_http", "stats_minified", "ugreen", "wsgi_disable_file_wrapper",
        "hsts", "endfor", "endif",
    }
)  # fmt: skip
_LOGS: Final = "Events go to `log.to`, requests to `access_log`: see logs.md"
_HOOKS: Final = "Commands before and after belong into the unit: ExecStartPre=, ExecStopPost="


def _module(value: Any, near: Near) -> Any:
    """``module = shop.wsgi`` with ``callable = app``, or ``module = shop.wsgi:app``."""
    usual = str(near.get("callable") or "application")
    given = str(value)
    module, colon, attribute = given.partition(":")
    if "(" in given and not colon:
        raise NoCounterpart('write "module:factory()"')
    return convert.as_app(f"{module}:{attribute}" if attribute else module, usual=usual)


def _file(value: Any, near: Near) -> Any:
    """A path, whose folder is to be on sys.path."""
    path = str(value)
    module = convert.as_app(path.rpartition("/")[2], usual=str(near.get("callable") or "application"))
    folder = path.rpartition("/")[0]
    if not module.partition(":")[0].isidentifier():
        raise NoCounterpart("its name is none of a module: rename it, and name it in `app`")
    return Several({"app": module, **({"pythonpath": [folder]} if folder not in {"", "."} else {})})


def _callable(value: Any, near: Near) -> Any:
    del value
    if near.get("module") or near.get("wsgi_file"):
        return COVERED
    raise NoCounterpart("it needs `module` or `wsgi-file` beside it")


def _mount(value: Any, near: Near) -> Any:
    given = convert.listed(value) or [""]
    path, _, target = given[0].partition("=")
    if len(given) > 1:
        raise NoCounterpart(
            "several applications under several paths: a pool for each, and the proxy in front chooses"
        )
    settings: dict[str, Any] = {
        "app": convert.as_app(target, usual=str(near.get("callable") or "application"))
    }
    if path.strip("/"):
        settings["root_path"] = f"/{path.strip('/')}"
    return Several(settings)


def _socket(value: Any, near: Near) -> Any:
    del near
    found = [convert.address(each) for each in convert.many(value)]
    return Several({"bind": found}, _HTTP_NOW)


def _https(value: Any, near: Near) -> Any:
    """``address,certificate,key,ciphers,client CA``."""
    del near
    given = next(iter(convert.listed(value)), "").removeprefix("=").split(",")
    address, certificate, key, ciphers, ca = [*given, "", "", "", "", ""][:5]
    settings: dict[str, Any] = {"bind": [f"tls:{convert.address(address)}"], "tls.certificate": [certificate]}
    settings |= {"tls.key": [key]} if key else {}
    settings |= {"tls.ciphers": ciphers} if ciphers else {}
    settings |= {"tls.client_ca": ca.lstrip("!"), "tls.verify": "required"} if ca else {}
    return Several(settings)


def _chown(value: Any, near: Near) -> Any:
    del near
    user, _, group = str(value).partition(":")
    return Several({"socket_user": user, **({"socket_group": group} if group else {})})


def _chmod(value: Any, near: Near) -> Any:
    return "666" if value is True or str(value).lower() == "true" else convert.octal(str(value), near)


def _cheaper(value: Any, near: Near) -> Any:
    most = convert.count_of(near, "processes")
    return Several({"processes": {"min": max(1, convert.number(value, near)), "max": most or "auto"}})


def _processes(value: Any, near: Near) -> Any:
    if near.get("cheaper") is not None and str(near["cheaper"]).strip() not in {"0", "false", "False"}:
        return COVERED
    return convert.number(value, near)


def _threads(value: Any, near: Near) -> Any:
    count = convert.number(value, near)
    return Several({"worker": "threads", "threads": count}) if count > 1 else COVERED


def _daemonize(value: Any, near: Near) -> Any:
    del near
    return Several(
        {"log.to": str(value)} if "/" in str(value) else {},
        reasons.FOREGROUND,
    )


def _log_to(value: Any, near: Near) -> Any:
    given = str(value)
    return convert.event_log(given, near) if ":" not in given else Several({"log.to": _destination(given)})


def _destination(given: str) -> str:
    kind, _, rest = given.partition(":")
    if kind == "file":
        return rest
    if kind in {"syslog", "rsyslog"}:
        return "syslog"
    raise NoCounterpart("there is no such logger: see `log.to` in logs.md")


def _request_log(value: Any, near: Near) -> Any:
    del near
    kind, colon, rest = str(value).partition(":")
    if kind == "file":
        return Several({"access_log": rest})
    return Several({"access_log": "stdout"}) if not colon or kind == "stdio" else _no_request_log()


def _no_request_log() -> Any:
    raise NoCounterpart("the access log goes to stdout or a file")


def _disable_logging(value: Any, near: Near) -> Any:
    del near
    return COVERED if convert.is_yes(value) else Several({"access_log": "stdout"})


def _stats(value: Any, near: Near) -> Any:
    """Its own JSON there; ours has other fields."""
    del near
    given = convert.address(str(value))
    if given.startswith("unix:") or not given.startswith(("127.", "localhost", "[::1]")):
        raise NoCounterpart(_ONE_STATUS)
    return Several({"admin.bind": [given]}, "metrics, probes and the dashboard, by HTTP; no uwsgitop")


def _always(*names: str) -> tuple[Option, ...]:
    return tuple(becomes(name, "", _flag(name), convert.covered, _ALWAYS, takes="maybe") for name in names)


def _none(told: str, *names: str) -> tuple[Option, ...]:
    return tuple(
        nothing(name, told, _flag(name), takes="nothing" if name in _SWITCHES else "value") for name in names
    )


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _one(
    name: str, target: str, converted: Any, told: str = "", *, flags: str = "", takes: Any = "value"
) -> Option:
    return becomes(name, target, f"{_flag(name)} {flags}", converted, told, takes=takes)


_APP: Final = (
    _one("module", "app", _module, "with `callable`", flags="-w --wsgi --wsgi-module"),
    _one("wsgi_file", "app", _file, "and its folder in `pythonpath`", flags="--file"),
    _one("callable", "app", _callable, "module:callable"),
    _one("mount", "app", _mount, "one; with `root_path`", takes="list"),
    _one("chdir", "chdir", convert.text),
    _one("chdir2", "chdir", convert.text),
    _one(
        "pythonpath",
        "pythonpath",
        lambda value, _near: convert.listed(value),
        "a list",
        flags="--python-path --pp",
        takes="list",
    ),
    _one(
        "virtualenv",
        "",
        reasons.another_python,
        reasons.ANOTHER_PYTHON,
        flags="-H --home --venv --pyhome",
    ),
    _one("env", "env", convert.variables, "a table", takes="list"),
)
_BIND: Final = (
    _one(
        "socket",
        "bind",
        _socket,
        _HTTP_NOW[0].upper() + _HTTP_NOW[1:],
        flags="-s --uwsgi-socket",
        takes="list",
    ),
    _one("http", "bind", convert.addresses, takes="list"),
    _one("http_socket", "bind", convert.addresses, takes="list"),
    _one("https", "bind", _https, "with `tls`", takes="list"),
    _one("https_socket", "bind", _https, "with `tls`", takes="list"),
    _one("listen", "backlog", convert.number, flags="-l"),
    _one("chmod_socket", "socket_mode", _chmod, flags="-C", takes="maybe"),
    _one("chown_socket", "socket_user", _chown, "and `socket_group`"),
)
_PROCESSES: Final = (
    _one("processes", "processes", _processes, flags="-p --workers"),
    _one("cheaper", "processes", _cheaper, "`min` of `processes`, which is its `max`"),
    _one("threads", "threads", _threads, 'with worker = "threads"'),
    _one(
        "max_requests",
        "recycle.requests_max",
        convert.max_requests,
        flags="-R",
    ),
    _one("max_requests_delta", "recycle.jitter_percent", convert.jitter, "a percentage"),
    _one("max_worker_lifetime", "recycle.age_max_s", convert.seconds),
    _one("reload_on_rss", "recycle.memory_soft_bytes", convert.mebibytes, "bytes"),
    _one("evil_reload_on_rss", "recycle.memory_hard_bytes", convert.mebibytes, "bytes"),
    _one("harakiri", "timeouts.request_timeout_s", convert.seconds, flags="-t"),
    _one("worker_reload_mercy", "timeouts.drain_timeout_s", convert.seconds),
    _one("reload_mercy", "timeouts.drain_timeout_s", convert.seconds),
    _one("http_timeout", "timeouts.body_timeout_s", convert.seconds),
    _one("socket_timeout", "timeouts.body_timeout_s", convert.seconds, flags="-z"),
    _one(
        "http_keepalive",
        "",
        convert.only_if_no("Connections are kept alive: `timeouts.keepalive_timeout_s`"),
        _ALWAYS,
        takes="maybe",
    ),
)
_PROCESS: Final = (
    _one("uid", "user", convert.text),
    _one("gid", "group", convert.text),
    _one("umask", "umask", lambda value, near: convert.octal(str(value), near)),
    _one("max_fd", "nofile", convert.number),
    _one("pidfile", "master.pidfile", convert.text, flags="--safe-pidfile"),
    _one("pidfile2", "master.pidfile", convert.text, flags="--safe-pidfile2"),
    _one(
        "procname_prefix",
        "master.name",
        lambda value, _near: str(value).strip(" -_:"),
        flags="--procname-prefix-spaced --procname --procname-master",
    ),
    _one("buffer_size", "limits.head_bytes_max", convert.number, flags="-b"),
    _one("post_buffering", "limits.body_memory_bytes", convert.if_not_zero(convert.number)),
    _one("limit_post", "limits.body_bytes_max", convert.number),
    _one(
        "daemonize",
        "log.to",
        _daemonize,
        "the file of it; gwctl stays in the foreground",
        flags="-d --daemonize2",
    ),
    _one("logto", "log.to", _log_to, flags="--logto2"),
    _one("logger", "log.to", _log_to),
    _one("req_logger", "access_log", _request_log, "a file or stdout"),
    _one("disable_logging", "access_log", _disable_logging, "off is the default", flags="-L", takes="maybe"),
    _one("stats", "admin.bind", _stats, "metrics and the dashboard by HTTP", flags="--stats-server"),
    nothing(
        "log_format",
        "Its fields have other names: see `access_log_format` in logs.md",
        "--log-format --logformat",
    ),
    nothing(
        "lazy_apps",
        "Each worker imports the application, unless `preload` is set",
        "--lazy-apps --lazy",
        takes="maybe",
    ),
)
_AS_IT_IS: Final = _always(
    "master", "enable_threads", "single_interpreter", "need_app", "strict", "vacuum", "die_on_term", "no_orphans",
    "thunder_lock", "auto_procname", "ignore_sigpipe", "ignore_write_errors", "disable_write_exception", "py_call_osafterfork",
    "harakiri_verbose", "so_keepalive", "tcp_nodelay", "http_auto_chunked", "http_chunked_input", "log_x_forwarded_for", "memory_report", "master_fifo",
    "log_master", "threaded_logger", "http_enable_proxy_protocol", "http_raw_body", "manage_script_name", "catch_exceptions",
    "log_reopen", "no_default_app", "chain_reload", "honour_stdin", "show_config", "if_not_env",
)  # fmt: skip
_WITHOUT: Final = (
    *_none(_PLUGIN, "plugin", "plugins", "plugins_dir", "need_plugin", "plugin_dir"),
    *_none(reasons.STATIC, "static_map", "static_map2", "static_index", "check_static", "static_expires", "static_gzip_all", "static_safe", "offload_threads"),
    *_none(_OWN_SERVICE, "attach_daemon", "attach_daemon2", "smart_attach_daemon", "legion_attach_daemon", "cron", "cron2", "unique_cron", "spooler", "spooler_processes", "mule", "mules", "farm", "import", "shared_import"),
    *_none(reasons.NOT_WATCHED, "py_autoreload", "python_autoreload", "touch_reload", "touch_chain_reload", "touch_workers_reload", "fs_reload"),
    *_none(_ONE_STATUS, "stats_http", "stats_minified", "memory_report_full", "carbon", "metric", "enable_metrics", "py_tracebacker"),
    *_none(_ROUTING, "route", "route_host", "route_uri", "route_if", "add_header", "response_header", "http_to", "fastrouter", "rewrite", "collect_header", "hsts"),
    *_none(_NO_LOOP, "gevent", "gevent_monkey_patch", "gevent_early_monkey_patch", "asyncio", "async", "ugreen", "greenlet", "loop", "http_websockets"),
    *_none(_NO_LANGUAGE, "for", "endfor", "if_env", "if_exists", "if_file", "if_dir", "endif", "ini", "include", "inherit", "yaml", "json", "xml"),
    *_none(_CACHES, "cache", "cache2", "sharedarea", "queue", "locks"),
    *_none(_EMPEROR, "emperor", "vassals_include", "vassal_set", "emperor_tyrant", "subscribe_to", "zerg", "zerg_server"),
    *_none(_LOGS, "log_4xx", "log_5xx", "log_slow", "log_big", "log_zero", "log_date", "log_maxsize", "log_backupname", "log_encoder", "log_prefix", "log_micros"),
    *_none(_HOOKS, "exec_asap", "exec_pre_jail", "exec_post_jail", "exec_in_jail", "exec_as_root", "exec_as_user", "exec_pre_app", "exec_post_app", "hook_master_start", "hook_post_app", "hook_pre_app", "hook_as_root", "hook_as_user", "hook_accepting1", "hook_post_fork", "exit_on_reload"),
    *_none("[pool.NAME.processes] has `busy` and `shrink_after_s`: see scaling.md", "cheaper_initial", "cheaper_algo", "cheaper_step", "cheaper_overload", "cheaper_busyness_max", "cheaper_busyness_min", "cheaper_busyness_multiplier", "cheaper_rss_limit_soft", "cheaper_rss_limit_hard", "idle", "cheap"),
    *_none("`recycle.memory_soft_bytes` is by resident memory", "reload_on_as", "limit_as", "evil_reload_on_as"),
    *_none("Workers are begun again after growing waits: the [crash] table", "worker_lifetime", "min_worker_lifetime", "forkbomb_delay", "respawn_delay"),
    *_none("Let systemd do it: CPUAffinity=, Nice=, the sandbox of `gwctl unit`", "cpu_affinity", "nice", "chroot", "namespace", "cap", "cgroup"),
    *_none("HTTP is spoken alone: `proxy_pass http://...` in nginx", "protocol", "socket_protocol", "fastcgi_socket", "scgi_socket", "uwsgi_modifier1", "http_modifier1", "raw_socket"),
    *_none("Workers share one listener, so that none that dies takes waiting connections with it", "reuse_port", "freebind"),
    *_none("sendfile is used where the kernel can", "wsgi_disable_file_wrapper", "wsgi_env_behaviour"),
    *_none("Set it in `env`: PYTHONOPTIMIZE, PYTHONHASHSEED", "optimize", "pyargv", "py_sharedir"),
    *_none("There is one kind of signal at the end: gwctl stop, or SIGTERM", "hook_touch", "touch_logreopen", "touch_logrotate", "mule_reload_mercy"),
)  # fmt: skip

OPTIONS: Final[tuple[Option, ...]] = (*_APP, *_BIND, *_PROCESSES, *_PROCESS, *_AS_IT_IS, *_WITHOUT)
ALIASES: Final = {
    "workers": "processes",
    "wsgi": "module",
    "wsgi_module": "module",
    "file": "wsgi_file",
    "home": "virtualenv",
    "venv": "virtualenv",
    "pyhome": "virtualenv",
    "pp": "pythonpath",
    "python_path": "pythonpath",
    "uwsgi_socket": "socket",
    "safe_pidfile": "pidfile",
    "safe_pidfile2": "pidfile2",
    "daemonize2": "daemonize",
    "logto2": "logto",
    "logformat": "log_format",
    "stats_server": "stats",
    "procname": "procname_prefix",
    "procname_master": "procname_prefix",
    "procname_prefix_spaced": "procname_prefix",
    "lazy": "lazy_apps",
}
SERVER: Final = Server(
    "uWSGI",
    ("uwsgi", "uwsgi-core", "pyuwsgi"),
    OPTIONS,
    {
        "processes": (1, 'uWSGI has one unless told; "auto": by CPUs and memory'),
        "access_log": ("stdout", "uWSGI logs each request unless told"),
    },
)
