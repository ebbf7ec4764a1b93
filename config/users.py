"""Users and groups of this machine, as settings name them: by name or number."""

from __future__ import annotations

import grp
import pwd
from collections.abc import Iterable


def is_id(text: str) -> bool:
    return text.isascii() and text.isdecimal() and int(text) < 2**32 - 1


def user(text: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwuid(int(text)) if is_id(text) else pwd.getpwnam(text)
    except (KeyError, OverflowError):
        return None


def uid(text: str) -> int | None:
    """The number of a user; None: there is none of that name. A number need not have an entry."""
    if is_id(text):
        return int(text)
    found = user(text)
    return found.pw_uid if found is not None else None


def named(texts: Iterable[str]) -> dict[int, str]:
    """Those of them that there are, by their numbers."""
    return {number: text for text in texts if (number := uid(text)) is not None}


def group(text: str) -> grp.struct_group | None:
    try:
        return grp.getgrgid(int(text)) if is_id(text) else grp.getgrnam(text)
    except (KeyError, OverflowError):
        return None
