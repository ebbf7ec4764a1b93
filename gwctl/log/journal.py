"""Lines of the event log as entries of systemd's journal, by its native protocol.

Source: https://systemd.io/JOURNAL_NATIVE_PROTOCOL/ and systemd.journal-fields(7). An entry is a datagram of
fields; a value with ends of lines in it has its length before it. So a traceback is one entry, and each has
its priority.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from typing import Any, Final

from gwctl import json_text
from gwctl.log import messages

SOCKET: Final = "/run/systemd/journal/socket"
_MESSAGE_BYTES_MAX: Final = 1 << 20
_PASSED_ON: Final = {
    "time": "GWCTL_TIME",
    "instance": "GWCTL_INSTANCE",
    "kind": "GWCTL_EVENT",
    "subject": "GWCTL_SUBJECT",
    "pool": "GWCTL_POOL",
    "slot": "GWCTL_SLOT",
    "generation": "GWCTL_GENERATION",
    "pid": "GWCTL_PID",
    "number": "GWCTL_NUMBER",
    "logger": "LOGGER",
    "request_id": "GWCTL_REQUEST_ID",
    "stream": "GWCTL_STREAM",
    "exception_type": "GWCTL_EXCEPTION_TYPE",
    "exception_message": "GWCTL_EXCEPTION_MESSAGE",
}
"""Our names and what they are in the journal, whose own time is that of the delivery.

``LOGGER`` is what systemd's own handler for Python says.
"""


def is_stderr(environ: Mapping[str, str]) -> bool:
    """Tell whether the journal reads stderr: sd_journal_stream_fd(3), ``JOURNAL_STREAM``."""
    device, _, inode = environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        found = os.fstat(2)
        return (int(device), int(inode)) == (found.st_dev, found.st_ino)
    except (OSError, ValueError):
        return False


def entry(fields: Mapping[str, Any], *, json: bool, offset_s: int | None = None) -> bytes:  # noqa: ARG001
    """The datagram for the line with ``fields``; ``json``: its message is the object of JSON."""
    text = messages.message(fields, json=json, bytes_max=_MESSAGE_BYTES_MAX)
    parts = [
        _field("MESSAGE", text),
        _field("PRIORITY", b"%d" % messages.PRIORITIES[fields["level"]]),
        _field("SYSLOG_IDENTIFIER", (fields.get("instance") or "gwctl").encode()),
    ]
    for name, theirs in _PASSED_ON.items():
        value = fields.get(name)
        if value is not None and value != "":
            parts.append(_field(theirs, str(value).encode("utf-8", "backslashreplace")))
    if fields.get("figures"):
        parts.append(_field("GWCTL_FIGURES", json_text.encode(fields["figures"])))
    return b"".join(parts)


def _field(name: str, value: bytes) -> bytes:
    if b"\n" in value:
        return name.encode() + b"\n" + struct.pack("<Q", len(value)) + value + b"\n"
    return name.encode() + b"=" + value + b"\n"
