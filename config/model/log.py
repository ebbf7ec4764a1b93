"""The event log: what it looks like."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from gwctl.config.model.meta import meta as _meta


class LogSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The event log: what the master, the workers, libraries and applications have to tell.

    `master.log_level` says how much of it.
    """

    format: Annotated[
        Literal["text", "json"],
        _meta(
            "text: lines for people. json: one object a line, named as in `gwctl events --json` (logs.md).",
            "json",
        ),
    ] = "text"
    to: Annotated[
        str,
        _meta(
            "Where it goes: `stderr` (if that is systemd's journal, as entries of it), `journal`, `syslog`, "
            "`syslog://ADDRESS:PORT` or a file (logs.md).",
            "/var/log/shop/events.log",
            words=("stderr", "journal", "syslog"),
        ),
    ] = "stderr"
