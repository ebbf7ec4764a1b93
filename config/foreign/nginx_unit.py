"""The settings of NGINX Unit's applications in Python, with dots between the names of its objects."""

from __future__ import annotations

from typing import Any, Final

from gwctl.config.foreign import convert, reasons
from gwctl.config.foreign.option import COVERED, Near, NoCounterpart, Server, Several, becomes, nothing


def _module(value: Any, near: Near) -> Any:
    attribute = str(near.get("callable") or "application")
    return convert.as_app(f"{value}:{attribute}", factory=near.get("factory") is True)


def _processes_max(value: Any, near: Near) -> Any:
    least = max(1, convert.count_of(near, "processes.spare"))
    return Several({"processes": {"min": least, "max": convert.number(value, near)}})


def _threads(value: Any, near: Near) -> Any:
    count = convert.number(value, near)
    if near.get("protocol") == "asgi":
        raise NoCounterpart(
            "an ASGI application runs in one loop for each worker: `processes` is what there is"
        )
    return Several({"worker": "threads", "threads": count}) if count > 1 else COVERED


def _protocol(value: Any, near: Near) -> Any:
    if value == "asgi":
        return "asgi"
    return COVERED if convert.count_of(near, "threads") > 1 else "sync"


def _environment(value: Any, near: Near) -> dict[str, str]:
    del near
    if not isinstance(value, dict):
        raise NoCounterpart("it is no object")
    return {str(name): str(each) for name, each in value.items()}


def _pythonpath(value: Any, near: Near) -> list[str]:
    del near
    return convert.listed(value)


OPTIONS: Final = (
    becomes("module", "app", convert=_module, told="with `callable` and `factory`"),
    becomes("callable", "app", convert=convert.covered, told="with `module`"),
    becomes("factory", "app", convert=convert.covered, told="module:factory()"),
    becomes("protocol", "worker", convert=_protocol, told="asgi; wsgi is `sync`, with threads `threads`"),
    becomes(
        "listeners",
        "bind",
        convert=convert.addresses,
        told="`*:80` is :80; with a certificate `tls:` in front",
    ),
    becomes("processes", "processes", convert=convert.number),
    becomes("processes.max", "processes", convert=_processes_max, told="with `processes.spare`: a table"),
    becomes("processes.spare", "processes", convert=convert.covered, told="`min`"),
    nothing("processes.idle_timeout", "[pool.NAME.processes] has `shrink_after_s`"),
    becomes("threads", "threads", convert=_threads, told="with WSGI"),
    nothing("thread_stack_size", "Threads have the stack that Python gives them"),
    becomes("path", "pythonpath", convert=_pythonpath, told="a list"),
    becomes("home", "", convert=reasons.another_python, told=reasons.ANOTHER_PYTHON),
    becomes("working_directory", "chdir", convert=convert.text),
    becomes("user", "user", convert=convert.text),
    becomes("group", "group", convert=convert.text),
    becomes("prefix", "root_path", convert=convert.root_path),
    becomes(
        "environment",
        "env",
        convert=_environment,
    ),
    becomes("limits.timeout", "timeouts.request_timeout_s", convert=convert.seconds),
    becomes("limits.requests", "recycle.requests_max", convert=convert.number),
    nothing("isolation", "The sandbox of `gwctl unit` is systemd's"),
    becomes(
        "stdout",
        "log.to",
        convert=convert.covered,
        told="what workers print goes to the master's",
    ),
    becomes("stderr", "log.to", convert=convert.event_log),
    becomes("settings.http.max_body_size", "limits.body_bytes_max", convert=convert.number),
    becomes("settings.http.header_read_timeout", "timeouts.header_timeout_s", convert=convert.seconds),
    becomes("settings.http.body_read_timeout", "timeouts.body_timeout_s", convert=convert.seconds),
    becomes("settings.http.send_timeout", "timeouts.response_timeout_s", convert=convert.seconds),
    becomes("settings.http.idle_timeout", "timeouts.keepalive_timeout_s", convert=convert.seconds),
    becomes("access_log", "access_log", convert=convert.access_log),
    nothing("access_log.format", "Its fields have other names: see `access_log_format` in logs.md"),
    becomes("forwarded.source", "trusted_proxies", convert=convert.texts),
    nothing(
        "tls.certificate",
        "Unit keeps certificates itself: name their files in [pool.NAME.tls], and `tls:` in `bind`",
    ),
    nothing("routes", "Routes and static files are for the proxy in front"),
    nothing("targets", "Several applications in one: a pool for each, and the proxy in front chooses"),
)
SERVER: Final = Server("NGINX Unit", (), OPTIONS, {"processes": (1, "Unit has one unless told")})
