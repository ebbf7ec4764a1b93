"""The judge of heads: why one is refused, and whether one that comes in parts is still sound.

The parsers are fast where a head arrives whole and is sound, which is nearly always. They
differ in everything else: how soon they notice a mistake, which of two mistakes counts, how
they count bytes, and what the C parser lets pass (several blanks in the request line, lines
that end in LF alone). So everything else is decided here, and alike for both: what a parser
refuses, what did not come in one piece, and what the engine finds odd.

Rules
    - A head is judged line by line, in the order of its bytes. Neither the cuts between its
      parts nor what follows a mistake change the status.
    - A line that is not complete is judged as far as it goes: a client that speaks TLS, or
      nothing like HTTP, is answered at once.
    - Limits: the request line, each field line (both with their line end), the number of
      fields, and all of it together.

RFC 9112 sections 2.2 (lines), 3 (request line), 5 (fields).
"""

from __future__ import annotations

import re
from typing import Final

from gwctl.config.model.settings import Limits
from gwctl.masking import masked
from gwctl.workers.exchange.request_rules import FOLDED, SINGLE, Refused, check_host
from gwctl.workers.http1.request_rules import check_unusual_method, frame_body, split_target, wants_continue

_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_REQUEST_LINE: Final = re.compile(rb"(" + _TOKEN + rb") ([\x21-\x7e]+) HTTP/([0-9])\.([0-9])")
_FIELD_LINE: Final = re.compile(rb"(" + _TOKEN + rb"):([\t\x20-\x7e\x80-\xff]*)")
_METHOD: Final = re.compile(rb"[^a-z#]{3,20}")
"""What both parsers take for a method."""

# What such a line may look like before its end has come.
_REQUEST_LINE_START: Final = re.compile(
    rb"\r?|"
    + _TOKEN
    + rb"(?: (?:[\x21-\x7e]+(?: (?:H(?:T(?:T(?:P(?:/(?:[0-9](?:\.(?:[0-9]\r?)?)?)?)?)?)?)?)?)?)?)?"
)
_FIELD_LINE_START: Final = re.compile(rb"\r?|" + _TOKEN + rb"(?::[\t\x20-\x7e\x80-\xff]*\r?)?")

_SHOWN: Final = 60

_CHECKED_MIN: Final = 512
"""A line longer than this is looked at again only when it has grown by a quarter."""


class HeadJudge:
    """Judges one head. ``data`` is what has come; ``end`` is where the head ends, 0 before that."""

    __slots__ = ("_at", "_checked", "_fields", "_limits", "_request_line", "data", "end", "why")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._at = 0  # where the line begins that is not complete
        self._checked = 0  # how much of it has been looked at
        self._fields = 0
        self._request_line = b""
        self.data = bytearray()
        self.end = 0
        self.why = ""

    def add(self, part: bytes) -> int:
        """Take what came next; return the status that refuses the head, or 0. `why` is then said."""
        data = self.data
        searched = len(data)
        data += part
        try:
            while not self.end:
                at = self._at
                newline = data.find(b"\n", max(at, searched))
                if newline < 0:
                    self._judge_part(at)
                    break
                self._at = newline + 1
                self._checked = 0
                self._judge_line(at, newline)
        except Refused as refusal:
            self.why = refusal.why
            return refusal.status
        return 0

    def refusal(self) -> int:
        """Return the status for what the fields of a head mean together, 0 if nothing is wrong.

        In the order in which a runner would find it, for heads that never get there.
        """
        try:
            self._judge_fields()
        except Refused as refusal:
            self.why = refusal.why
            return refusal.status
        return 0

    def _judge_fields(self) -> None:
        fields: dict[bytes, list[bytes]] = {}
        for line in bytes(self.data[: self.end]).split(b"\r\n"):
            match = _FIELD_LINE.fullmatch(line)
            if match is not None:  # not the request line
                fields.setdefault(match[1].lower(), []).append(match[2].strip(b" \t"))
        http11 = self._request_line.endswith(b"1")
        host = fields.get(b"host")
        length = fields.get(b"content-length")
        coding = fields.get(b"transfer-encoding")
        expect = fields.get(b"expect")
        check_host(None if host is None else host[0].decode("latin-1"), http11)
        for name in SINGLE:
            if len(fields.get(name, ())) > 1:
                raise Refused(400, f"{name.decode()} is there more than once")
        frame_body(
            None if length is None else length[0],
            None if coding is None else b",".join(coding),
            http11,
            self._limits.body_bytes_max,
        )
        if expect is not None:
            wants_continue(b",".join(expect), http11)

    # ---- lines

    def _judge_line(self, at: int, newline: int) -> None:
        data = self.data
        sound_end = newline > at and data[newline - 1] == 13
        line = bytes(data[at : newline - sound_end])
        if not line and sound_end and (self._request_line or at == 0):
            # The end; or one empty line before the request line (section 2.2), which both parsers skip.
            self._check_size(line, at)
            if self._request_line:
                self.end = newline + 1
            return
        self._judge_start(line, at)
        if not sound_end:
            raise Refused(400, "a line of the head ends in LF alone")
        if not self._request_line:
            self._request_line = line
            _judge_request_line(line)
            return
        self._fields += 1
        if _FIELD_LINE.fullmatch(line) is None:
            raise Refused(400, _bad_field(line))

    def _judge_part(self, at: int) -> None:
        """Judge what there is of the line that begins at ``at``."""
        size = len(self.data) - at
        if _CHECKED_MIN < size < self._checked * 5 // 4 and size <= self._bound(at):
            return  # so that a client which trickles costs no more than its bytes
        self._checked = size
        self._judge_start(bytes(self.data[at:]), at)

    def _judge_start(self, line: bytes, at: int) -> None:
        """Judge a line as if more were to come, no further than its limit."""
        if self._request_line:
            most = self._limits.headers_max
            if self._fields >= most and line[:1] not in {b"", b"\r"}:
                raise Refused(431, f"there are more than headers_max ({most}) fields")
            pattern = _FIELD_LINE_START
        else:
            pattern = _REQUEST_LINE_START
        bound = self._bound(at)
        within = line[: bound + 1]
        if pattern.fullmatch(within) is None or (within.endswith(b"\r") and len(within) < len(line)):
            raise Refused(400, _bad_field(line) if self._request_line else _bad_request_line(line))
        self._check_size(line, at)

    def _bound(self, at: int) -> int:
        """Return how long a line that begins at ``at`` may be, without its end; not less than 0."""
        limits = self._limits
        longest = limits.header_bytes_max - 2 if self._request_line else limits.request_line_bytes_max
        return max(min(longest, limits.head_bytes_max - at - 2), 0)

    def _check_size(self, line: bytes, at: int) -> None:
        limits = self._limits
        if len(line) - line.endswith(b"\r") <= self._bound(at) and at + 2 <= limits.head_bytes_max:
            return
        if not self._request_line:
            most = limits.request_line_bytes_max
            raise Refused(414, f"the request line is longer than request_line_bytes_max ({most})")
        if len(line) + 2 > limits.header_bytes_max:
            raise Refused(431, f"a field is longer than header_bytes_max ({limits.header_bytes_max})")
        raise Refused(431, f"the head is larger than head_bytes_max ({limits.head_bytes_max})")


def _judge_request_line(line: bytes) -> None:
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        raise Refused(400, _bad_request_line(line))
    method, target, major, minor = match.groups()
    if major != b"1" or minor not in {b"0", b"1"}:
        raise Refused(505, f"HTTP/{major.decode()}.{minor.decode()} is not supported")
    if _METHOD.fullmatch(method) is None:
        raise Refused(501, f"not a method in capitals, of 3 to 20 letters: {method[:_SHOWN]!r}")
    check_unusual_method(method, target)
    if target == b"*" and method != b"OPTIONS":
        raise Refused(400, "the target * is for OPTIONS alone")
    split_target(target)


def _bad_request_line(line: bytes) -> str:
    if line.startswith(b"\x16\x03"):
        return "the client speaks TLS"
    return masked(f"not a request line: {line[:_SHOWN]!r}")


def _bad_field(line: bytes) -> str:
    """Show no values: they may be secrets."""
    if line[:1] in {b" ", b"\t"}:
        return FOLDED
    name, colon, _ = line.partition(b":")
    if not colon:
        return f"a field without a colon: {name[:_SHOWN]!r}"
    if re.fullmatch(_TOKEN, name) is None:
        return f"not the name of a field: {name[:_SHOWN]!r}"
    return f"control characters in the value of {name[:_SHOWN].decode()}"
