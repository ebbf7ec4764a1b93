"""The frames of RFC 6455 and RFC 7692, without input or output: bytes in, events out, bytes back.

`FrameReader.step` does a small, bounded piece of work each time it is called: it reads the head
of a frame, or takes at most `STEP_BYTES` of a payload, or unpacks at most `UNPACK_BYTES` of it.
Whoever calls it decides when to stop, so that neither a flood of tiny frames nor a message that
unpacks to a thousand times its size takes more time, or more memory, than it is given: `work`
counts what was done, `held` what is kept.

Rules
    - What is wrong is found as early as it can be: a frame by its first two bytes, a message that
      is too big by the length it announces, text by the byte that cannot be UTF-8.
    - A message grows in one buffer: a million fragments of one byte are a megabyte.
    - Control frames may stand between fragments; a close frame there ends like any other.
    - After a failure or a close frame nothing more is read: `step` must not be called again.
    - After `skip`, messages are passed over, and only control frames are events.
"""

from __future__ import annotations

import codecs
import io
from typing import Any, Final

from gwctl.workers.websocket.deflate import FLUSH, Inflater, UnpackError

try:
    from websockets.speedups import apply_mask
except ImportError:
    from websockets.utils import apply_mask

CONT: Final = 0
TEXT: Final = 1
BINARY: Final = 2
CLOSE: Final = 8
PING: Final = 9
PONG: Final = 10

NOTHING: Final = -1
"""`FrameReader.step`: more input is needed."""
PROGRESS: Final = -2
"""`FrameReader.step`: something was done, and no event came of it yet."""

NORMAL: Final = 1000
PROTOCOL_ERROR: Final = 1002
NO_STATUS: Final = 1005
INVALID_DATA: Final = 1007
TOO_BIG: Final = 1009

STEP_BYTES: Final = 16384
"""Most of a payload that one step takes."""
FRAME_WORK: Final = 512
"""What a frame counts in `FrameReader.work` beside its bytes: most take longer to find than to copy."""
UNPACK_WORK: Final = 512
"""The same for a step of unpacking."""
CONTROL_BYTES_MAX: Final = 125
SENDABLE_CODES: Final = frozenset({1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014})
"""Close codes that may stand in a frame, besides 3000 to 4999 (RFC 6455 section 7.4 and IANA)."""

_WHOLE_TEXT: Final = 0x81
_WHOLE_BINARY: Final = 0x82
"""First byte of a frame that is a message, not compressed."""
_OPCODES: Final = frozenset({CONT, TEXT, BINARY, CLOSE, PING, PONG})


class Broken(Exception):  # noqa: N818 - a fact about the client
    """The client did what it may not; ``code`` is the close code that says so."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code
        self.why = why


def may_be_sent(code: int) -> bool:
    return code in SENDABLE_CODES or 3000 <= code < 5000


def frame(opcode: int, payload: bytes | bytearray, rsv1: bool = False) -> bytes:
    """Return one whole frame of a server, as it is sent."""
    size = len(payload)
    first = 0xC0 | opcode if rsv1 else 0x80 | opcode
    if size < 126:
        return (first << 8 | size).to_bytes(2, "big") + payload
    if size < 65536:
        return (first << 24 | 126 << 16 | size).to_bytes(4, "big") + payload
    return bytes((first, 127)) + size.to_bytes(8, "big") + payload


def close_frame(code: int | None, reason: str = "") -> bytes:
    """Return a close frame; without a code it is empty, and a reason has no place in it."""
    return frame(CLOSE, b"" if code is None else code.to_bytes(2, "big") + reason.encode())


class FrameReader:
    """What one client sends. See the module.

    After `step` returned an opcode, ``value`` has what it brought: the message (str or bytes) for
    TEXT and BINARY, the payload for PING and PONG, code and reason for CLOSE.

    Args:
        message_bytes_max: A message larger than this, unpacked, is `Broken` with 1009.
        inflater: Unpacks compressed messages; None if compression was not agreed on.
    """

    __slots__ = (
        "_at",
        "_data",
        "_fin",
        "_inflater",
        "_kind",
        "_left",
        "_mask",
        "_max",
        "_message",
        "_more",
        "_packed",
        "_packed_bytes",
        "_partial",
        "_rest",
        "_skip",
        "size",
        "value",
        "work",
    )

    def __init__(self, message_bytes_max: int, inflater: Inflater | None = None) -> None:
        self._max = message_bytes_max
        self._inflater = inflater
        self._data = b""
        self._at = 0
        self._left = 0  # of the payload of the data frame that is being read
        self._mask = b""
        self._fin = True
        self._kind = CONT  # of the message that is being read; CONT: none is
        self._message: io.BytesIO | None = None
        self._partial = b""  # the beginning of a character
        self._packed = False  # the message is compressed
        self._packed_bytes = 0
        self._more = False  # unpacking has not given all of what was taken
        self._rest = b""  # taken, and not unpacked
        self._skip = False
        self.size = 0
        self.work = 0
        self.value: Any = None

    @property
    def held(self) -> int:
        """Bytes that wait here: input that was not read, and the message so far."""
        return len(self._data) + len(self._rest) + self.size

    @property
    def pending(self) -> int:
        """Bytes of input that were not read."""
        return len(self._data) - self._at

    def feed(self, data: bytes) -> None:
        self._data = self._data[self._at :] + data if self._data else data
        self._at = 0

    def whole(self, data: bytes) -> int:
        """Read ``data`` at once if it is what nearly all is: a small message in one frame, nothing before it.

        Returns:
            Its opcode, as `step` does. NOTHING: it is something else, to be fed and read in steps.

        Raises:
            Broken: The text is not UTF-8.
        """
        size = len(data)
        if size < 7 or self._data or self._kind:
            return NOTHING
        first, announced = data[0], data[1]
        body = 6
        if announced == 254:
            announced = 128 + (data[2] << 8 | data[3])
            body = 8
            if announced < 254:
                return NOTHING  # not the shortest form, which is `step`'s to judge
        elif announced == 255:
            return NOTHING
        size -= body
        if announced - 128 != size or size > STEP_BYTES or size > self._max:
            return NOTHING
        if first not in {_WHOLE_TEXT, _WHOLE_BINARY}:
            return NOTHING
        payload = apply_mask(data[body:], data[body - 4 : body])
        if first == _WHOLE_BINARY:
            self.value = payload
            return BINARY
        try:
            self.value = str(payload, "utf-8")
        except UnicodeDecodeError:
            raise Broken(INVALID_DATA, "invalid UTF-8") from None
        return TEXT

    def skip(self) -> None:
        """From now on pass over messages, and let go of what there is of one."""
        self._skip = True
        self._drop_message()
        if self._fin and not self._left:
            self._kind = CONT

    def forget(self) -> None:
        """Let go of all that is held; nothing more will be read."""
        self._data = b""
        self._inflater = None
        self._drop_message()

    def _drop_message(self) -> None:
        self._message = None
        self._rest = self._partial = b""
        self._more = False
        self.size = 0

    def step(self) -> int:
        """Do a bounded piece of work; return the opcode of what is complete, PROGRESS or NOTHING.

        Raises:
            Broken: The connection must be failed.
        """
        if self._more:
            return self._unpack()
        if self._left:
            return self._payload()
        data, at = self._data, self._at
        have = len(data) - at
        if have < 2:
            return self._wait()
        first, second = data[at], data[at + 1]
        opcode, size = first & 15, second & 127
        self._judge(first, second, opcode, size)
        body = at + 6
        if size > 125:
            body += 2 if size == 126 else 8
            if have < body - at - 4:
                return self._wait()
            size = int.from_bytes(data[at + 2 : body - 4], "big")
        if opcode < CLOSE and not self._skip:
            self._judge_size(opcode, size, bool(first & 0x40))
        if have < body - at or (opcode >= CLOSE and have < body - at + size):
            return self._wait()
        self.work += FRAME_WORK
        self._at = body
        self._mask = data[body - 4 : body]
        if opcode >= CLOSE:
            return self._control(opcode, size)
        if opcode != CONT:
            self._begin(opcode, bool(first & 0x40))
        self._fin = first > 127
        self._left = size
        return self._payload() if size else self._take(b"")

    def _wait(self) -> int:
        if self._at:
            self._data = self._data[self._at :]
            self._at = 0
        return NOTHING

    # ---- heads

    def _judge(self, first: int, second: int, opcode: int, size: int) -> None:
        if second < 128:
            raise Broken(PROTOCOL_ERROR, "a frame is not masked")
        if opcode not in _OPCODES:
            raise Broken(PROTOCOL_ERROR, "invalid opcode")
        rsv = first & 0x70
        if rsv and (rsv != 0x40 or self._inflater is None or opcode not in {TEXT, BINARY}):
            raise Broken(PROTOCOL_ERROR, "reserved bits must be 0")
        if opcode >= CLOSE:
            if first < 128:
                raise Broken(PROTOCOL_ERROR, "fragmented control frame")
            if size > CONTROL_BYTES_MAX:
                raise Broken(PROTOCOL_ERROR, "control frame too long")
            if opcode == CLOSE and size == 1:
                raise Broken(PROTOCOL_ERROR, "close frame too short")
        elif opcode == CONT:
            if self._kind == CONT:
                raise Broken(PROTOCOL_ERROR, "unexpected continuation frame")
        elif self._kind != CONT:
            raise Broken(PROTOCOL_ERROR, "expected a continuation frame")

    def _judge_size(self, opcode: int, size: int, packed: bool) -> None:
        """Refuse a message by the length that is announced."""
        limit = self._max
        if opcode != CONT:
            before = 0
        elif self._packed:
            packed, before = True, self._packed_bytes
        else:
            before = self.size
        if packed:
            limit += (limit >> 6) + 64  # what cannot be compressed grows a little
        if before + size > limit:
            raise Broken(TOO_BIG, f"a message has at most {self._max} bytes here")

    def _begin(self, opcode: int, packed: bool) -> None:
        self._kind = opcode
        self._packed = packed
        self._packed_bytes = 0
        self._partial = b""
        if packed and not self._skip:
            assert self._inflater is not None
            self._inflater.begin()

    def _control(self, opcode: int, size: int) -> int:
        at = self._at
        payload = apply_mask(self._data[at : at + size], self._mask) if size else b""
        self._at = at + size
        self.work += size
        self.value = payload
        if opcode == CLOSE:
            if not size:
                self.value = NO_STATUS, ""
                return opcode
            code = int.from_bytes(payload[:2], "big")
            if not may_be_sent(code):
                raise Broken(PROTOCOL_ERROR, "invalid close code")
            try:
                self.value = code, str(payload[2:], "utf-8")
            except UnicodeDecodeError:
                raise Broken(INVALID_DATA, "the reason is not UTF-8") from None
        return opcode

    # ---- payloads

    def _payload(self) -> int:
        """Take what is here of the frame's payload, or a step's worth of it."""
        data, at, left = self._data, self._at, self._left
        size = min(left, STEP_BYTES, len(data) - at)
        if not size:
            return self._wait()
        self._at = at + size
        self._left = left = left - size
        if self._skip:
            return self._skipped(size)
        mask = self._mask
        piece = apply_mask(data[at : at + size], mask)
        turn = size & 3
        if turn and left:
            self._mask = mask[turn:] + mask[:turn]
        self.work += size
        return self._take(piece)

    def _skipped(self, size: int) -> int:
        self.work += size >> 4
        if not self._left and self._fin:
            self._kind = CONT
        return PROGRESS

    def _take(self, piece: bytes) -> int:
        """Add ``piece`` to the message; it is the last if the frame is, and nothing is left of it."""
        if self._skip:
            return self._skipped(0)
        last = self._fin and not self._left
        if not self._packed:
            return self._append(piece, last)
        self._packed_bytes += len(piece)
        self._rest = piece + FLUSH if last else piece
        return self._unpack()

    def _unpack(self) -> int:
        inflater = self._inflater
        assert inflater is not None
        try:
            piece, self._rest, self._more = inflater.step(self._rest)
        except UnpackError:
            raise Broken(PROTOCOL_ERROR, "decompression failed") from None
        self.work += UNPACK_WORK + len(piece)
        if self.size + len(piece) > self._max:
            raise Broken(TOO_BIG, f"a message has at most {self._max} bytes here, unpacked")
        return self._append(piece, self._fin and not (self._left or self._more))

    def _append(self, piece: bytes, last: bool) -> int:
        if self._message is None:
            if last:
                return self._complete(piece)
            if not piece:
                return PROGRESS
            self._message = io.BytesIO()
        if self._kind == TEXT:
            self._check(piece)
        self._message.write(piece)
        self.size += len(piece)
        if not last:
            return PROGRESS
        whole = self._message.getvalue()
        self._message = None
        self.size = 0
        return self._complete(whole)

    def _check(self, piece: bytes) -> None:
        """See that text which is not complete can still become UTF-8."""
        if self._partial:
            piece = self._partial + piece
        try:
            _, end = codecs.utf_8_decode(piece, "strict", False)
        except UnicodeDecodeError:
            raise Broken(INVALID_DATA, "invalid UTF-8") from None
        self._partial = piece[end:]

    def _complete(self, whole: bytes) -> int:
        kind, self._kind = self._kind, CONT
        if kind == TEXT:
            try:
                self.value = str(whole, "utf-8")
            except UnicodeDecodeError:
                raise Broken(INVALID_DATA, "invalid UTF-8") from None
        else:
            self.value = whole
        return kind
