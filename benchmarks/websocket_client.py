"""The client of `benchmarks.websockets`, a process of its own.

    python -m benchmarks.websocket_client PORT CASE CONNECTIONS BYTES SECONDS

It does as little as one can: each frame that it sends is made once, and what comes must be, byte for
byte, what a server answers to it. So it takes less processor time than any server. It writes one line of
JSON: messages (of ``room``: rounds), seconds, its own processor time, and of ``room`` the median and the
longest time from what one said to the moment when all had it. ``idle`` opens the connections, says so,
and holds them until its standard input ends.
"""

from __future__ import annotations

import json
import os
import select
import socket
import statistics
import sys
import time

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
MASK = b"\x37\xfa\x21\x3d"
TIMEOUT_S = 10.0
OPENED_AT_ONCE = 64
TEXT = 0x81
READ_BYTES = 65536


class ClientFailed(Exception):  # noqa: N818 - reads as what happened
    """The server did not do what it should."""


def length(size: int) -> bytes:
    return bytes([size]) if size < 126 else b"\x7e" + size.to_bytes(2, "big")


def frames(size: int, number: int = 0) -> tuple[bytes, bytes]:
    """Return the client's frame with a text of ``size`` bytes, and the server's with the same text."""
    text = (b'{"id": %05d, "text": "how are you?"}' % number * (size // 37 + 1))[:size]
    head = bytearray(length(size))
    server = bytes([TEXT]) + bytes(head) + text
    head[0] |= 0x80
    masked = bytes(byte ^ MASK[at % 4] for at, byte in enumerate(text))
    return bytes([TEXT]) + bytes(head) + MASK + masked, server


def opened(port: int, path: str, count: int) -> list[socket.socket]:
    """Return ``count`` connections after their handshakes."""
    request = (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY.decode()}\r\n\r\n"
    ).encode()
    found: list[socket.socket] = []
    for at in range(0, count, OPENED_AT_ONCE):
        some = []
        for _ in range(min(OPENED_AT_ONCE, count - at)):
            sock = socket.create_connection(("127.0.0.1", port), TIMEOUT_S)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.sendall(request)
            some.append(sock)
        for sock in some:
            finish_handshake(sock)
        found += some
    return found


def finish_handshake(sock: socket.socket) -> None:
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        data = sock.recv(4096)
        if not data:
            raise ClientFailed("the server closed the connection in the handshake")
        answer += data
    if not answer.startswith(b"HTTP/1.1 101 "):
        raise ClientFailed(f"the handshake was answered {answer[:40]!r}")


class Reader:
    """Takes frames that are known beforehand from sockets."""

    def __init__(self, sockets: list[socket.socket], expected: list[bytes]) -> None:
        self.epoll = select.epoll()
        self.sockets = {sock.fileno(): sock for sock in sockets}
        self.expected = dict(zip(self.sockets, expected, strict=True))
        self.parts = dict.fromkeys(self.sockets, b"")
        for sock in sockets:
            sock.setblocking(False)
            self.epoll.register(sock, select.EPOLLIN)

    def whole(self) -> list[int]:
        """Wait for input; return the descriptors of those who have their frame."""
        ready = self.epoll.poll(TIMEOUT_S)
        if not ready:
            raise ClientFailed(f"nothing came for {TIMEOUT_S:g} s")
        parts, done = self.parts, []
        for number, _ in ready:
            expected = self.expected[number]
            data = self.sockets[number].recv(READ_BYTES)
            if data != expected:
                data = parts[number] + data
                if data != expected:
                    if not data or not expected.startswith(data):
                        raise ClientFailed(f"{data[:60]!r} is not what was sent")
                    parts[number] = data
                    continue
                parts[number] = b""
            done.append(number)
        return done


def echo(sockets: list[socket.socket], size: int, seconds: float) -> dict[str, float]:
    """Each sends a message of its own and waits for it to come back, over and over."""
    sent, expected = zip(*(frames(size, number) for number in range(len(sockets))), strict=True)
    reader = Reader(sockets, list(expected))
    senders = {sock.fileno(): (sock.send, data) for sock, data in zip(sockets, sent, strict=True)}
    count = 0
    began, cpu = time.monotonic(), time.process_time()
    for send, data in senders.values():
        send(data)
    while (now := time.monotonic()) < began + seconds:
        for number in reader.whole():
            count += 1
            send, data = senders[number]
            if send(data) != len(data):
                raise ClientFailed("the server does not read")
    return {"messages": count, "seconds": now - began, "cpu_s": time.process_time() - cpu}


def room(sockets: list[socket.socket], size: int, seconds: float) -> dict[str, float]:
    """One says something, and all wait until they have it."""
    sent, expected = frames(size)
    reader = Reader(sockets, [expected] * len(sockets))
    times = []
    began, cpu = time.monotonic(), time.process_time()
    while (now := time.monotonic()) < began + seconds:
        sockets[0].send(sent)
        left = len(sockets)
        while left:
            left -= len(reader.whole())
        times.append(time.monotonic() - now)
    return {
        "messages": len(times),
        "seconds": now - began,
        "cpu_s": time.process_time() - cpu,
        "median_ms": statistics.median(times) * 1000,
        "longest_ms": max(times) * 1000,
    }


def main() -> None:
    port, case, count, size, seconds = sys.argv[1:]
    if case == "idle":
        sockets = opened(int(port), "/", int(count))
        print("{}", flush=True)
        sys.stdin.read()
        for sock in sockets:
            sock.close()
        return
    sockets = opened(int(port), f"/{case}", int(count))
    ask = room if case == "room" else echo
    print(json.dumps(ask(sockets, int(size), float(seconds))), flush=True)
    os._exit(0)  # a thousand sockets need no goodbye


if __name__ == "__main__":
    try:
        main()
    except (ClientFailed, OSError) as error:
        sys.exit(f"{error}")
