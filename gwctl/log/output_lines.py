r"""What a process prints, as it comes from a pipe, cut into lines of the event log.

Rules
    - A line ends with ``\n``, and ``\r\n`` counts as that. An empty one is a line, too.
    - A line longer than `LINE_BYTES_MAX` comes in parts. A line whose end does not come is taken as it is
      when whoever reads has waited long enough. What follows of it is `continued`.
    - A traceback is one line of the log with all its lines: from "Traceback (most recent call last):" to the
      exception, with those that it is chained to. The stacks of a fatal error (faulthandler) are one as well.
      A block has `BLOCK_BYTES_MAX` at most; the rest of a longer one comes as lines.
    - Any bytes may come. What is no UTF-8 is shown as ``\xff``. What controls a terminal is for the log to
      escape, as for all texts.

No more is kept than `BLOCK_BYTES_MAX` and what was fed last: who does not take is not to feed.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from gwctl.log.json_lines import Origin

LINE_BYTES_MAX: Final = 16_384
BLOCK_BYTES_MAX: Final = 32_768
_STARTS: Final = re.compile(
    rb"Traceback \(most recent call last\):|Exception in thread |  \+ Exception Group Traceback "
    rb"|Fatal Python error: "
)
"""Of a block."""
_BELONGS: Final = re.compile(
    rb"\s|Traceback \(most recent call last\):|During handling of the above |The above exception was "
    rb"|Current thread |Thread 0x|Extension modules: "
)
"""Of a block, but the line that names the exception."""
_HAS_EXCEPTION: Final = re.compile(rb"Traceback \(|Exception in thread ")
_UNINDENTED: Final = re.compile(rb"\n(?=\S)")
"""The end of a line before one that is not indented: of a block these alone have to be judged."""
_UTF8_CHAR_MAX: Final = 4
_GOES_ON: Final = "…"


class OutputLine(NamedTuple):
    """A line of the log: one that was printed, a part of one, or a block."""

    text: str
    continued: bool = False
    """It goes on where the one before of the same stream ended."""
    is_fault: bool = False
    """It is a traceback, or the stacks of a fatal error."""


class Printed(NamedTuple):
    """Who printed on which stream."""

    subject: str
    pid: int
    origin: Origin
    stream: str
    """``stdout`` or ``stderr``."""


def whom(subject: str, stream: str) -> str:
    """Who a line of text is from: the stream is named behind the process, if the line was printed."""
    return f"{subject} {stream}" if stream else subject


def shown(text: str, *, continued: bool) -> str:
    """The text of a line for people."""
    return f"{_GOES_ON}{text}" if continued else text


class OutputLines:
    """The lines of one stream. ``left`` and ``continued`` are those of another that read it before."""

    def __init__(self, left: bytes = b"", *, continued: bool = False) -> None:
        self.left = left
        """What has come and is not taken yet."""
        self.continued = continued
        """What is left begins in the midst of a line."""
        self._looked_through = 0
        """So much of what is left are whole lines of a block whose end has not come."""
        self._owes_exception = False
        """The line that names the exception of that block has not come."""

    def feed(self, data: bytes) -> None:
        """Take in what was read."""
        self.left += data

    def take(self, most: int, *, all_of_it: bool = False) -> list[OutputLine]:
        """Return lines that are whole, ``most`` of them at most, and take them off.

        ``all_of_it``: nobody waits for the end of a line or a block any longer.
        """
        taken: list[OutputLine] = []
        position = 0
        while len(taken) < most:
            found = self._next(position, all_of_it=all_of_it)
            if found is None:
                break
            line, position = found
            if line is not None:
                taken.append(line)
        self.left = self.left[position:]
        return taken

    def _next(self, position: int, *, all_of_it: bool) -> tuple[OutputLine | None, int] | None:
        """The line at ``position`` and where the next one begins; None: it is not whole.

        A line that has ended, and whose parts were taken already, is nothing any more.
        """
        end = self._block_end(position, all_of_it=all_of_it)
        if end < 0:
            return None
        if end > position:
            self.continued = False
            return OutputLine(_text(self.left[position:end].rstrip(b"\n")), is_fault=True), end
        data = self.left
        newline = data.find(b"\n", position, position + LINE_BYTES_MAX + 1)
        continued = self.continued
        if newline >= 0:
            self.continued = False
            line = data[position:newline].removesuffix(b"\r")
            return (OutputLine(_text(line), continued) if line or not continued else None), newline + 1
        if len(data) - position > LINE_BYTES_MAX:
            end = _character_end(data, position + LINE_BYTES_MAX)
        elif all_of_it and len(data) > position:
            end = len(data)
        else:
            return None
        self.continued = True
        return OutputLine(_text(data[position:end]), continued), end

    def _block_end(self, begin: int, *, all_of_it: bool) -> int:
        """Where the block at ``begin`` ends; ``begin``: there is none; -1: that cannot be told yet.

        Then ``begin`` is where what is left begins the next time, and the search goes on where it stopped.
        """
        data = self.left
        if self.continued or not _STARTS.match(data, begin):
            return begin
        looked_through, self._looked_through = self._looked_through, 0
        owes_exception = self._owes_exception if looked_through else bool(_HAS_EXCEPTION.match(data, begin))
        line, limit = begin + looked_through, begin + BLOCK_BYTES_MAX
        end = data.rfind(b"\n", line, limit)
        while found := _UNINDENTED.search(data, line, end + 1):
            line = found.end()
            if not _BELONGS.match(data, line):
                if not owes_exception:
                    return line
                owes_exception = False
            elif _HAS_EXCEPTION.match(data, line):
                owes_exception = True
        if len(data) > limit:
            return data.rfind(b"\n", begin, limit) + 1 or begin
        if all_of_it:
            return len(data)
        self._looked_through = max(line, end) - begin
        self._owes_exception = owes_exception
        return -1


def _character_end(data: bytes, end: int) -> int:
    """The last end of a character of UTF-8 up to ``end``; ``end`` itself if it is none."""
    for back in range(1, _UTF8_CHAR_MAX):
        first = data[end - back]
        if first < 0x80:
            return end
        if first >= 0xC0:
            width = 2 if first < 0xE0 else 3 if first < 0xF0 else 4
            return end - back if width > back else end
    return end


def _text(line: bytes) -> str:
    return line.decode("utf-8", "backslashreplace")
