"""Lines of the event log as messages of syslog.

Source: RFC 5424, section 6; RFC 5426 (UDP). There is no structured data: who wants fields has
``log.format = "json"``, and the message is an object.
"""

from __future__ import annotations

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
_UNPRINTABLE: Final = re.compile(r"[^\x21-\x7e]")


def message(fields: Mapping[str, Any], *, json: bool) -> bytes:
    """The datagram for the line with ``fields``; ``json``: what it says is the object of JSON."""
    priority = _DAEMON * 8 + messages.PRIORITIES[fields["level"]]
    instance = fields.get("instance") or "gwctl"
    head = (
        f"<{priority}>1 {fields['time']} {_token(socket.gethostname(), 255)} {_token(instance, 48)}"
        f" {fields.get('pid') or os.getpid()} {_token(fields['kind'], 32)} - "
    )
    return head.encode() + messages.message(fields, json=json, bytes_max=_MESSAGE_BYTES_MAX)


def _token(text: str, chars_max: int) -> str:
    """As a field of the header has to be: printable, without blanks, not empty."""
    return _UNPRINTABLE.sub("_", text)[:chars_max] or "-"
