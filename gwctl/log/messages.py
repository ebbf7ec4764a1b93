"""What entries of the journal and messages of syslog have in common: one text that says all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from gwctl.log import json_lines
from gwctl.log.output_lines import shown, whom
from gwctl.log.text_lines import escaped

PRIORITIES: Final = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
"""Of syslog(3), by our levels."""
_CUT: Final = b"..."


def message(fields: Mapping[str, Any], *, json: bool, bytes_max: int) -> bytes:
    """The line as one text without an end: who and what, as a person reads it, or the object of JSON.

    Args:
        fields: The line, by the names of docs/logs.md.
        json: The setting ``log.format`` says so.
        bytes_max: More than that is cut.
    """
    if json:
        return json_lines.fitting(json_lines.encoded(fields), bytes_max).removesuffix(b"\n")
    who = whom(fields["subject"], fields.get("stream", ""))
    text = shown(fields["text"], continued=fields.get("continued", False))
    parts = [f"{who}: {text}", fields.get("exception_stacktrace", "").rstrip("\n")]
    whole = escaped("\n".join(part for part in parts if part)).encode("utf-8", "backslashreplace")
    if len(whole) <= bytes_max:
        return whole
    return whole[: bytes_max - len(_CUT)].decode("utf-8", "ignore").encode() + _CUT
