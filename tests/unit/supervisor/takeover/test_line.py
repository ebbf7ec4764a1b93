"""The line between two masters: what is said arrives, and an end of either side is heard once."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Iterator

import pytest

from gwctl.supervisor.takeover.line import Denied, Line, Message, Ready, Yours


class Ends:
    """Both ends in one loop, and what each has heard."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self.socks = socket.socketpair()
        self.heard: tuple[list[Message | None], list[Message | None]] = ([], [])
        self.old, self.new = (
            Line(sock, self.selector, heard.append)
            for sock, heard in zip(self.socks, self.heard, strict=True)
        )

    def turn(self) -> None:
        while ready := self.selector.select(0):
            for key, mask in ready:
                key.data(mask)


@pytest.fixture
def ends() -> Iterator[Ends]:
    ends = Ends()
    yield ends
    ends.old.close()
    ends.new.close()
    ends.selector.close()


def test_what_is_said_arrives_and_so_does_the_end(ends: Ends) -> None:
    ready = Ready(("gwctl;127.0.0.1%3A8000",), "/run/shop.pid")
    ends.new.send(ready)
    ends.turn()
    ends.old.send(Yours())
    ends.old.close()
    ends.old.close()
    ends.turn()
    assert ends.heard == ([ready], [Yours(), None])


@pytest.mark.parametrize("noise", [b"{}\n", b"\xff\n", b"[" * 5000 + b"\n", b"x" * (1 << 18)])
def test_nonsense_is_the_end(ends: Ends, noise: bytes) -> None:
    ends.socks[0].setblocking(True)
    ends.socks[0].settimeout(0.0)
    sent = 0
    while sent < len(noise):
        try:
            sent += ends.socks[0].send(noise[sent:])
        except OSError:
            break
        for key, mask in ends.selector.select(0):
            if key.fileobj is ends.socks[1]:
                key.data(mask)
    ends.turn()
    assert ends.heard[1] == [None]


def test_what_cannot_be_taken_is_the_end_of_it_for_both(ends: Ends) -> None:
    for _ in range(10_000):
        ends.new.send(Denied("x" * 1000))
        if ends.heard[1]:
            break
    assert ends.heard[1] == [None]
    ends.turn()
    assert ends.heard[0][-1] is None
    assert ends.heard[0].count(None) == 1
