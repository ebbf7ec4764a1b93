"""From values as other servers have them to those of our settings.

A value comes as a text from a command line or an ini, and as itself from Python, TOML, YAML and JSON.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from gwctl.config import foreign_names, statsd_target
from gwctl.config.foreign.option import COVERED, Convert, Near, NoCounterpart, Several

_YES: Final = frozenset({"1", "true", "t", "yes", "y", "on", "enabled"})
_NO: Final = frozenset({"0", "false", "f", "no", "n", "off", "disabled", "none", ""})
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)?")
_UNIT_S: Final = {
    None: 1.0,
    "ms": 0.001,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
    "d": 86_400.0,
    "w": 604_800.0,
}
_SIZE: Final = re.compile(r"(\d+)\s*([kmg]?)i?b?", re.IGNORECASE)
_UNIT_BYTES: Final = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}
STREAMS: Final = frozenset({"-", "/dev/stdout", "/proc/1/fd/1", "/proc/self/fd/1", "/dev/fd/1", "stdout"})
ERROR_STREAMS: Final = frozenset(
    {"-", "/dev/stderr", "/proc/1/fd/2", "/proc/self/fd/2", "/dev/fd/2", "stderr"}
)
_UVICORN_WORKERS: Final = re.compile(r"uvicorn(_worker|\.workers)\.", re.IGNORECASE)
_JITTERS: Final = ("max_requests_jitter", "limit_max_requests_jitter", "max_requests_delta")
AT_START: Final = re.compile(r"\$(?:\{|[A-Za-z_])")
"""In a value: a variable that is known at start only."""


# ---- plain values


def number(value: Any, near: Near) -> int:
    """Take a whole number."""
    del near
    if isinstance(value, bool):
        raise NoCounterpart("it is no number")
    try:
        return int(str(value).strip().replace("_", ""), 0)
    except ValueError:
        pass
    try:
        return int(float(value))
    except (TypeError, ValueError, OverflowError):
        raise NoCounterpart("it is no number") from None


def seconds(value: Any, near: Near) -> float | int:
    """Take seconds, also as ``1h30m``."""
    del near
    text = str(value).strip().lower()
    parts = _DURATION.findall(text)
    if not parts or _DURATION.sub("", text).strip():
        raise NoCounterpart("it is no time")
    return plain(sum(float(count) * _UNIT_S[unit or None] for count, unit in parts))


def milliseconds(value: Any, near: Near) -> float | int:
    return plain(seconds(value, near) / 1000)


def positive_seconds(what: str) -> Convert:
    """Take seconds of something that always has a limit here; 0 means none there."""

    def convert(value: Any, near: Near) -> float | int:
        given = seconds(value, near)
        if given <= 0:
            raise NoCounterpart(f"{what} always has a limit here: leave it at its default, or set a long one")
        return given

    return convert


def plain(value: float) -> float | int:
    """Leave no ``.0``."""
    return int(value) if float(value).is_integer() else round(value, 6)


def count_of(near: Near, *names: str) -> int:
    """A number of another option, the first that is given; 0 if it is none."""
    for name in names:
        if near.get(name) is not None:
            try:
                return number(near[name], near)
            except NoCounterpart:
                return 0
    return 0


def listed(value: Any) -> list[str]:
    """Take one text, or several."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        return [str(value)]
    return [str(each) for each in value]


def is_yes(value: Any) -> bool:
    """Take a switch; raises `NoCounterpart`."""
    text = str(value).strip().lower()
    if text in _YES:
        return True
    if text in _NO:
        return False
    raise NoCounterpart("it is neither yes nor no")


def switch(value: Any, near: Near) -> bool:
    del near
    return is_yes(value)


def covered(value: Any, near: Near) -> Several:
    """Take what is so already, or what another option's conversion takes along."""
    del value, near
    return COVERED


def text(value: Any, near: Near) -> str:
    """Take a text, or a number where a name may be."""
    del near
    return str(value)


def size(value: Any, near: Near) -> int:
    """Take bytes, also as ``512M``."""
    del near
    found = _SIZE.fullmatch(str(value).strip())
    if not found:
        raise NoCounterpart("it is no size")
    return int(found[1]) * _UNIT_BYTES[found[2].lower()]


def mebibytes(value: Any, near: Near) -> int:
    return number(value, near) * 1024**2


def octal(value: Any, near: Near) -> str:
    """Take permissions: a number as Python has it, or a text that is octal already."""
    del near
    if isinstance(value, int):
        return f"{value:03o}"
    digits = str(value).strip().removeprefix("0o")
    if not re.fullmatch("[0-7]{1,4}", digits):
        raise NoCounterpart("these are no permissions")
    return digits[-3:].rjust(3, "0")


def umask(value: Any, near: Near) -> Any:
    """Take ``022`` and ``0o22`` as octal, ``18`` as decimal; 0 is its default."""
    if isinstance(value, str):
        given = value.strip()
        value = int(given, 8) if re.fullmatch("0[0-7]+", given) else number(given, near)
    return octal(value, near) if value else COVERED


def many(value: Any) -> list[str]:
    """Take a list, or a text with commas."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    if isinstance(value, Iterable):
        return [part for each in value for part in many(str(each))]
    return [str(value)]


def texts(value: Any, near: Near) -> list[str]:
    del near
    return many(value)


def of_words(name: str, told: str = "") -> Convert:
    """Take one of some words, by what they are called elsewhere (`foreign_names.WORDS`)."""

    def convert(value: Any, near: Near) -> str:
        del near
        given = str(value).strip().lower()
        return foreign_names.WORDS[name].get(given, given)

    convert.__doc__ = told or convert.__doc__
    return convert


log_level = of_words("log_level")


def only_if_no(instead: str) -> Convert:
    """Take a switch of what gwctl does always: being on needs no word, off has no counterpart."""

    def convert(value: Any, near: Near) -> Any:
        del near
        if is_yes(value):
            return COVERED
        raise NoCounterpart(instead)

    return convert


def if_yes(target: str, value_there: Any) -> Convert:
    """Take a switch that is one value of a setting; off is no word about it."""

    def convert(value: Any, near: Near) -> Any:
        del near
        return Several({target: value_there}) if is_yes(value) else COVERED

    return convert


def if_not_zero(convert: Convert) -> Convert:
    """Take a limit of which 0 means none, as it does here."""

    def converted(value: Any, near: Near) -> Any:
        return convert(value, near) or COVERED

    return converted


# ---- addresses


def address(value: str, port: int | str = 8000) -> str:
    """Write an address as `bind` has it: ``0.0.0.0`` gets its port, URLs and ``fd://`` lose their marks."""
    given = value.strip()
    for scheme in ("tcp://", "http://", "https://"):
        given = given.removeprefix(scheme)
    given = given.replace("fd://", "fd:").replace("unix://", "unix:", 1)
    if given.startswith(("unix:", "fd:", "systemd:")):
        return given
    if given.startswith(("/", "./", "../", "@")) or given.endswith((".sock", ".socket")):
        return f"unix:{given}"
    if given.isdigit():
        return f"0.0.0.0:{given}"
    if given.startswith("["):
        return given if "]:" in given else f"{given}:{port}"
    if given.count(":") > 1:
        return f"[{given}]:{port}"
    host, colon, its_port = given.partition(":")
    host = {"*": "", "localhost": "localhost"}.get(host, host)
    return f"{host}:{its_port if colon and its_port else port}"


def addresses(value: Any, near: Near) -> list[str]:
    """Take one or several, with commas between them or as a list."""
    del near
    return [address(each) for each in many(value)]


def host_port(value: Any, near: Near) -> Any:
    """Take ``--host`` with the ``--port`` beside it."""
    if any(near.get(other) for other in ("uds", "unix_socket")) or near.get("fd") is not None:
        return COVERED
    return [address(_in_brackets(each), near.get("port", 8000)) for each in many(value)]


def _in_brackets(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def port_of_host(host: str) -> Convert:
    """Take ``--port`` where no ``--host`` is beside it; ``host`` is where the server listens then."""

    def convert(value: Any, near: Near) -> Any:
        others = ("host", "uds", "unix_socket", "bind", "listen")
        if any(near.get(other) for other in others) or near.get("fd") is not None:
            return COVERED
        return [f"{host}:{value}"]

    return convert


def unix(value: Any, near: Near) -> list[str]:
    del near
    return [f"unix:{str(value).removeprefix('unix:')}"]


def descriptor(value: Any, near: Near) -> Any:
    """Descriptors 0 to 2 are no listening sockets (a negative one is none at all)."""
    fd = number(value, near)
    return [f"fd:{fd}"] if fd >= 0 else COVERED


def trusted(value: Any, near: Near) -> list[str]:
    """Take proxies; the path of a Unix socket is whoever connects there."""
    del near
    return ["unix" if each.startswith(("/", "unix:")) else each for each in many(value)]


# ---- workers


def worker_class(value: Any, near: Near) -> Any:
    """Take gunicorn's worker class."""
    given = str(value).strip()
    plain_name = given.lower().rpartition(".")[2].removesuffix("worker")
    if _UVICORN_WORKERS.match(given):
        return "asgi"
    if "uvicorn" in plain_name:
        return Several({"worker": "asgi"}, f"{given} is a class of its own: see what else it does")
    if plain_name in {"sync", "gthread", "thread", "asgi"}:
        threads = count_of(near, "threads")
        kind = {"gthread": "threads", "thread": "threads"}.get(plain_name, plain_name)
        return "threads" if kind == "sync" and threads > 1 else kind
    if plain_name in {"gevent", "eventlet", "ggevent", "geventwsgi", "geventpywsgi"}:
        return _green_threads(plain_name, near)
    if plain_name in {"tornado", "gunicornweb", "gunicornuvloopweb"}:
        what = "Tornado" if plain_name == "tornado" else "aiohttp"
        raise NoCounterpart(f"an application of {what} is neither WSGI nor ASGI: it stays under gunicorn")
    raise NoCounterpart(f'{given} is a class of its own: see whether worker = "auto" serves the application')


def _green_threads(name: str, near: Near) -> Several:
    settings: dict[str, Any] = {"worker": "threads"}
    if count_of(near, "threads") <= 1:
        settings["threads"] = 64
    return Several(
        settings,
        f"{name.removeprefix('g') if name == 'ggevent' else name} patches Python, threads need no patching: take "
        "monkey.patch_all() out, and set threads to as many requests as a worker has at once",
    )


def threads(value: Any, near: Near) -> Any:
    """More than one thread is gunicorn's gthread, if the class is sync."""
    count = number(value, near)
    if count <= 1:
        return COVERED
    kind = near.get("worker_class")
    if kind is None or str(kind) == "sync":
        return Several({"worker": "threads", "threads": count})
    if "uvicorn" in str(kind).lower() or str(kind).lower() == "asgi":
        raise NoCounterpart(
            "an ASGI application runs in one loop for each worker: it has no threads there either"
        )
    return count


def asyncio_loop(value: Any, near: Near) -> Any:
    """Take a loop: uvloop is the default here, the others are asyncio or not had."""
    del near
    given = str(value).strip().lower()
    if given in {"auto", "uvloop", "none"}:
        return COVERED
    if given == "asyncio":
        return "asyncio"
    raise NoCounterpart(f'workers run on uvloop, or with loop = "asyncio" on Python\'s own; not on {given}')


def timeout(value: Any, near: Near) -> Any:
    """Take gunicorn's timeout, which is one of a request under sync, and elsewhere one of the worker's loop."""
    given = value if AT_START.search(str(value)) else seconds(value, near)
    name = str(near.get("worker_class") or "sync").lower()
    one_at_a_time = name.rpartition(".")[2] in {"sync", "syncworker"} and count_of(near, "threads") <= 1
    settings: dict[str, Any] = {
        "timeouts.request_timeout_s" if one_at_a_time else "timeouts.heartbeat_timeout_s": given
    }
    if not isinstance(given, str) and given > 60:
        settings["timeouts.boot_timeout_s"] = given
    return Several(settings)


def max_requests(value: Any, near: Near) -> Any:
    """With a jitter both are one conversion: that of the jitter."""
    given = number(value, near)
    return COVERED if not given or count_of(near, *_JITTERS) else given


def jitter(value: Any, near: Near) -> Any:
    """A number of requests there is a percentage of the limit here; the limit grows by it, as there."""
    extra, limit = (
        number(value, near),
        count_of(near, "max_requests", "limit_max_requests"),
    )
    if not extra or not limit:
        return COVERED
    percent = min(90, max(1, round(100 * extra / (limit + extra))))
    return Several({"recycle.requests_max": limit + extra, "recycle.jitter_percent": percent})


# ---- TLS


def tls_version(value: Any, near: Near) -> Any:
    """ssl.PROTOCOL_TLS and its kin choose the best there is, as gwctl does from 1.2 on."""
    del near
    given = str(value).strip().lower().rpartition(".")[2].replace("protocol_", "")
    known = {"5": "1.2", "tlsv1_2": "1.2", "tlsv1.2": "1.2", "tls1.2": "1.2"}
    known |= {"tlsv1_3": "1.3", "tlsv1.3": "1.3", "tls1.3": "1.3"}
    if given in {"2", "16", "17", "tls", "tls_server", "tls_client", "sslv23", "none", ""}:
        return COVERED
    if given in known:
        return COVERED if known[given] == "1.2" else known[given]
    raise NoCounterpart("TLS before 1.2 is not spoken")


def verify(value: Any, near: Near) -> Any:
    """ssl.CERT_NONE, CERT_OPTIONAL and CERT_REQUIRED, as names or numbers."""
    del near
    given = str(value).strip().lower().rpartition(".")[2].removeprefix("cert_")
    found = {"0": "none", "1": "optional", "2": "required", "true": "required", "false": "none"}.get(
        given, given
    )
    return COVERED if found == "none" else found


def one_file(value: Any, near: Near) -> list[str]:
    del near
    return [str(value)]


# ---- logs


def access_log(value: Any, near: Near) -> Any:
    """``-`` is stdout."""
    del near
    given = "" if value is None else str(value).strip()
    if given.lower() in {"", "none", "false"}:
        return COVERED
    if given in STREAMS:
        return "stdout"
    if given in ERROR_STREAMS:
        return Several({"access_log": "stdout"}, "the event log is on stderr, the access log on stdout")
    return given


def event_log(value: Any, near: Near) -> Any:
    """``-`` is stderr, where events go unless told."""
    del near
    given = "" if value is None else str(value).strip()
    return COVERED if given in ERROR_STREAMS | STREAMS | {"", "None"} else Several({"log.to": given})


def syslog(value: Any, near: Near) -> Any:
    if not is_yes(value):
        return COVERED
    where = str(near.get("syslog_addr") or "")
    found = re.fullmatch(r"udp://([^/#]+?)(?::(\d+))?(?:#.*)?", where)
    if found and found[1] not in {"localhost", "127.0.0.1"}:
        return Several({"log.to": f"syslog://{found[1]}:{found[2] or 514}"})
    return Several({"log.to": "syslog"}, "through /dev/log, as syslog(3) does")


def statsd(value: Any, near: Near) -> Any:
    given = str(value).strip() if not isinstance(value, tuple) else f"{value[0]}:{value[1]}"
    to = (
        f"unix:{given.removeprefix('unix:').removeprefix('//')}"
        if given.startswith("unix:")
        else f"udp://{given}"
    )
    if to.startswith("udp://") and ":" not in given:
        to += ":8125"
    try:
        statsd_target.parse(to)
    except statsd_target.TargetError as error:
        raise NoCounterpart(str(error)) from None
    tagged = bool(near.get("dogstatsd_tags"))
    settings = {
        "statsd.to": to,
        "statsd.format": "dogstatsd" if tagged else "plain",
        "statsd.gunicorn_names": True,
    }
    return Several(settings, "gunicorn_names sends the figures also under gunicorn's names: dashboards go on")


# ---- the rest


def variables(value: Any, near: Near) -> Any:
    """``NAME=value``, one or a list; a name alone is one that is set already."""
    del near
    pairs = {
        name: each
        for name, equals, each in (item.partition("=") for item in listed(value))
        if name and equals
    }
    return Several({"env": pairs}) if pairs else COVERED


def root_path(value: Any, near: Near) -> Any:
    del near
    given = str(value).strip().rstrip("/")
    return f"/{given.lstrip('/')}" if given else COVERED


def proxy_protocol(value: Any, near: Near) -> Any:
    del near
    if str(value).strip().lower() in {"off", "false", "none", ""}:
        return COVERED
    return Several(
        {"proxy_protocol": True}, "all connections must begin with a PROXY header, from trusted_proxies"
    )


def application(value: Any, near: Near) -> Any:
    """``module:attribute``, or ``module:factory`` with the option that says so."""
    return as_app(
        str(value), factory=any(str(near.get(name, "")).lower() in _YES for name in ("factory", "call"))
    )


def gunicorn_application(value: Any, near: Near) -> str:
    """Of a module alone gunicorn takes ``application``."""
    del near
    return as_app(str(value), usual="application")


def as_app(given: str, *, factory: bool = False, usual: str = "") -> str:
    """Write an application as `app` has it. ``usual``: the attribute where none is named; empty: gwctl finds it."""
    module, _, attribute = given.strip().partition(":")
    if module.endswith(".py") or "/" in module:
        module = module.removesuffix(".py").strip("./").replace("/", ".")
    attribute = attribute or usual
    if factory and "(" not in attribute:
        attribute += "()"
    return f"{module}:{attribute}" if attribute else module
