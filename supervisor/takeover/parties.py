"""What the core decides about a takeover, carried out; and what the other master says, as events.

A master has one line at most: to the one whose place it is to take, or to the one that is to take its own.
"""

from __future__ import annotations

import os
import selectors
import socket
from collections.abc import Callable
from typing import Any, Final, Protocol, assert_never

import msgspec

from gwctl.control import protocol
from gwctl.supervisor.control.connection import PASSED_MAX
from gwctl.supervisor.core import actions, events
from gwctl.supervisor.takeover.holdings import Holdings
from gwctl.supervisor.takeover.line import Denied, Line, Message, Ready, Yours
from gwctl.supervisor.takeover.predecessor import Predecessor

_ENDED: Final = "it ended before it was ready"


class Answer(Protocol):
    """As `gwctl.supervisor.control.server.ControlServer.answer`."""

    def __call__(
        self, request: int, ok: bool, text: str, result: dict[str, Any], *passed: socket.socket
    ) -> None: ...


class Takeover:
    """Both parts of a master in it. ``report`` takes events."""

    def __init__(
        self,
        selector: selectors.BaseSelector,
        holdings: Holdings,
        program: str,
        answer: Answer,
        report: Callable[[events.Event], None],
    ) -> None:
        self._selector = selector
        self._holdings = holdings
        self._program = program
        self._answer = answer
        self._report = report
        self._line: Line | None = None
        self._predecessor: Predecessor | None = None
        self._successor: Ready | None = None
        """What the one that takes our place has said."""
        self._pidfile = ""

    # ---- the master that runs

    def offer(self, request: int) -> None:
        """Answer with copies of all that changes hands, and hear what becomes of it."""
        try:
            offer, passed = self._copies()
        except OSError as error:
            text = f"copies of the listeners cannot be made: {error.strerror or error}"
            self._answer(request, False, text, {"reason": text})
            self._report(events.SuccessorEnded(text))
            return
        self._answer(request, True, "", msgspec.to_builtins(offer), *passed)

    def _copies(self) -> tuple[protocol.Offer, list[socket.socket]]:
        """Raises OSError: No descriptor, or more of them than one message takes."""
        control = self._holdings.control.listening if self._holdings.control is not None else None
        by_name = self._holdings.listeners.in_force
        if control is None:
            raise OSError(0, "the control socket is closed")
        fds = [control.sock.fileno(), *(fd for each in by_name.values() for fd in each)]
        if len(fds) + 1 > PASSED_MAX:
            raise OSError(0, f"there are {len(fds) - 1}, and {PASSED_MAX - 2} can be passed")
        ours, theirs = socket.socketpair()
        passed = [theirs]
        try:
            passed += (socket.socket(fileno=os.dup(fd)) for fd in fds)
            self._line = Line(ours, self._selector, self._heard_of_successor)
        except OSError:
            for each in (ours, *passed):
                each.close()
            raise
        offered = tuple(protocol.Offered(name, len(each)) for name, each in by_name.items())
        return protocol.Offer(os.getpid(), self._program, control.inode, offered), passed

    def _heard_of_successor(self, message: Message | None) -> None:
        if isinstance(message, Ready):
            self._successor = message
            self._report(events.SuccessorReady())
        else:
            self._end_line()
            self._report(events.SuccessorEnded(message.reason if isinstance(message, Denied) else _ENDED))

    def withdraw(self, reason: str) -> None:
        """Deny the place, and set back what the other one may have changed."""
        if self._line is not None:
            self._line.send(Denied(reason))
        self._end_line()
        self._holdings.listeners.set_back()

    def hand_over(self) -> None:
        """Give up what only one can have, then say so."""
        successor, self._successor = self._successor, None
        kept, pidfile = (successor.kept, successor.pidfile) if successor is not None else (None, None)
        self._holdings.give_away(kept, pidfile)
        if self._line is not None:
            self._line.send(Yours())
        self._end_line()

    # ---- the new master

    def begin(self, predecessor: Predecessor, pidfile: str) -> None:
        """Take over from ``predecessor``; ``pidfile`` is to be written when that has gone.

        Raises:
            OSError: The kernel has no room to watch one more descriptor.
        """
        self._predecessor, self._pidfile = predecessor, pidfile
        self._line = Line(predecessor.line, self._selector, self._heard_of_predecessor)

    def _heard_of_predecessor(self, message: Message | None) -> None:
        match message:
            case Denied(reason=reason):
                self._end_line()
                self._report(events.TakeoverDenied(reason))
            case _:
                self._end_line()
                self._report(events.Succeeded(asked=isinstance(message, Yours)))

    def claim(self) -> None:
        """Say that all serve here."""
        if self._line is not None:
            kept = tuple(self._holdings.listeners.in_force)
            self._line.send(Ready(kept, self._pidfile))

    def desist(self, reason: str) -> None:
        """Say why this one will not take its place."""
        if self._line is not None:
            self._line.send(Denied(reason))
        self._end_line()

    def settle(self) -> None:
        """Own what the other one has given up."""
        predecessor, self._predecessor = self._predecessor, None
        if predecessor is not None:
            self._holdings.take(predecessor.control, self._pidfile)

    # ---- both

    def perform(self, action: actions.TakeoverAction) -> None:
        match action:
            case actions.OfferListeners(request=request):
                self.offer(request)
            case actions.Withdraw(reason=reason):
                self.withdraw(reason)
            case actions.HandOver():
                self.hand_over()
            case actions.Claim():
                self.claim()
            case actions.Desist(reason=reason):
                self.desist(reason)
            case actions.Settle():
                self.settle()
            case _:
                assert_never(action)

    def close_in_child(self) -> None:
        """In a forked child: close the copies, so that the end of this master is the end of its line."""
        if self._line is not None:
            self._line.close_in_child()
        if self._predecessor is not None:
            self._predecessor.control.sock.close()

    def _end_line(self) -> None:
        if self._line is not None:
            self._line.close()
            self._line = None
