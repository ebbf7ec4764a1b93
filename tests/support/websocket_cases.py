"""Inputs of a WebSocket client and what must come of them, after the chapters of the Autobahn test suite.

The server echoes messages. Each case is all that the client sends after the handshake, and what
comes back: frames, and the close frame's code. A case that has no end of its own ends with a close
frame of the client's.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Protocol

from tests.support.websocket import BINARY, CLOSE, CONT, PING, PONG, TEXT, close_frame, frame

MESSAGE_BYTES_MAX = 65_536
"""What the server is set to."""

Frames = tuple[tuple[int, bytes], ...]


@dataclass(frozen=True)
class Case:
    """``code`` is that of the server's close frame, or 1005 for an empty one."""

    data: bytes
    frames: Frames = ()
    code: int = 1000
    deflate: bool = False
    tidy: bool = True
    """Whether the client sends a close frame when it has got the frames."""
    unanswered: int = 0
    """Messages whose echo comes too late."""


def echo(opcode: int, payload: bytes) -> Case:
    return Case(frame(opcode, payload), ((opcode, payload),))


def broken(data: bytes, code: int = 1002, frames: Frames = (), deflate: bool = False) -> Case:
    return Case(data, frames, code, deflate, tidy=False)


def ends(payload: bytes, code: int) -> Case:
    """The client's close frame has ``payload``."""
    return Case(frame(CLOSE, payload), (), code, tidy=False)


def fragments(opcode: int, *parts: bytes, rsv: int = 0) -> bytes:
    last = len(parts) - 1
    return b"".join(
        frame(CONT if at else opcode, part, fin=at == last, rsv=0 if at else rsv)
        for at, part in enumerate(parts)
    )


def pack(data: bytes, packer: zlib._Compress | None = None, *, level: int = 6) -> bytes:
    packer = packer or zlib.compressobj(level, wbits=-12)
    return (packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]


def finished(data: bytes) -> bytes:
    """``data`` packed in a stream that says it is the last, and the byte that stands for more (RFC 7692 7.2.3.4)."""
    packer = zlib.compressobj(wbits=-12)
    return packer.compress(data) + packer.flush(zlib.Z_FINISH) + b"\0"


HELLO = "Hello-µ@ßöäüàá-UTF-8!!".encode()
BROKEN_TEXT = "κόσμε".encode() + b"\xed\xa0\x80edited"
"""A surrogate in UTF-8, Autobahn's 6.3.1."""

CASES: dict[str, Case] = {
    # 1: framing
    **{f"1.1 text of {n}": echo(TEXT, b"*" * n) for n in (0, 1, 125, 126, 127, 128, 65_535, 65_536)},
    **{f"1.2 binary of {n}": echo(BINARY, b"\xfe" * n) for n in (0, 1, 125, 126, 65_535, 65_536)},
    # 2: pings and pongs
    "2.1 empty ping": Case(frame(PING), ((PONG, b""),)),
    "2.2 ping with text": Case(frame(PING, b"Hello"), ((PONG, b"Hello"),)),
    "2.3 ping with bytes": Case(frame(PING, b"\0\xff\xfe"), ((PONG, b"\0\xff\xfe"),)),
    "2.4 ping of 125": Case(frame(PING, b"\xfe" * 125), ((PONG, b"\xfe" * 125),)),
    "2.5 ping of 126": broken(frame(PING, b"\xfe" * 126)),
    "2.7 pong nobody asked for": Case(frame(PONG) + frame(PONG, b"x")),
    "2.9 pong, then ping": Case(frame(PONG, b"x") + frame(PING, b"y"), ((PONG, b"y"),)),
    "2.10 ten pings": Case(
        b"".join(frame(PING, b"%d" % n) for n in range(10)),
        tuple((PONG, b"%d" % n) for n in range(10)),
    ),
    # 3 and 4: reserved bits and opcodes
    **{f"3.{rsv} reserved bits": broken(frame(TEXT, b"x", rsv=rsv)) for rsv in range(1, 8)},
    **{f"3.{rsv} reserved bits of a ping": broken(frame(PING, b"x", rsv=rsv)) for rsv in (1, 4, 7)},
    **{f"3.{rsv} reserved bits of a close": broken(frame(CLOSE, b"", rsv=rsv)) for rsv in (1, 4, 7)},
    **{f"4.1 opcode {n}": broken(frame(n, b"x" * (n & 1))) for n in (3, 4, 5, 6, 7)},
    **{f"4.2 opcode {n}": broken(frame(n, b"x" * (n & 1))) for n in (11, 12, 13, 14, 15)},
    "4.1 opcode 3 after a message": Case(
        frame(TEXT, b"good") + frame(3), code=1002, tidy=False, unanswered=1
    ),
    "4 not masked": broken(frame(TEXT, b"x", mask=None)),
    "4 ping not masked": broken(frame(PING, b"x", mask=None)),
    # 5: fragments
    "5.1 ping in fragments": broken(frame(PING, b"a", fin=False) + frame(CONT, b"b")),
    "5.2 pong in fragments": broken(frame(PONG, b"a", fin=False) + frame(CONT, b"b")),
    "5.3 text in two": Case(fragments(TEXT, b"frag", b"ment"), ((TEXT, b"fragment"),)),
    "5.6 ping between fragments": Case(
        frame(TEXT, b"a", fin=False) + frame(PING, b"p") + frame(CONT, b"b"),
        ((PONG, b"p"), (TEXT, b"ab")),
    ),
    "5.8 empty fragments": Case(fragments(TEXT, b"", b"", b""), ((TEXT, b""),)),
    "5 empty last fragment": Case(fragments(BINARY, b"a", b"", b"b", b""), ((BINARY, b"ab"),)),
    "5.9 continuation of nothing": broken(frame(CONT, b"x") + frame(TEXT, b"y")),
    "5.10 unfinished continuation of nothing": broken(frame(CONT, b"x", fin=False)),
    "5.13 continuation after a message": Case(
        frame(TEXT, b"x") + frame(CONT, b"y"), code=1002, tidy=False, unanswered=1
    ),
    "5.18 text within text": broken(frame(TEXT, b"a", fin=False) + frame(TEXT, b"b")),
    "5.18 binary within text": broken(frame(TEXT, b"a", fin=False) + frame(BINARY, b"b", fin=False)),
    "5.19 pings between five fragments": Case(
        frame(TEXT, b"1", fin=False)
        + frame(CONT, b"2", fin=False)
        + frame(PING, b"p")
        + frame(CONT, b"3", fin=False)
        + frame(CONT, b"4", fin=False)
        + frame(PING, b"q")
        + frame(CONT, b"5"),
        ((PONG, b"p"), (PONG, b"q"), (TEXT, b"12345")),
    ),
    # 6: UTF-8
    "6.1 empty text": echo(TEXT, b""),
    "6.2 text in one": echo(TEXT, HELLO),
    "6.2 text in fragments of one byte": Case(
        fragments(TEXT, *(HELLO[n : n + 1] for n in range(len(HELLO)))), ((TEXT, HELLO),)
    ),
    "6.3 broken text": broken(frame(TEXT, BROKEN_TEXT), 1007),
    "6.3 broken text in fragments of one byte": broken(
        fragments(TEXT, *(BROKEN_TEXT[n : n + 1] for n in range(len(BROKEN_TEXT)))), 1007
    ),
    "6.4 fails before the message ends": broken(
        frame(TEXT, b"\xce\xba\xe1\xbd\xb9", fin=False) + frame(CONT, b"\xf4\x90\x80\x80", fin=False), 1007
    ),
    "6.4 fails in the middle of a character": broken(frame(TEXT, b"x\xf4\x90", fin=False), 1007),
    "6.4 fails before the frame ends": broken(frame(TEXT, b"\xff" * 20_000, length=60_000), 1007),
    **{
        f"6.5 whole character {data.hex()}": echo(TEXT, data)
        for data in (b"\xef\xbf\xbf", b"\xf4\x8f\xbf\xbf", b"\xed\x9f\xbf", b"\xee\x80\x80", b"\0")
    },
    **{
        f"6.6 half a character {data.hex()}": broken(frame(TEXT, data), 1007)
        for data in (b"\xce", b"\xe1\xbd", b"\xf0\x9f\x98", b"a\xc2")
    },
    **{
        f"6.20 not a character {data.hex()}": broken(frame(TEXT, data), 1007)
        for data in (
            b"\x80",
            b"\xc0\xaf",
            b"\xe0\x80\xaf",
            b"\xf4\x90\x80\x80",
            b"\xf8\x88\x80\x80\x80",
            b"\xfe",
        )
    },
    "6 half a character in fragments": broken(fragments(TEXT, b"a\xf0\x9f", b"\x98"), 1007),
    "6 bytes may be anything": echo(BINARY, b"\xff\xfe\x80"),
    # 7: closing
    "7.1.1 message, then close": Case(frame(TEXT, b"x") + close_frame(1000), tidy=False, unanswered=1),
    "7.1.2 two closes": Case(close_frame(1000) + close_frame(1000), tidy=False),
    "7.1.3 ping after close": Case(close_frame(1000) + frame(PING, b"late"), tidy=False),
    "7.1.4 text after close": Case(close_frame(1000) + frame(TEXT, b"late"), tidy=False),
    "7.1.5 close between fragments": Case(
        frame(TEXT, b"a", fin=False) + close_frame(1000) + frame(CONT, b"b"), tidy=False
    ),
    "7.1.6 much after close": Case(close_frame(1000) + frame(TEXT, b"*" * 60_000) * 5, tidy=False),
    "7 close between compressed fragments": Case(
        frame(TEXT, pack(b"a" * 100)[:4], fin=False, rsv=4) + close_frame(1000), deflate=True, tidy=False
    ),
    "7 close after a fragment and a ping": Case(
        frame(BINARY, b"a", fin=False) + frame(PING, b"p") + close_frame(3001),
        ((PONG, b"p"),),
        3001,
        tidy=False,
    ),
    "7 broken after close": Case(close_frame(1000) + frame(3) + frame(TEXT, b"\xff"), tidy=False),
    "7.3.1 empty close": ends(b"", 1005),
    "7.3.2 close of one byte": ends(b"a", 1002),
    "7.3.3 close with a code": ends(b"\x03\xe8", 1000),
    "7.3.4 close with a reason": ends(b"\x03\xe8Hello", 1000),
    "7.3.5 close of 125": ends(b"\x03\xe8" + b"*" * 123, 1000),
    "7.3.6 close of 126": ends(b"\x03\xe8" + b"*" * 124, 1002),
    "7.5.1 reason not UTF-8": ends(b"\x03\xe8" + BROKEN_TEXT, 1007),
    **{
        f"7.7 code {code}": ends(code.to_bytes(2, "big"), code)
        for code in (
            1000,
            1001,
            1002,
            1003,
            1007,
            1008,
            1009,
            1010,
            1011,
            1012,
            1013,
            1014,
            3000,
            3999,
            4000,
            4999,
        )
    },
    **{
        f"7.9 code {code}": ends(code.to_bytes(2, "big"), 1002)
        for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)
    },
    # 9: large
    "9.1 text": echo(TEXT, b"*" * MESSAGE_BYTES_MAX),
    "9.3 binary in fragments": Case(
        fragments(BINARY, *[b"x" * 1024] * 64), ((BINARY, b"x" * MESSAGE_BYTES_MAX),)
    ),
    "9 one byte too many": broken(frame(BINARY, b"x" * (MESSAGE_BYTES_MAX + 1)), 1009),
    "9 one byte too many in fragments": broken(fragments(BINARY, b"x" * MESSAGE_BYTES_MAX, b"x", b"y"), 1009),
    "9 too many announced": broken(frame(TEXT, b"", length=1 << 62), 1009),
    "9 fragment after fragment": broken(
        frame(BINARY, b"x" * 1024, fin=False) + frame(CONT, b"x" * 1024, fin=False) * 128, 1009
    ),
    # 12 and 13: compression
    "12.1 small": Case(frame(TEXT, pack(HELLO), rsv=4), ((TEXT, HELLO),), deflate=True),
    "12.2 much": Case(frame(BINARY, pack(b"x" * 60_000), rsv=4), ((BINARY, b"x" * 60_000),), deflate=True),
    "12 empty": Case(frame(TEXT, pack(b""), rsv=4), ((TEXT, b""),), deflate=True),
    "12 empty, of no byte": Case(frame(TEXT, b"", rsv=4), ((TEXT, b""),), deflate=True),
    "12 all that fits": Case(
        frame(BINARY, pack(b"\0" * MESSAGE_BYTES_MAX), rsv=4),
        ((BINARY, b"\0" * MESSAGE_BYTES_MAX),),
        deflate=True,
    ),
    "12 all that fits, not compressible": Case(
        frame(BINARY, pack(bytes(range(256)) * 256, level=0), rsv=4),
        ((BINARY, bytes(range(256)) * 256),),
        deflate=True,
    ),
    "12 one byte too many": broken(
        frame(BINARY, pack(b"\0" * (MESSAGE_BYTES_MAX + 1)), rsv=4), 1009, deflate=True
    ),
    "12 a bomb": broken(frame(BINARY, pack(b"\0" * 10_000_000), rsv=4), 1009, deflate=True),
    "12 a bomb in fragments": broken(
        fragments(BINARY, *[pack(b"\0" * 100_000)[n : n + 7] for n in range(0, 140, 7)], rsv=4),
        1009,
        deflate=True,
    ),
    "12 in fragments of one byte": Case(
        fragments(TEXT, *(pack(HELLO)[n : n + 1] for n in range(len(pack(HELLO)))), rsv=4),
        ((TEXT, HELLO),),
        deflate=True,
    ),
    "12 ping between fragments": Case(
        frame(TEXT, pack(HELLO)[:5], fin=False, rsv=4) + frame(PING, b"p") + frame(CONT, pack(HELLO)[5:]),
        ((PONG, b"p"), (TEXT, HELLO)),
        deflate=True,
    ),
    "12 plain beside compressed": Case(
        frame(TEXT, pack(b"one"), rsv=4) + frame(TEXT, b"two") + frame(TEXT, pack(b"three"), rsv=4),
        ((TEXT, b"one"), (TEXT, b"two"), (TEXT, b"three")),
        deflate=True,
    ),
    "12 streams that end": Case(
        frame(TEXT, finished(b"one"), rsv=4) + frame(TEXT, finished(b"two"), rsv=4),
        ((TEXT, b"one"), (TEXT, b"two")),
        deflate=True,
    ),
    "12 broken text": broken(frame(TEXT, pack(BROKEN_TEXT), rsv=4), 1007, deflate=True),
    "12 not compressed": broken(frame(TEXT, b"\xff\xff\xff", rsv=4), deflate=True),
    "12 a continuation that says it is compressed": broken(
        frame(TEXT, pack(b"a"), fin=False, rsv=4) + frame(CONT, b"", rsv=4), deflate=True
    ),
    "12 a control frame that says it is compressed": broken(frame(PING, b"", rsv=4), deflate=True),
    "12 other reserved bits": broken(frame(TEXT, b"", rsv=6), deflate=True),
}


def _continued() -> Case:
    """Messages that refer to those before."""
    packer = zlib.compressobj(wbits=-12)
    texts = [b"the same words", b"the same words", b"the same words again"]
    packed = [pack(text, packer) for text in texts]
    assert len(packed[1]) < len(packed[0])
    return Case(
        b"".join(frame(TEXT, one, rsv=4) for one in packed),
        tuple((TEXT, text) for text in texts),
        deflate=True,
    )


CASES["13 the window goes on"] = _continued()


class Wire(Protocol):
    """A client's connection, or its stream."""

    def send(self, data: bytes) -> None: ...
    def read_exactly(self, size: int) -> bytes: ...

    def rest(self) -> bytes:
        """Everything up to the end."""


def frames_until_close(client: Wire, case: Case) -> tuple[list[tuple[int, bytes]], int]:
    """Read until the close frame, and what follows it up to the end: nothing."""
    unpacker = zlib.decompressobj(-15)
    found: list[tuple[int, bytes]] = []
    if not case.frames and case.tidy:
        client.send(close_frame(1000))
    while True:
        first, size = client.read_exactly(2)
        if size == 126:
            size = int.from_bytes(client.read_exactly(2), "big")
        elif size == 127:
            size = int.from_bytes(client.read_exactly(8), "big")
        payload = client.read_exactly(size)
        opcode = first & 15
        assert first & 0xB0 == 0x80
        assert bool(first & 0x40) == (case.deflate and opcode < CLOSE)
        if first & 0x40:
            payload = unpacker.decompress(payload + b"\0\0\xff\xff")
        if opcode == CLOSE:
            assert client.rest() == b""
            return found, int.from_bytes(payload[:2], "big") if payload else 1005
        found.append((opcode, payload))
        if len(found) == len(case.frames) and case.tidy:
            client.send(close_frame(1000))
