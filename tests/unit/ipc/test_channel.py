"""The channel: messages both ways, descriptors beside them, and peers that are odd or gone."""

from __future__ import annotations

import errno
import os
import socket
from collections import deque

import pytest

from gwctl.ipc import channel as wire
from gwctl.ipc.channel import (
    Channel,
    ChannelError,
    Drain,
    Fork,
    Forked,
    Hello,
    Park,
    Profile,
    Reopen,
    Serve,
    WorkerFailed,
    compatible,
)
from gwctl.workers.lifecycle import master_link
from tests.support.processes import descriptors

MESSAGES = [
    Hello(1, 1, "0.1.0"),
    Serve(),
    Park(),
    Drain(3.5, True),
    WorkerFailed("import", "no module", 'File "x"\nü'),
    Forked(5, 812),
    Forked(5, 0, "fork failed: Cannot allocate memory"),
]


@pytest.fixture
def ends():
    one, other = socket.socketpair()
    channels = Channel(one), Channel(other)
    yield channels
    for each in channels:
        each.close()


def test_what_is_no_text_arrives_as_the_log_shows_it(ends):
    """A message of an exception, or a path, with surrogates: from a worker to its master."""
    one, other = ends
    one.send(WorkerFailed("import", "no \udcff", 'File "\ud800/x.py"'))
    ((message, _),) = other.receive()
    assert message == WorkerFailed("import", "no \\udcff", 'File "\\ud800/x.py"')


def test_messages_arrive_in_order_and_equal(ends):
    master, worker = ends
    for message in MESSAGES:
        master.send(message)
    assert [message for message, _ in worker.receive()] == MESSAGES
    worker.send(Serve())
    assert master.receive() == [(Serve(), [])]


def test_a_line_in_pieces_is_one_message(ends):
    master, worker = ends
    line = b'{"t":"drain","timeout_s":2.0}\n{"t":"park"}\n{"t":"se'
    for index in range(len(line)):
        master._sock.send(line[index : index + 1])
        received = worker.receive()
        assert [m for m, _ in received] == {28: [], 29: [Drain(2.0)], 42: [Park()]}.get(index, []), index
    master._sock.send(b'rve"}\n')
    assert worker.receive() == [(Serve(), [])]


def test_a_descriptor_comes_with_its_message_and_is_not_inherited_further(ends):
    master, worker = ends
    read, write = os.pipe()
    master.send(Park())
    master.send(Reopen(), (write,))
    master.send(Serve())
    received = worker.receive()
    assert [type(m) for m, _ in received] == [Park, Reopen, Serve]
    (fd,) = received[1][1]
    assert not os.get_inheritable(fd)
    os.write(fd, b"x")
    assert os.read(read, 1) == b"x"
    for each in (read, write, fd):
        os.close(each)


def test_one_kind_is_taken_ahead_and_the_others_stay_in_order_and_are_seen_to_wait(ends):
    master, worker = ends
    read, write = os.pipe()
    master.send(Reopen(), (write,))
    master.send(Profile(2.0), (write,))
    master.send(Drain(1.0))
    ((message, (fd,)),) = worker.take(Profile)
    assert (message, os.fstat(fd).st_ino) == (Profile(2.0), os.fstat(write).st_ino)
    assert (worker.holds, worker.waiting()) == (True, [Reopen(), Drain(1.0)])
    master.send(Serve())
    assert worker.take(Profile) == []
    received = worker.receive()
    assert [each for each, _ in received] == [Reopen(), Drain(1.0), Serve()]
    assert not worker.holds
    for each in (read, write, fd, *received[0][1]):
        os.close(each)


def test_what_a_handler_reads_is_neither_overtaken_nor_told_twice(ends, monkeypatch):
    """It comes when `receive` has just begun: what it would read is read right after, in order."""
    master, worker = ends
    read, write = os.pipe()
    master.send(Drain(1.0))
    worker.take(Profile)
    master.send(Profile(2.0), (write,))
    master.send(Serve())
    taken = []

    def interrupted(*given):
        monkeypatch.setattr(wire, "deque", deque)
        taken.append(worker.take(Profile))
        return deque(*given)

    monkeypatch.setattr(wire, "deque", interrupted)
    received = worker.receive()
    assert [each for each, _ in received] == [Drain(1.0), Profile(2.0), Serve()]
    assert (taken, worker.holds) == ([[]], False)
    for each in (read, write, *received[1][1]):
        os.close(each)


def test_nothing_is_taken_in_the_midst_of_reading(ends, monkeypatch):
    """A signal's handler comes between two bytecodes of `receive`: what it leaves there is read right after."""
    master, worker = ends
    read, write = os.pipe()
    master.send(Profile(2.0), (write,))
    taken = []

    def interrupted():
        taken.append(worker.take(Profile))
        return original()

    original = worker._receive
    monkeypatch.setattr(worker, "_receive", interrupted)
    ((message, (fd,)),) = worker.receive()
    assert (message, taken) == (Profile(2.0), [[]])
    for each in (read, write, fd):
        os.close(each)


@pytest.mark.parametrize("access_log_fd", [-1, 1, 7])
def test_the_descriptors_of_a_worker_to_be_forked_come_with_its_order(ends, access_log_fd):
    """Two, or three with an access log that is a file; those that follow belong to the next message."""
    master, template = ends
    order = Fork(5, 1, 3, 2, 20, access_log_fd)
    files = [os.memfd_create(str(number)) for number in range(order.descriptors)]
    master.send(order, tuple(files))
    master.send(Reopen(), (files[0],))
    (first, fds), (second, others) = template.receive()
    assert (first, type(second)) == (order, Reopen)
    assert [os.fstat(fd).st_ino for fd in fds] == [os.fstat(fd).st_ino for fd in files]
    assert len(others) == 1
    for fd in (*files, *fds, *others):
        os.close(fd)


def test_a_peer_that_does_not_read_blocks_nobody_and_loses_nothing(ends):
    """What the socket does not take is queued, and flushed once there is room."""
    master, worker = ends
    failed = WorkerFailed("import", "x" * 1000, "y" * 1000)
    for _ in range(2000):
        master.send(failed)
    assert master.wants_write
    count = 0
    while master.wants_write:
        count += len(worker.receive())
        master.flush()
    count += len(worker.receive())
    assert count == 2000


def test_the_end_of_the_peer_is_seen_after_its_last_words(ends):
    master, worker = ends
    worker.send(WorkerFailed("import", "last words", ""))
    worker.close()
    assert [m for m, _ in master.receive()] == [WorkerFailed("import", "last words", "")]
    assert master.closed
    master.send(Serve())
    assert not master.wants_write


@pytest.mark.parametrize(
    "line", [b"nonsense\n", b'{"t":"unheard"}\n', b'{"t":"drain","timeout_s":"long"}\n', b"[]\n", b"\xff\n"]
)
def test_what_is_no_message_is_an_error(ends, line):
    master, worker = ends
    master._sock.send(line)
    with pytest.raises(ChannelError):
        worker.receive()


def test_a_line_without_end_is_an_error(ends, monkeypatch):
    master, worker = ends
    monkeypatch.setattr(wire, "LINE_BYTES_MAX", 1000)
    master._sock.send(b"x" * 2000)
    with pytest.raises(ChannelError, match="a line of over 1000 bytes"):
        worker.receive()


def test_fields_of_a_newer_peer_are_ignored(ends):
    master, worker = ends
    master._sock.send(b'{"t":"drain","timeout_s":1.0,"spread_s":5}\n')
    assert worker.receive() == [(Drain(1.0), [])]


@pytest.mark.parametrize(
    ("protocol", "layout", "fits"),
    [(0, 0, True), (0, 1, True), (0, -1, True), (1, 0, True), (-1, 0, True), (2, 0, False), (0, 2, False)],
)
def test_one_version_apart_is_compatible_and_two_are_not(protocol, layout, fits):
    hello = Hello(wire.PROTOCOL + protocol, 5 + layout, "9.9")
    reason = compatible(hello, 5)
    assert (reason is None) is fits
    if reason is not None:
        assert "gwctl 9.9" in reason


def test_the_last_words_are_read_although_the_peer_takes_no_more(ends):
    """A worker says why it cannot boot and is gone; an order to it meanwhile must not eat its reason."""
    master, worker = ends
    worker.send(WorkerFailed("import", "last words", ""))
    worker.close()
    master.send(Serve())
    assert not master.wants_write
    assert [m for m, _ in master.receive()] == [WorkerFailed("import", "last words", "")]
    assert master.closed


class Reluctant:
    """A socket that has an error for the first calls."""

    def __init__(self, sock: socket.socket, number: int) -> None:
        self._sock = sock
        self.errors = [OSError(number, os.strerror(number))] * 2

    def fileno(self) -> int:
        return self._sock.fileno()

    def send(self, data: bytes) -> int:
        if self.errors:
            raise self.errors.pop()
        return self._sock.send(data)


@pytest.mark.parametrize("number", [errno.ENOBUFS, errno.ENOMEM, errno.ETOOMANYREFS])
def test_what_the_kernel_has_no_room_for_now_is_kept_and_sent_later(ends, number):
    """The master would end with it: there is nobody above who could do more."""
    one, other = ends
    one._sock = Reluctant(one._sock, number)
    one.send(Serve())
    one.flush()
    assert one.wants_write
    assert other.receive() == []
    one.flush()
    assert [message for message, _ in other.receive()] == [Serve()]
    one._sock = one._sock._sock


def test_nothing_is_written_to_what_has_taken_the_number_of_a_worker_s_end():
    """An application closes descriptors that are not its own, and the next ones get their numbers."""
    ours, theirs = socket.socketpair()
    channel = Channel(ours)
    channel.send(Serve())
    taken, peer = socket.socketpair()
    os.dup2(taken.fileno(), ours.fileno())
    for _ in range(2):
        channel.send(Serve())
        assert not channel.wants_write
    peer.setblocking(False)
    with pytest.raises(BlockingIOError):
        peer.recv(1)
    os.close(ours.detach())
    assert theirs.recv(1000) == b'{"t":"serve"}\n'
    assert theirs.recv(1000) == b""
    for sock in (theirs, taken, peer):
        sock.close()


def test_a_worker_that_has_no_end_any_more_says_nothing():
    ours, theirs = socket.socketpair()
    channel = Channel(ours)
    os.close(ours.fileno())
    channel.send(Serve())
    assert not channel.wants_write
    assert theirs.recv(1000) == b""
    ours.detach()
    theirs.close()


class Endless:
    """A socket of a peer that never stops writing."""

    def __init__(self, block: bytes) -> None:
        self._block = block
        self.given = 0

    def setblocking(self, _flag: bool) -> None:
        pass

    def recv(self, size: int) -> bytes:
        data = self._block[:size]
        self.given += len(data)
        return data


def test_a_peer_that_never_stops_writing_is_left_after_a_while():
    """Who reads has others to see to; what it holds meanwhile is bounded."""
    peer = Endless(b'{"t":"serve"}\n' * 4000)
    channel = Channel(peer, takes_fds=False)
    assert len(channel.receive()) > 10_000
    assert peer.given <= 2 * wire.READ_BYTES_MAX
    endless = Channel(Endless(b"x" * 65536), takes_fds=False)
    with pytest.raises(ChannelError, match="a line of over"):
        for _ in range(3):
            endless.receive()
    assert len(endless._partial) <= 2 * wire.LINE_BYTES_MAX


@pytest.mark.parametrize(
    "line",
    [
        b'{"t":"stage","name":"x","more":' + b"[" * 300_000,
        b'{"t":"stage","name":"x","more":' + b"[" * 300_000 + b"]" * 300_000 + b"}",
        b'{"t":' * 100_000,
        b'{"t":"drained","cut":' + b"9" * 100_000 + b"}",
        b'{"t":"stage","name":"\\ud800"}',
        b'{"t":"stage","name":"\xff"}',
        b'{"t":"gave_up","request":"x","age_s":1e999}',
        b"\0" * 1000,
        b"",
    ],
    ids=lambda line: str(line[:30]),
)
def test_a_line_that_is_made_to_break_its_reader_is_no_message(ends, line):
    """Depth without end, digits without end, no text: the reader is the master."""
    master, worker = ends
    worker._sock.setblocking(False)
    left = line + b"\n"
    with pytest.raises(ChannelError):
        while True:
            left = left[worker._sock.send(left) :] if left else left
            master.receive()


def test_the_master_is_left_with_no_descriptor_of_a_worker():
    ours, theirs = socket.socketpair()
    master = Channel(ours, takes_fds=False)
    before = len(descriptors(os.getpid()))
    read, write = os.pipe()
    for _ in range(100):
        socket.send_fds(theirs, [b'{"t":"serve"}\n'], [read] * 100)
        assert master.receive() == [(Serve(), [])]
    os.close(read)
    with pytest.raises(BrokenPipeError):  # no copy of the other end is left anywhere
        os.write(write, b"x")
    os.close(write)
    assert len(descriptors(os.getpid())) <= before
    master.close()
    theirs.close()


def test_a_descriptor_that_waits_in_the_queue_is_the_one_that_was_given(ends):
    """Its number may be another's by the time that the socket takes it: of another worker's channel, say."""
    master, worker = ends
    while not master.wants_write:
        master.send(Park())
    read, write = os.pipe()
    master.send(Reopen(), (write,))
    os.close(write)
    other = os.open(os.devnull, os.O_WRONLY)
    assert other == write, "the number is used again"
    fds = []
    while master.wants_write or not fds:
        fds += [fd for _, each in worker.receive() for fd in each]
        master.flush()
    os.write(fds[0], b"x")
    assert os.read(read, 1) == b"x"
    for each in (read, other, *fds):
        os.close(each)


class Interrupted:
    """A socket at which a signal's handler runs right before and right after each call of the system."""

    def __init__(self, sock: socket.socket, handler) -> None:
        self._sock = sock
        self._handler = handler
        self.calls = 0

    def send(self, data: bytes) -> int:
        self.calls += 1
        before, after = self._handler
        before(self.calls)
        sent = self._sock.send(data)
        after(self.calls)
        return sent

    def fileno(self) -> int:
        return self._sock.fileno()


@pytest.mark.parametrize("when", ["before", "after", "both"])
@pytest.mark.parametrize("flushes", [False, True])
@pytest.mark.parametrize("full", [False, True])
def test_a_handler_may_send_in_the_midst_of_another_line(ends, when, flushes, full):
    """Each line arrives whole and once, whichever of them the socket took in parts, or not at first."""
    one, other = ends
    plain, said = one._sock, []

    def say(text):
        said.append(text)
        one.send(WorkerFailed("import", text, "y" * 40_000))

    def handler(call):
        say(f"handler {call}")
        if flushes:
            one.flush()
            master_link.flush(one, 5.0)

    def nothing(_call):
        """No signal."""

    while full and not one.wants_write:
        say(f"at first {len(said)}")
    one._sock = Interrupted(
        plain, (handler if when != "after" else nothing, handler if when != "before" else nothing)
    )
    heard = []
    for number in range(20):
        say(f"line {number}")
        if full and number == 10:
            heard += other.receive()
        one.flush()
    one._sock = plain
    while one.wants_write:
        heard += other.receive()
        one.flush()
    heard += other.receive()
    assert sorted(message.message for message, _ in heard) == sorted(said)
    assert not one.writing


def test_a_handler_finds_the_peer_gone_in_the_midst_of_a_flush(ends):
    one, other = ends
    while not one.wants_write:
        one.send(WorkerFailed("import", "x", "y" * 40_000))

    def handler(_call):
        other._sock.close()
        one.send(Serve())
        one.flush()

    plain = one._sock
    one._sock = Interrupted(plain, (handler, handler))
    one.flush()
    one.send(Serve())
    one._sock = plain
    assert not one.wants_write
