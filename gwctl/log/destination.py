"""Where the event log goes: the setting ``log.to``, and what it is written with.

========================  ============================================================================
``stderr``                what reads it may be the journal: then as entries of it
``journal``               systemd's journal; ``journal:PATH``: another socket of it
``syslog``                ``/dev/log``, as syslog(3) writes there
``syslog:PATH``           another socket of syslog: RFC 5424
``syslog://ADDRESS:PORT`` the same by UDP
a path                    a file, put in the place of stderr: all else that is written there is in it
========================  ============================================================================
"""

from __future__ import annotations

import errno
import ipaddress
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, Protocol
from urllib.parse import urlsplit

from gwctl.log import journal, syslog
from gwctl.log.datagrams import Address, Datagrams
from gwctl.log.lines import QUEUE_LINES_MAX

STDERR: Final = "stderr"
WORDS: Final = (STDERR, "journal", "syslog")
_UDP: Final = "syslog://"
_NO_PATH: Final = re.compile(r"(journal|syslog)(:|$)|[a-z][a-z0-9+.-]*://")


class Form(Protocol):
    """What lines look like."""

    def __call__(self, fields: Mapping[str, Any], *, json: bool, offset_s: int | None) -> bytes:
        """The line with ``fields``; ``json``: as the setting ``log.format`` says.

        ``offset_s`` is that of local time from UTC, in seconds; None: the present one.
        """


class Datagram(NamedTuple):
    """What lines are sent as, and to whom."""

    to: Datagrams
    line: Form


def is_file(to: str) -> bool:
    """Tell whether it names a file, by a path that may be relative."""
    return to != STDERR and not _NO_PATH.match(to)


def problem(to: str) -> str:
    """What is wrong with a value that names no file; empty: nothing."""
    kind, colon, rest = to.partition(":")
    if to.startswith(_UDP):
        return _udp_problem(to)
    if kind not in WORDS:
        return f"{kind}:// is not spoken: syslog://ADDRESS:PORT is UDP"
    return f"'{rest}' is no path of a socket: it begins with /" if colon and not rest.startswith("/") else ""


def _udp_problem(to: str) -> str:
    try:
        host, port = _udp(to)
        ipaddress.ip_address(host)
        if "%" not in host and port:
            return ""
    except ValueError:
        pass
    return "after syslog:// comes an IP address and a port: a name would have to be looked up"


def settled(to: str, environ: Mapping[str, str]) -> str:
    """What is used in fact: for ``stderr`` the journal where that reads it; a file is put in its place.

    A container may have such a stderr and no way to the journal's socket.
    """
    if to == STDERR and journal.is_stderr(environ) and not unreachable("journal"):
        return "journal"
    return STDERR if is_file(to) else to


def datagram(to: str) -> Datagram | None:
    """For what is no stream; None: it is one."""
    kind, _, rest = to.partition(":")
    if kind == "journal":
        return Datagram(Datagrams("the journal", rest or journal.SOCKET, by_file=True), journal.entry)
    if to == "syslog":
        return Datagram(Datagrams("syslog", syslog.SOCKET), syslog.local_message)
    if kind == "syslog":
        address: Address = _udp(to) if to.startswith(_UDP) else rest
        return Datagram(Datagrams("syslog", address), syslog.message)
    return None


def unreachable(to: str) -> str:
    """Who would have to take the lines and does not, and why; empty: somebody does, or nobody can tell."""
    made = datagram(to)
    if made is None:
        return ""
    try:
        made.to.reach()
    except OSError as error:
        if error.errno == errno.EPROTOTYPE:
            return f"{made.to.name} takes a stream there, and gwctl sends datagrams: log lines are lost"
        kept = f"each process keeps {QUEUE_LINES_MAX} lines until it can"
        return f"{made.to.name} cannot be reached ({error.strerror}): {kept}"
    finally:
        made.to.close_in_child()
    return ""


def _udp(to: str) -> tuple[str, int]:
    """
    Raises:
        ValueError: The port is none, or there is more.
    """
    parts = urlsplit(to)
    if parts.path or parts.query or parts.fragment or parts.username is not None:
        raise ValueError(to)
    return parts.hostname or "", syslog.PORT if parts.port is None else parts.port
