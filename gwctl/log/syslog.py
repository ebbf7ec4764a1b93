"""Lines of the event log as messages of syslog, in two forms.

Whoever reads /dev/log, journald or rsyslog, expects what syslog(3) of the C library writes there, and takes a
message of RFC 5424 for text. Servers, and sockets that were set up for it, get that: they are told the host,
the process and the time with its zone. There is no structured data in it: who wants fields has
``log.format = "json"``, and the message is an object.

Source: RFC 5424, section 6; RFC 5426 (UDP); RFC 3164, section 4.1, without the host, as of syslog(3).
"""

from __future__ import annotations

import datetime as dt
import os
import re
import socket
from collections.abc import Mapping
from typing import Any, Final

from gwctl.log import messages

SOCKET: Final = "/dev/log"
PORT: Final = 514
_DAEMON: Final = 3
"""The facility: RFC 5424, section 6.2.1."""
_MESSAGE_BYTES_MAX: Final = 8000
"""rsyslog takes 8 KiB unless told otherwise."""
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
"""Whatever the locale."""
_UNPRINTABLE: Final = re.compile(r"[^\x21-\x7e]")


def message(fields: Mapping[str, Any], *, json: bool, offset_s: int | None = None) -> bytes:  # noqa: ARG001
    """The datagram of RFC 5424 for the line with ``fields``; ``json``: what it says is the object of JSON."""
    host, name, kind = (
        _token(socket.gethostname(), 255),
        _token(_name(fields), 48),
        _token(fields["kind"], 32),
    )
    head = f"<{_priority(fields)}>1 {fields['time']} {host} {name} {_pid(fields)} {kind} - "
    return head.encode() + messages.message(fields, json=json, bytes_max=_MESSAGE_BYTES_MAX)


def local_message(fields: Mapping[str, Any], *, json: bool, offset_s: int | None = None) -> bytes:
    """The same as syslog(3) says it, in local time."""
    zone = None if offset_s is None else dt.timezone(dt.timedelta(seconds=offset_s))
    at = dt.datetime.fromisoformat(fields["time"]).astimezone(zone)
    when = f"{_MONTHS[at.month - 1]} {at.day:2} {at:%H:%M:%S}"
    head = f"<{_priority(fields)}>{when} {_token(_name(fields), 32)}[{_pid(fields)}]: "
    return head.encode() + messages.message(fields, json=json, bytes_max=_MESSAGE_BYTES_MAX)


def _priority(fields: Mapping[str, Any]) -> int:
    return _DAEMON * 8 + messages.PRIORITIES[fields["level"]]


def _name(fields: Mapping[str, Any]) -> str:
    return fields.get("instance") or "gwctl"


def _pid(fields: Mapping[str, Any]) -> int:
    return fields.get("pid") or os.getpid()


def _token(text: str, chars_max: int) -> str:
    """As a field of the header has to be: printable, without blanks, not empty."""
    return _UNPRINTABLE.sub("_", text)[:chars_max] or "-"
