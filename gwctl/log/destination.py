"""Where the event log goes: the setting ``log.to``, and what it is written with.

stderr                  what reads it may be the journal: then as entries of it
journal, journal:PATH   systemd's journal, or that at a socket
syslog, syslog:PATH     the socket of syslog
syslog://ADDRESS:PORT   UDP
PATH                    a file, put in the place of stderr: all else that is written there goes there, too
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from gwctl.log import journal, syslog
from gwctl.log.datagrams import Address, Datagrams
from gwctl.log.lines import QUEUE_LINES_MAX

STDERR: Final = "stderr"
WORDS: Final = (STDERR, "journal", "syslog")
_UDP: Final = "syslog://"


class Datagram(NamedTuple):
    """What lines are sent as, and to whom."""

    to: Datagrams
    line: Callable[..., bytes]
    """Makes a line of fields; with ``json``: as the setting ``log.format`` says."""


def is_word(to: str) -> bool:
    """Tell whether it is none of a file: then it is a path, which may be relative."""
    return to == STDERR or to.partition(":")[0] in {"journal", "syslog"}


def problem(to: str) -> str:
    """What is wrong with a value that `is_word`; empty: nothing."""
    _, colon, rest = to.partition(":")
    if to.startswith(_UDP):
        return _udp_problem(to)
    return f"'{rest}' is no path of a socket: it begins with /" if colon and not rest.startswith("/") else ""


def _udp_problem(to: str) -> str:
    try:
        host, _ = _udp(to)
        ipaddress.ip_address(host)
    except ValueError:
        return "after syslog:// comes an IP address and a port: a name would have to be looked up"
    return ""


def settled(to: str, environ: Mapping[str, str]) -> str:
    """What is used in fact: for ``stderr`` the journal where that reads it; a file is put in its place.

    A container may have such a stderr and no way to the journal's socket.
    """
    if to == STDERR and journal.is_stderr(environ) and not unreachable("journal"):
        return "journal"
    return to if is_word(to) else STDERR


def datagram(to: str) -> Datagram | None:
    """For what is no stream; None: it is one."""
    kind, _, rest = to.partition(":")
    if kind == "journal":
        return Datagram(Datagrams("the journal", rest or journal.SOCKET, by_file=True), journal.entry)
    if kind == "syslog":
        address: Address = _udp(to) if to.startswith(_UDP) else rest or syslog.SOCKET
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
        kept = f"each process keeps {QUEUE_LINES_MAX} lines until it can"
        return f"{made.to.name} cannot be reached ({error.strerror}): {kept}"
    finally:
        made.to.close_in_child()
    return ""


def _udp(to: str) -> tuple[str, int]:
    """
    Raises:
        ValueError: The port is none.
    """
    parts = urlsplit(to)
    if parts.path or parts.query or parts.fragment or parts.username is not None:
        raise ValueError(to)
    return parts.hostname or "", parts.port or syslog.PORT
