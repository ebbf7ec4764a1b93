"""The token that the admin listener asks of those who want to change something."""

from __future__ import annotations

import os
import stat
from typing import Final

from gwctl.errors import GwctlError

CHARS_MIN: Final = 16
"""A shorter one can be guessed by trying."""
BYTES_MAX: Final = 4096


class TokenError(GwctlError):
    """The file holds no token that can be used. ``hint`` says what to do."""

    def __init__(self, reason: str, hint: str = "") -> None:
        super().__init__(reason)
        self.hint = hint


def read(path: str) -> str:
    """Return the token in the file; blanks around it do not count.

    Raises:
        TokenError: There is none, or others than its owner's group may read it.
    """
    make = f"Make one: (umask 077; openssl rand -hex 32 > {path})"
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise TokenError(f"cannot be read: {error.strerror}", make) from None
    with os.fdopen(fd, "rb") as file:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode):
            raise TokenError("is not a file", make)
        if info.st_mode & stat.S_IRWXO:
            raise TokenError("can be read by everybody", f"chmod o= {path}")
        text = file.read(BYTES_MAX + 1)
    token = text.strip().decode("latin-1")
    if len(text) > BYTES_MAX or not token.isascii() or not token.isprintable() or " " in token:
        raise TokenError("holds no token: one line of printable ASCII without blanks", make)
    if len(token) < CHARS_MIN:
        raise TokenError(
            f"holds a token of {len(token)} characters; it should have at least {CHARS_MIN}", make
        )
    return token
