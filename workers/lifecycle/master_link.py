"""The worker's end of the channel, on the worker's loop.

What the master says is handed to the worker (`Orders`); what the worker says is queued and
never waited for, except by `flush` at the very end.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from select import POLLOUT, poll  # as they are now: an application may take them away
from typing import Protocol, assert_never

from gwctl.ipc.channel import (
    Channel,
    ChannelError,
    Drain,
    Fork,
    Forked,
    GaveUp,
    Hello,
    Message,
    Obeyed,
    Park,
    Profile,
    Raised,
    Reopen,
    ReopenEvents,
    RequestReport,
    Serve,
    SetLogLevel,
    SlowEnded,
    Stage,
    Tell,
    WorkerDrained,
    WorkerDraining,
    WorkerFailed,
    WorkerReady,
    compatible,
)
from gwctl.ipc.scoreboard import LAYOUT
from gwctl.log.event_log import Log


class Orders(Protocol):
    """What a worker does when it is told to, or when nobody is left to tell it."""

    def serve(self) -> None: ...
    def park(self, *, release_clients: bool) -> None: ...
    def drain(self, timeout_s: float, *, sweep: bool) -> None: ...
    def reopen(self, access_log_fd: int) -> None: ...
    def reopen_events(self, fd: int) -> None: ...
    def set_log_level(self, level: int, *, json: bool) -> None: ...
    def tell(self, *, stacks: bool) -> None: ...
    def profile(self, fd: int, seconds: float, *, memory: bool) -> None: ...
    def refuse(self, reason: str) -> None: ...
    def master_hung_up(self) -> None: ...


class Link:
    """Watches the channel on ``loop``. ``greeted`` is set when the master's hello was accepted."""

    def __init__(self, loop: asyncio.AbstractEventLoop, channel: Channel, orders: Orders, log: Log) -> None:
        self._loop = loop
        self._channel = channel
        self._orders = orders
        self._log = log
        self._watching_write = False
        self.protocol = 0
        """What the master speaks; 0: it has not said."""
        self.greeted = asyncio.Event()

    def start(self) -> None:
        self._loop.add_reader(self._channel.fileno(), self._readable)
        self._watch_write()

    def send(self, message: Message) -> None:
        self._channel.send(message)
        self._watch_write()

    def flush(self, timeout_s: float) -> None:
        """Wait until everything is written, at most ``timeout_s``: for the last message of a process."""
        flush(self._channel, timeout_s)

    def _readable(self) -> None:
        try:
            messages = self._channel.receive()
        except ChannelError as error:
            self._break_off(error)
            return
        for message, fds in messages:
            self._obey(message, fds)
        if self._channel.closed:
            self._stop_reading()
            self._orders.master_hung_up()

    def _break_off(self, error: ChannelError) -> None:
        self._log.error(f"cannot understand the master, so this worker drains: {error}")
        self._stop_reading()
        self._orders.master_hung_up()

    def profile_at_once(self) -> None:
        """Begin the profiles that were asked for. For a signal's handler: the loop does not turn."""
        try:
            found = self._channel.take(Profile)
        except ChannelError as error:
            self._loop.call_soon_threadsafe(self._break_off, error)
            return
        for message, fds in found:
            self._obey(message, fds)
        if self._channel.holds:
            self._loop.call_soon_threadsafe(self._readable)

    def _stop_reading(self) -> None:
        self._loop.remove_reader(self._channel.fileno())

    def _obey(self, message: Message, fds: list[int]) -> None:
        match message:
            case Hello():
                self._greet(message)
            case Serve():
                self._orders.serve()
            case Park(release_clients=release_clients):
                self._orders.park(release_clients=release_clients)
            case Drain():
                self._orders.drain(message.timeout_s, sweep=message.sweep)
            case Reopen():
                for fd in fds:
                    self._orders.reopen(fd)
            case ReopenEvents():
                for fd in fds:
                    self._orders.reopen_events(fd)
            case SetLogLevel(level=level, format=form):
                self._orders.set_log_level(level, json=form == "json")
            case Tell(stacks=stacks):
                self._orders.tell(stacks=stacks)
            case Profile(seconds=seconds, memory=memory):
                for fd in fds:
                    self._orders.profile(fd, seconds, memory=memory)
            case (
                Fork()
                | Forked()
                | Stage()
                | WorkerReady()
                | WorkerFailed()
                | Obeyed()
                | WorkerDraining()
                | WorkerDrained()
                | RequestReport()
                | GaveUp()
                | SlowEnded()
                | Raised()
            ):
                self._log.error(f"the master sent a worker's own message: {message}")
            case _:
                assert_never(message)

    def _greet(self, hello: Hello) -> None:
        problem = compatible(hello, LAYOUT)
        self.protocol = hello.protocol
        if problem is None:
            self.greeted.set()
        else:
            self._orders.refuse(f"{problem}: run `gwctl upgrade`")

    def _watch_write(self) -> None:
        wanted = self._channel.wants_write
        if wanted and not self._watching_write:
            self._loop.add_writer(self._channel.fileno(), self._writable)
        elif self._watching_write and not wanted:
            self._loop.remove_writer(self._channel.fileno())
        self._watching_write = wanted

    def _writable(self) -> None:
        self._channel.flush()
        self._watch_write()


def flush(channel: Channel, timeout_s: float) -> None:
    """Write what ``channel`` has queued, waiting at most ``timeout_s`` for each part of it.

    In a signal's handler that has interrupted another who writes it is left to that one.
    """
    writable = poll()
    if channel.wants_write:
        writable.register(channel.fileno(), POLLOUT)
    with suppress(OSError):  # poll(2) goes by RLIMIT_NOFILE, which the application may have set to 0
        while channel.wants_write and not channel.writing and writable.poll(timeout_s * 1000):
            channel.flush()
