"""What logs, records and `gwctl status` do not show: what could be a secret.

The query of a target often holds tokens (reset links, signed URLs, OAuth), and an absolute target
may name a user with a password. Who reads a log is not always who may have them. The path stays:
without it nobody would know which request it was. The access log has its own rule, see docs/files.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

MASK: Final = "…"
_HEAD_MAX: Final = 500
_USER: Final = re.compile(r"://[^/?#\s]*@")


def masked(text: str) -> str:
    """``GET /reset?…`` of ``GET /reset?token=...``; of a target, a request line or the beginning of one."""
    shown, query, _ = text.partition("?")
    if "@" in shown:
        shown = _USER.sub(f"://{MASK}@", shown)
    return f"{shown}?{MASK}" if query else shown


def masked_head(head: bytes) -> str:
    """Request line and names of the fields of a head, at most 500 characters."""
    line, *fields = head.decode("latin-1").split("\r\n")
    names = [f"{field.partition(':')[0]}: {MASK}" if ":" in field else MASK for field in fields if field]
    return "\r\n".join([masked(line), *names])[:_HEAD_MAX]


def in_full(text: str) -> str:
    """Return ``text``: what `pool.NAME.log_queries` asks for."""
    return text


def shower(*, log_queries: bool) -> Callable[[str], str]:
    """Return what a pool shows targets with."""
    return in_full if log_queries else masked


def masked_values(variables: Mapping[str, str]) -> dict[str, str]:
    """The names of environment variables without their values; an empty one holds no secret."""
    return {name: MASK if value else "" for name, value in variables.items()}
