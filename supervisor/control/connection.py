"""One client of the control server: what it has sent, what it is to be sent, what it waits for."""

from __future__ import annotations

import select
import socket
from collections.abc import Sequence
from typing import Final

from gwctl.control import peer
from gwctl.control import protocol as messages
from gwctl.supervisor.control.follower import Follower

OUTPUT_PAUSE_BYTES: Final = 1 << 18
"""A client with so much unread is not read from."""
PASSED_MAX: Final = 128
"""Descriptors that may wait to be taken. The kernel passes 253 by one message."""
_READ_BYTES: Final = 1 << 16


class Connection:
    """Of one client. ``requests`` maps the numbers that wait to the client's own ids."""

    def __init__(self, sock: socket.socket, now: float, *, stays: bool = False) -> None:
        self.sock = sock
        self.stays = stays
        """It was connected by the master itself: it keeps its place, whatever it says or does not say."""
        self.peer, self.uid, _ = peer.credentials(sock) or (0, 0, 0)
        self.active_at = now
        self.received = bytearray()
        self.output = bytearray()
        self.requests: dict[int, int | str] = {}
        self.followers: dict[int, Follower] = {}
        self.passed: list[socket.socket] = []
        """Their descriptors go with what is sent next, and so not after the line that speaks of them.

        Until they are gone nothing is read from it.
        """
        self.ended = False
        """It sends no more, or we listen no more: closed once everything is answered and read."""

    @property
    def paused(self) -> bool:
        return len(self.output) >= OUTPUT_PAUSE_BYTES or bool(self.passed)

    @property
    def waits(self) -> bool:
        return bool(self.requests)

    @property
    def follows(self) -> bool:
        return len(self.followers) == len(self.requests) > 0

    @property
    def misses(self) -> bool:
        """There are events for it that it would take now."""
        return not self.paused and any(each.is_due for each in self.followers.values())

    @property
    def has_line(self) -> bool:
        return b"\n" in self.received

    @property
    def done(self) -> bool:
        return self.ended and not self.requests and not self.output and not self.has_line

    def follow(self) -> None:
        """Put into the output what there is of events, as far as there is room."""
        for number, follower in self.followers.items():
            if not self.paused and follower.is_due:
                room = OUTPUT_PAUSE_BYTES - len(self.output)
                self.output += follower.take(self.requests[number], room)

    def end_followers(self) -> None:
        """Answer them: nothing will follow."""
        for number, follower in self.followers.items():
            self.output += messages.encode_result(self.requests.pop(number), follower.result())
        self.followers.clear()

    def take_line(self) -> bytes | None:
        end = self.received.find(b"\n")
        if end < 0:
            return None
        line = bytes(self.received[:end])
        del self.received[: end + 1]
        return line

    def read(self) -> bool:
        """Take what is there; False when the peer is gone for good."""
        try:
            data = self.sock.recv(_READ_BYTES)
        except BlockingIOError:
            return True
        except OSError:
            return False
        if not data:
            self.ended = True
            return not hung_up(self.sock)
        self.received += data
        return True

    def write(self, now: float) -> bool:
        """Send what the socket takes; False when the peer is gone for good."""
        while self.output:
            try:
                sent = self._send()
            except BlockingIOError:
                return True
            except OSError:
                return False
            self.active_at = now
            del self.output[:sent]
        return True

    def _send(self) -> int:
        if not self.passed:
            return self.sock.send(self.output)
        sent = socket.send_fds(self.sock, [self.output], [each.fileno() for each in self.passed])
        close_all(self.passed)
        self.passed.clear()
        return sent

    def close(self) -> None:
        close_all(self.passed)
        self.sock.close()


def close_all(sockets: Sequence[socket.socket]) -> None:
    for each in sockets:
        each.close()


def hung_up(sock: socket.socket) -> bool:
    """Did the peer close altogether (not just its sending side)?"""
    poll = select.poll()
    poll.register(sock, 0)
    return bool(poll.poll(0))
