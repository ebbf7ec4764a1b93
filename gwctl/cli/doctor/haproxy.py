"""What an HAProxy configuration says to the servers behind it, against the settings: keep-alive and timeouts.

A file is sections of lines. What a backend does not set holds from the ``defaults`` before it. There is no
including of files; other files of the command line (``-f``) are not known here.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from gwctl.cli.doctor.finding import Finding, ok, warn
from gwctl.cli.doctor.proxied import Proxied, keepalive, read_timeout

_SECTIONS: Final = frozenset(
    {
        *("global", "defaults", "frontend", "backend", "listen", "peers", "resolvers", "userlist", "mailers"),
        *(
            "cache",
            "ring",
            "program",
            "http-errors",
            "fcgi-app",
            "crt-store",
            "traces",
            "acme",
            "log-forward",
        ),
    }
)
_UNITS_S: Final = {"us": 1e-6, "": 0.001, "ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_CLOSING: Final = {"httpclose", "http-server-close", "forceclose"}


class Section(msgspec.Struct):
    """A section with what it has from its ``defaults``: timeouts in seconds, options, servers."""

    kind: str
    name: str
    line: int
    timeouts: dict[str, float]
    options: set[str]
    servers: list[tuple[str, str]] = []
    """Name and address."""
    reuse: str = "safe"


def parse(text: str) -> list[Section]:
    """The sections, in their order. What is not known is passed over, as there is much of it."""
    found: list[Section] = []
    named: dict[str, Section] = {}
    defaults = Section("defaults", "", 0, {}, set())
    for number, line in enumerate(re.sub(r"\\\n", " ", text).splitlines(), 1):
        words = _words(line)
        if not words:
            continue
        if words[0] in _SECTIONS:
            name = words[1] if len(words) > 1 else ""
            base = named.get(words[words.index("from") + 1], defaults) if "from" in words[:-1] else defaults
            if words[0] == "defaults" and "from" not in words:
                base = Section("defaults", "", 0, {}, set())
            made = Section(words[0], name, number, dict(base.timeouts), set(base.options), reuse=base.reuse)
            found.append(made)
            if words[0] == "defaults":
                defaults = named[name] = made
        elif found:
            _add(found[-1], words)
    return found


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line, comments=True)
    except ValueError:  # a quote that does not end: HAProxy refuses it, and says so better
        return line.split()


def _add(section: Section, words: list[str]) -> None:
    match words:
        case ["timeout", name, value, *_]:
            if (time_s := seconds(value)) is not None:
                section.timeouts[name] = time_s
        case ["option", name, *_]:
            section.options.add(name)
        case ["no", "option", name, *_]:
            section.options.discard(name)
        case ["http-reuse", how, *_]:
            section.reuse = how
        case ["server", name, address, *_]:
            section.servers.append((name, address))


def seconds(text: str) -> float | None:
    """``75s``, ``5000`` (milliseconds), ``1m``; None: it is no time."""
    found = re.fullmatch(r"(\d+)(us|ms|s|m|h|d|)", text)
    return int(found[1]) * _UNITS_S[found[2]] if found else None


def check(text: str, pools: Sequence[Proxied]) -> Iterator[Finding]:
    """What is to be said about the file."""
    sections = [each for each in parse(text) if each.kind in {"backend", "listen"}]
    any_found = False
    for section in sections:
        for pool in pools:
            if any(pool.is_at(_plain(address)) for _, address in section.servers):
                any_found = True
                yield from _backend(section, pool)
    if not any_found:
        yield warn(
            "haproxy",
            "haproxy: no server is an address of these settings",
            "name the file that has it" if not sections else "look at the addresses of its backends",
        )


def _plain(address: str) -> str:
    """Without HAProxy's marks for families: ``unix@/run/x.sock``, ``ipv4@127.0.0.1:80``."""
    family, at, rest = address.partition("@")
    if not at:
        return address
    return f"unix:{rest}" if family in {"unix", "abns"} else rest


def _backend(section: Section, pool: Proxied) -> Iterator[Finding]:
    where = f"{section.kind} {section.name}"
    closing = section.options & _CLOSING
    if closing:
        option = min(closing)
        yield warn(
            "haproxy",
            f"haproxy: option {option} in {where}: each request takes a new connection",
            f"remove it, or: no option {option}",
        )
    else:
        yield from _keepalive(section, where, pool)
    server_s = section.timeouts.get("server")
    if server_s is None:
        yield warn(
            "haproxy",
            f"haproxy: no timeout server for {where}: a server that hangs is waited for for ever",
            "timeout server 60s",
        )
    else:
        yield from read_timeout("haproxy", f"timeout server of {where}", server_s, pool)


def _keepalive(section: Section, where: str, pool: Proxied) -> Iterator[Finding]:
    """A connection that belongs to a client is open for as long as that; others go after seconds."""
    for name in ("http-keep-alive", "http-request", "client"):
        idle_s = section.timeouts.get(name)
        if idle_s is not None:
            inherited = "" if name == "http-keep-alive" else " (as http-keep-alive is not set)"
            yield keepalive("haproxy", f"timeout {name} of {where}{inherited}", idle_s, pool)
            return
    yield ok("haproxy", f"haproxy: no timeout for idle connections in {where}; its frontend may have one")
