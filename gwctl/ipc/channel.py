"""The channel between the master and one worker: a socketpair, one JSON message a line.

Rules
    - Each side first sends a hello with the versions it speaks; one version back is accepted
      both ways, because a package upgraded on disk plus a crash pairs a new worker with an
      old master.
    - A message is one frozen struct below; its ``t`` field names it. Unknown fields are
      ignored (a newer peer may send more), unknown messages raise `ChannelError`.
    - Descriptors travel beside the line that speaks of them (SCM_RIGHTS), from the master to the worker
      only: the master takes none, the kernel closes what is sent to it.
    - Neither side ever blocks on it: what the socket does not take is queued, with copies of its
      descriptors. Nor does a side read for ever: it takes `READ_BYTES_MAX` at a time.

End of file is only a hint that the peer is gone: processes that the application started may
hold copies of the descriptor. The pidfd decides.
"""

from __future__ import annotations

import errno
import os
import socket
from collections import deque
from contextlib import suppress
from typing import Final

import msgspec

from gwctl import json_text
from gwctl.ipc import inherited_fds
from gwctl.ipc.output_pipes import WorkerEnds

PROTOCOL: Final = 9
"""Version of the messages below. Raise it when an old peer could misread one."""

LINE_BYTES_MAX: Final = 1 << 20
"""A longer line is a bug of the peer; a traceback is cut well below this."""

READ_BYTES_MAX: Final = 1 << 20
"""Taken by one `Channel.receive`; more than a socket holds: what a dead worker has said is read at once."""

FDS_MAX: Final = 8


class ChannelError(Exception):
    """The peer sent something that is not a message of this protocol."""


class Hello(msgspec.Struct, frozen=True, tag="hello", tag_field="t"):
    """First message each way."""

    protocol: int
    scoreboard_layout: int
    version: str


# ---- worker to master


class Stage(msgspec.Struct, frozen=True, tag="stage", tag_field="t"):
    """The boot reached ``name``: environment, import, lifespan or warm-up."""

    name: str


class WorkerReady(msgspec.Struct, frozen=True, tag="ready", tag_field="t"):
    """Imported, started up and able to accept as soon as it is told to."""

    worker_class: str
    import_s: float
    boot_s: float
    memory_bytes: int
    parser: str
    loop: str


class WorkerFailed(msgspec.Struct, frozen=True, tag="failed", tag_field="t"):
    """The boot failed; the worker exits by itself right after this.

    ``kind`` is ``import`` (the application could not be imported), ``lifespan`` or ``boot``.
    ``traceback`` has the application's frames only.
    """

    kind: str
    message: str
    traceback: str


class Obeyed(msgspec.Struct, frozen=True, tag="obeyed", tag_field="t"):
    """It has carried out a `Serve` or a `Park`. Since `OBEYED_PROTOCOL`."""

    serving: bool


class WorkerDraining(msgspec.Struct, frozen=True, tag="draining", tag_field="t"):
    """It accepts no more. ``requests`` are being served on ``connections`` open ones."""

    connections: int
    requests: int


class WorkerDrained(msgspec.Struct, frozen=True, tag="drained", tag_field="t"):
    """Nothing is left to finish; the process is about to exit. ``cut`` requests were not finished."""

    cut: int


class RequestUnderWay(msgspec.Struct, frozen=True):
    """One request in the application. ``thread`` is the ident of the one that runs it, 0: the loop's."""

    what: str
    age_s: float
    thread: int = 0


class TaskStack(msgspec.Struct, frozen=True):
    """One asyncio task. ``request`` is what it serves, empty for others; ``frames`` as of faulthandler."""

    name: str
    request: str
    frames: tuple[str, ...]


class RequestReport(msgspec.Struct, frozen=True, tag="told", tag_field="t"):
    """Answer to `Tell`. The longest under way first; ``more`` counts what is left out."""

    requests: tuple[RequestUnderWay, ...]
    tasks: tuple[TaskStack, ...]
    more_requests: int = 0
    more_tasks: int = 0
    stacks: str = ""
    """Of all threads, as faulthandler writes them; empty if they were not asked for."""


class Forked(msgspec.Struct, frozen=True, tag="forked", tag_field="t"):
    """Answer of a template to `Fork`: the pid of the new child of the master, or 0 and why there is none.

    Written before the child does anything: what the child says or how it ends is later news.
    """

    worker: int
    pid: int
    reason: str = ""


class GaveUp(msgspec.Struct, frozen=True, tag="gave_up", tag_field="t"):
    """A request is over its limit, and the thread that has it cannot be ended. Since `GIVE_UP_PROTOCOL`."""

    request: str
    age_s: float


class SlowEnded(msgspec.Struct, frozen=True, tag="slow_ended", tag_field="t"):
    """A request has ended that took longer than ``slow_request_s``. Since `SLOW_PROTOCOL`."""

    request: str
    status: int
    """0: none was sent."""
    seconds: float


class Raised(msgspec.Struct, frozen=True, tag="raised", tag_field="t"):
    """The application has raised, or logged, an exception of a type and at a place that were not told yet.

    Since `RAISED_PROTOCOL`.
    """

    kind: str
    """Its type: ``KeyError``, ``shop.errors.OutOfStock``."""
    where: str
    """The innermost frame: ``/srv/shop/views.py:12``; empty: there is none."""
    traceback: str


# ---- master to worker


class Serve(msgspec.Struct, frozen=True, tag="serve", tag_field="t"):
    """Accept connections (also after a `Park`)."""


class Park(msgspec.Struct, frozen=True, tag="park", tag_field="t"):
    """Stop accepting, stay alive.

    ``release_clients``: have them leave, as when draining: `Connection: close` on each further response, idle
    connections closed after ``linger_s``, WebSockets closed with 1012. Else they are served as before.
    """

    release_clients: bool = msgspec.field(default=False, name="shed")


class Drain(msgspec.Struct, frozen=True, tag="drain", tag_field="t"):
    """Finish within ``timeout_s`` and exit.

    ``sweep`` is true when the whole pool stops: accept what already waits in the backlog
    before closing the listeners, since no sibling will.
    """

    timeout_s: float
    sweep: bool = False


class Reopen(msgspec.Struct, frozen=True, tag="reopen", tag_field="t"):
    """Use the access log descriptor that comes with this line instead of the present one."""


class ReopenEvents(msgspec.Struct, frozen=True, tag="reopen_events", tag_field="t"):
    """Put the descriptor that comes with this line, the event log's, in the place of stderr.

    Since `REOPEN_EVENTS_PROTOCOL`.
    """


class SetLogLevel(msgspec.Struct, frozen=True, tag="log_level", tag_field="t"):
    """Log what is at least of this level. Since `LOG_LEVEL_PROTOCOL`."""

    level: int
    format: str = "text"
    """A worker of a program that has no other ignores it."""


class Tell(msgspec.Struct, frozen=True, tag="tell", tag_field="t"):
    """Say what is under way: the requests, and the asyncio tasks. Since `TELL_PROTOCOL`."""

    stacks: bool = False
    """And where all threads are. Since `INSPECT_PROTOCOL`."""


class Profile(msgspec.Struct, frozen=True, tag="profile", tag_field="t"):
    """Sample stacks, and tell it over the descriptor that comes with this line: see `gwctl.profile.lines`.

    Since `PROFILE_PROTOCOL`.
    """

    seconds: float
    memory: bool = False
    """Note allocations instead."""


class Fork(msgspec.Struct, frozen=True, tag="fork", tag_field="t"):
    """To a template: fork this worker. What is not said here is as in the template's own assignment.

    With it come its end of its channel, the file for its stacks, where ``access_log_fd`` is over 2 the access
    log, and where it is ``captured`` its ends of the pipes that it prints to (`gwctl.ipc.output_pipes`).
    """

    worker: int
    slot: int
    record: int
    """Its place on the scoreboard."""
    processes: int
    log_level: int
    access_log_fd: int
    log_format: str = "text"
    captured: bool = False
    """What it prints is taken by the master, as what its template prints, which therefore knows of this."""

    @property
    def descriptors(self) -> int:
        count = 3 if self.access_log_fd > _STDERR else 2
        return count + len(WorkerEnds._fields) if self.captured else count


_STDERR: Final = 2
TELL_PROTOCOL: Final = 2
"""A worker that speaks less does not know `Tell`."""

OBEYED_PROTOCOL: Final = 3
"""A side that speaks less does not know `Obeyed`."""
GIVE_UP_PROTOCOL: Final = 3
"""A master that speaks less does not know `GaveUp`."""
TEMPLATE_DRAINS_PROTOCOL: Final = 4
"""A template that speaks less does not know `Drain`."""
LOG_LEVEL_PROTOCOL: Final = 5
"""A worker that speaks less does not know `SetLogLevel`."""
INSPECT_PROTOCOL: Final = 5
"""A worker that speaks less has no `gwctl.ipc.assignment.INSPECT_SIGNAL`."""

SLOW_PROTOCOL: Final = 6
"""A master that speaks less does not know `SlowEnded`."""
REOPEN_EVENTS_PROTOCOL: Final = 7
"""A process that speaks less does not know `ReopenEvents`."""
PROFILE_PROTOCOL: Final = 8
"""A worker that speaks less does not know `Profile`."""
RAISED_PROTOCOL: Final = 9
"""A master that speaks less does not know `Raised`."""

Up = (
    Hello
    | Stage
    | WorkerReady
    | WorkerFailed
    | Obeyed
    | WorkerDraining
    | WorkerDrained
    | RequestReport
    | Forked
    | GaveUp
    | SlowEnded
    | Raised
)
Down = Hello | Serve | Park | Drain | Reopen | ReopenEvents | SetLogLevel | Tell | Profile | Fork
Message = Up | Down

_BLOCK_BYTES: Final = 1 << 16
_LATER: Final = frozenset({errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM, errno.ETOOMANYREFS})
"""The socket, or the kernel, has no room for it now; `Channel.wants_write` remains."""

_decoder = msgspec.json.Decoder(Message)


def compatible(hello: Hello, scoreboard_layout: int) -> str | None:
    """Say why this peer cannot be worked with, or None. One version apart is fine."""
    if abs(hello.protocol - PROTOCOL) > 1:
        return f"channel protocol {hello.protocol} (gwctl {hello.version}) does not go with {PROTOCOL}"
    if abs(hello.scoreboard_layout - scoreboard_layout) > 1:
        return (
            f"scoreboard layout {hello.scoreboard_layout} (gwctl {hello.version}) "
            f"does not go with {scoreboard_layout}"
        )
    return None


class ChannelSnapshot(msgspec.Struct, frozen=True):
    """One end as it is handed over in an upgrade, descriptor, half a line, and what is not written yet."""

    fd: int
    partial: bytes = b""
    queue: tuple[tuple[bytes, tuple[int, ...]], ...] = ()
    closed: bool = False
    write_closed: bool = msgspec.field(default=False, name="deaf")
    owns_queued: bool = False
    """The queue's descriptors are copies, made for it."""


class Channel:
    """One end. Non-blocking: `send` queues what the socket does not take at once.

    The owner watches `fileno`: readable calls `receive`, writable (while `wants_write`)
    calls `flush`.

    A signal's handler may send or flush in the midst of either. One line is written at a time: whoever
    comes while another writes queues its line, and leaves the queue to that one.
    """

    def __init__(self, sock: socket.socket, *, takes_fds: bool = True) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._takes_fds = takes_fds
        self._inode = os.fstat(sock.fileno()).st_ino if takes_fds else 0
        self._partial = bytearray()
        self._fds: deque[int] = deque()
        self._taken: deque[tuple[Message, list[int]]] = deque()
        """Read by `take`, and left for `receive`."""
        self._reading = False
        self._queue: deque[tuple[bytes, tuple[int, ...]]] = deque()
        self.closed = False
        """Nothing more will be read."""
        self.writing = False
        """Somebody does: in this frame, or in one that a signal's handler has interrupted."""
        self._write_closed = False  # the peer takes no more; what it wrote before can still be read
        self.starved = False
        """It is the kernel, not the socket, that has no room: being writable says nothing. Try later."""

    def snapshot(self) -> ChannelSnapshot:
        """What `resumed` needs to go on where this end is."""
        queue, fd = tuple(self._queue), self._sock.fileno()
        return ChannelSnapshot(
            fd, bytes(self._partial), queue, self.closed, self._write_closed, owns_queued=True
        )

    @classmethod
    def resumed(cls, snapshot: ChannelSnapshot) -> Channel:
        """Go on where another program was, on the same descriptor: as a master, who takes none."""
        channel = cls(inherited_fds.socket_of(snapshot.fd), takes_fds=False)
        channel._partial += snapshot.partial
        for line, fds in snapshot.queue:
            channel._queue.append((line, fds if snapshot.owns_queued else tuple(map(os.dup, fds))))
        channel.closed, channel._write_closed = snapshot.closed, snapshot.write_closed
        return channel

    def fileno(self) -> int:
        return self._sock.fileno()

    @property
    def wants_write(self) -> bool:
        return bool(self._queue)

    def send(self, message: Message, fds: tuple[int, ...] = ()) -> None:
        """Write ``message``, or queue it with copies of ``fds``: their numbers may be others' by then.

        Raises:
            OSError: No descriptor is left for a copy. Nothing was queued.
        """
        if self._write_closed:
            return
        line = json_text.encode(message) + b"\n"
        interrupted, self.writing = self.writing, True
        sent = 0
        try:
            if not (interrupted or self._queue):
                sent = self._write(line, fds)
            if 0 < sent < len(line):
                self._queue.appendleft((line[sent:], ()))  # ahead of what a handler has queued meanwhile
            elif not sent:
                self._queue.append((line, tuple(map(os.dup, fds))))
        finally:
            self.writing = interrupted
        if self._queue and sent == len(line):
            self.flush()  # what a handler has left to us

    def flush(self) -> None:
        """Write what the socket takes. A peer that is gone empties the queue: its exit is news of its own."""
        if self.writing:
            return
        self.writing = True
        try:
            while self._queue:
                line, fds = self._queue[0]
                sent = self._write(line, fds)
                if not sent or self._write_closed:
                    return
                self._queue.popleft()
                _close(fds)
                if sent < len(line):
                    self._queue.appendleft((line[sent:], ()))
                    return
        finally:
            self.writing = False

    def _write(self, line: bytes, fds: tuple[int, ...]) -> int:
        """Write a line; return how much of it is done with: all of it if the peer, or this end, is gone."""
        if self._takes_fds and not self._is_ours():
            return self._gone(line)
        try:
            sent = socket.send_fds(self._sock, [line], fds) if fds else self._sock.send(line)
        except (BrokenPipeError, ConnectionResetError):
            return self._gone(line)
        except OSError as error:
            if error.errno not in _LATER:
                raise
            self.starved = error.errno != errno.EAGAIN
            return 0
        self.starved = False
        return sent

    def _is_ours(self) -> bool:
        """Tell whether the descriptor is still this socket's: applications close what is not theirs."""
        try:
            return os.fstat(self._sock.fileno()).st_ino == self._inode
        except OSError:
            return False

    def _gone(self, line: bytes) -> int:
        self._write_closed = True
        self._empty_queue()
        return len(line)

    def _empty_queue(self) -> None:
        queue, self._queue = self._queue, deque()
        for _, fds in queue:
            _close(fds)

    def receive(self) -> list[tuple[Message, list[int]]]:
        """Read what is there: messages in order, each with the descriptors that belong to it.

        Sets `closed` at end of file.

        Raises:
            ChannelError: Not a message of this protocol.
        """
        interrupted, self._reading = self._reading, True
        try:
            taken, self._taken = self._taken, deque()
            return [*taken, *self._receive()]
        finally:
            self._reading = interrupted

    def take(self, kind: type[Message]) -> list[tuple[Message, list[int]]]:
        """The same of one ``kind`` alone; what else was read stays for `receive`: see `holds`.

        For a signal's handler, which may have interrupted `receive` itself: then there is nothing to take.

        Raises:
            ChannelError: Not a message of this protocol.
        """
        if self._reading:
            return []
        self._reading = True
        try:
            self._taken.extend(self._receive())
        finally:
            self._reading = False
        found = [each for each in self._taken if isinstance(each[0], kind)]
        self._taken = deque(each for each in self._taken if not isinstance(each[0], kind))
        return found

    @property
    def holds(self) -> bool:
        """There is something for `receive` of which the descriptor does not tell."""
        return bool(self._taken)

    def _receive(self) -> list[tuple[Message, list[int]]]:
        left = READ_BYTES_MAX
        while left > 0 and not self.closed:
            fds: list[int] = []
            try:
                if self._takes_fds:
                    data, fds, _flags, _addr = socket.recv_fds(self._sock, _BLOCK_BYTES, FDS_MAX)
                else:
                    data = self._sock.recv(_BLOCK_BYTES)
            except ConnectionResetError:
                self.closed = True
                break
            except OSError as error:
                if error.errno not in _LATER:
                    raise
                break
            for fd in fds:
                os.set_inheritable(fd, False)  # recvmsg does not: PEP 446 leaves it out
            self._fds.extend(fds)
            if not data:
                self.closed = True
            self._partial += data
            left -= len(data)
        *lines, rest = self._partial.split(b"\n")
        self._partial = bytearray(rest)
        if len(rest) > LINE_BYTES_MAX:
            raise ChannelError(f"a line of over {LINE_BYTES_MAX} bytes")
        return [self._parse(bytes(line)) for line in lines]

    def waiting(self) -> list[Message]:
        """Return the whole messages that `receive` would return now, and leave them. Any thread may ask."""
        try:
            ahead = self._sock.recv(65536, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except (OSError, ValueError):
            ahead = b""
        messages = [message for message, _ in self._taken]
        for line in (bytes(self._partial) + ahead).split(b"\n")[:-1]:
            with suppress(ValueError, RecursionError):  # whoever reads it says so
                messages.append(_decoder.decode(line))
        return messages

    def _parse(self, line: bytes) -> tuple[Message, list[int]]:
        try:
            message = _decoder.decode(line)
        except (ValueError, RecursionError) as error:  # a DecodeError among others: digits without end, depth
            raise ChannelError(f"{error}: {line[:200]!r}") from None
        count = _descriptors(message)
        return message, [self._fds.popleft() for _ in range(min(count, len(self._fds)))]

    def hang_up(self) -> None:
        """Say no more and hear no more. The peer finds the end of the channel."""
        self.closed = True
        self._write_closed = True
        self._empty_queue()
        with suppress(OSError):  # the peer may be gone already
            self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.closed = True
        self._sock.close()
        self._empty_queue()
        for fd in (*self._fds, *(fd for _, fds in self._taken for fd in fds)):
            socket.close(fd)
        self._fds.clear()
        self._taken.clear()


def _descriptors(message: Message) -> int:
    """How many come with it."""
    match message:
        case Reopen() | ReopenEvents() | Profile():
            return 1
        case Fork():
            return message.descriptors
    return 0


def _close(fds: tuple[int, ...]) -> None:
    for fd in fds:
        os.close(fd)
