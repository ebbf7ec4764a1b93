"""Bounds for what others say: how often, how much, how large. They may be hostile, and must be heard."""

from __future__ import annotations

from typing import Final

from gwctl.ipc.channel import ChannelError
from gwctl.log.text_lines import escaped

MESSAGES_MAX: Final = 200
"""At once. A worker says about ten in its life, and some for each order or request of the master's."""
MESSAGES_PER_S: Final = 5.0
"""In the long run."""
COUNT_MAX: Final = 1 << 32


class Allowance:
    """How much one peer may yet say. It grows with time, up to `MESSAGES_MAX`."""

    def __init__(self) -> None:
        self._left = float(MESSAGES_MAX)
        self._at = 0.0

    def spend(self, now: float) -> None:
        """One message was read, at ``now``.

        Raises:
            ChannelError: That was one too many.
        """
        self._left = min(float(MESSAGES_MAX), self._left + MESSAGES_PER_S * (now - self._at))
        self._at = now
        self._left -= 1.0
        if self._left < 0.0:
            raise ChannelError(f"over {MESSAGES_MAX} messages at once, more than a worker has to say")


def cut(text: str, chars_max: int) -> str:
    """``text``, or so much of it, with a word about the rest."""
    if len(text) <= chars_max:
        return text
    return f"{text[:chars_max]}... ({len(text) - chars_max:,} more characters)"


def one_line(text: str, chars_max: int) -> str:
    """The same of what stands in the midst of a sentence: it has no end of a line and no control."""
    return escaped(cut(" ".join(text.split()), chars_max))


def count(number: int, most: int = COUNT_MAX) -> int:
    """A number of things, whatever it was given as."""
    return max(0, min(number, most))
