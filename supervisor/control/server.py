"""The control server: how ``gwctl status``, ``reload``, ``stop`` and ``scale`` reach the master.

It lives in the master's own loop, without a thread: each descriptor is registered with a
callback that takes the event mask. Nobody who connects can hurt the master:

    - only root, the master's own user and those of ``[control] allow_users`` are listened to: the peer's
      credentials are asked of the kernel; without any such the socket has mode 600 in a folder of mode 700;
    - the number of clients, of requests that one may have open, and the length of a line are
      bounded; a place is kept by speaking, and nobody is turned away for want of one
      (`gwctl.supervisor.control.client_slots`);
    - one request of a client is served in a turn of the loop, however many it has sent;
    - a client that does not read is not read from either, and is dropped when progress for
      it piles up; events do not pile up (`gwctl.supervisor.control.follower`);
    - no descriptor left for a client: it is accepted on a spare one and closed, because a
      listener that stays readable would turn the loop hot.

A client that goes away takes nothing with it: its request is carried out all the same, the
answer is forgotten. One that only ends its sending side (``nc -N``) still gets its answers.
"""

from __future__ import annotations

import errno
import os
import select
import selectors
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from gwctl.control import paths, peer
from gwctl.control import protocol as messages
from gwctl.errors import BindError, GwctlError, InvariantViolation
from gwctl.ipc import inherited_fds
from gwctl.records.master import ControlRefused, ControlSocketWarning, NoControlSocket
from gwctl.records.master_sentences import not_allowed
from gwctl.supervisor.control import client_slots
from gwctl.supervisor.control.connection import PASSED_MAX, Connection, close_all, hung_up
from gwctl.supervisor.control.follower import Follower, FollowerSnapshot
from gwctl.supervisor.core import actions
from gwctl.supervisor.listeners import unix_socket
from gwctl.supervisor.recorder import Recorder

CLIENTS_MAX: Final = 64
REQUESTS_MAX: Final = 8
"""Requests of one client that may wait for their answer."""
OUTPUT_BYTES_MAX: Final = 1 << 22
"""A client with more than this unread is dropped."""
_BACKLOG: Final = 128
_ACCEPTED_AT_ONCE_MAX: Final = 16
_REFUSAL_TOLD_S: Final = 10.0
_LAST_WORDS_S: Final = 0.5
"""For all clients together, of a master that has nothing else to do any more."""

Handle = Callable[[int, messages.Method, str], "dict[str, Any] | Follower | None"]
"""Takes a request's number (never 0), what is asked, and which of the allowed users asks; empty: root or the
master's own. A dictionary is the answer; a `Follower` says what there is to send before it; None that
`ControlServer.answer` follows. May raise GwctlError to refuse."""


class ClientSnapshot(msgspec.Struct, frozen=True):
    """A connection to the control socket."""

    fd: int
    received: bytes = b""
    output: bytes = b""
    requests: dict[int, int | str] = {}
    ended: bool = False
    followers: dict[int, FollowerSnapshot] = {}
    """Those of the requests that are for events."""


class ControlSnapshot(msgspec.Struct, frozen=True):
    path: str
    fd: int
    inode: tuple[int, int]
    clients: tuple[ClientSnapshot, ...] = ()
    last_request: int = 0


class ControlServer:
    """The socket at ``path``. ``handle`` is called from the loop for each request."""

    def __init__(
        self, path: Path, recorder: Recorder, handle: Handle, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.path = path
        self._clock = clock
        self._recorder = recorder
        self._handle = handle
        self._selector: selectors.BaseSelector | None = None
        self._listening: unix_socket.UnixSocket | None = None
        self._spare = -1
        self._clients: dict[int, Connection] = {}
        self._waiting: dict[int, Connection] = {}
        self._last_request = 0
        self._allowed: dict[int, str] = {}
        self._refused = 0
        self._refusal_told_at = -_REFUSAL_TOLD_S

    def allow(self, users: dict[int, str]) -> None:
        """Listen to these users, too, who have these names in records; who is connected stays."""
        changed, self._allowed = users != self._allowed, users
        if changed and self._listening is not None:
            try:
                self._listening.set_access(self._access)
                self._let_enter()
            except (BindError, OSError) as error:
                self._recorder.write(ControlSocketWarning(warning=str(error)))

    @property
    def _access(self) -> unix_socket.Access:
        return unix_socket.Access(0o666 if self._allowed else 0o600)

    def _let_enter(self) -> None:
        """Others may see what is in our own folder; whom a socket there listens to is its own matter."""
        if self._allowed:
            paths.let_enter(self.path.parent)

    # ---- the loop

    @property
    def next_at(self) -> float:
        """When `turn` has something to do that no descriptor tells of: monotonic seconds, or infinite."""
        if any(self._has_turn(client) or client.misses for client in self._clients.values()):
            return self._clock()
        return client_slots.next_idle_at(self._strangers)

    def turn(self, now: float) -> None:
        """Serve the next request of who has sent several, tell news, close who was silent for too long."""
        for client in [each for each in self._clients.values() if self._has_turn(each)]:
            self._serve(client)
        for client in [each for each in self._clients.values() if each.misses]:
            self._follow(client)
        for client in client_slots.idle(self._strangers, now):
            self._dismiss(client, f"closed after {client_slots.IDLE_S:g} s without a request")

    @staticmethod
    def _has_turn(client: Connection) -> bool:
        return client.has_line and not client.paused

    # ---- open and close

    def open(self, selector: selectors.BaseSelector) -> bool:
        """Make the socket and register it. False, said once in the log: the master goes on without.

        Raises:
            runtime.InstanceError: Another master listens there: it has this name.
        """
        try:
            if warning := paths.make_folder(self.path.parent):
                self._recorder.write(ControlSocketWarning(warning=warning))
            self._listening = unix_socket.bind(self.path, self._access, _BACKLOG)
            self._let_enter()
            self._spare = _open_spare()
        except (BindError, paths.NoRuntimeDirectoryError, OSError) as error:
            if isinstance(error, BindError) and error.errno == errno.EADDRINUSE:
                raise paths.InstanceError(
                    f"another master has this name: its control socket {self.path} is {error.reason}; "
                    "stop it, or give this one another master.name"
                ) from None
            self._recorder.write(NoControlSocket(reason=str(error)))
            self.close()
            return False
        self._selector = selector
        selector.register(self._listening.sock, selectors.EVENT_READ, self._accept)
        return True

    def attach(self, selector: selectors.BaseSelector) -> None:
        """Serve those who are connected by `connect` alone: nobody is listened to."""
        self._selector = selector

    def connect(self, sock: socket.socket) -> None:
        """Serve the other end of ``sock``, for as long as it is open."""
        sock.setblocking(False)
        client = Connection(sock, self._clock(), stays=True)
        self._clients[sock.fileno()] = client
        self._watch(client)

    @property
    def _strangers(self) -> list[Connection]:
        """Clients that came by the socket."""
        return [client for client in self._clients.values() if not client.stays]

    # ---- upgrade

    def snapshot(self) -> ControlSnapshot | None:
        """What `resume` needs to go on with the same socket and clients; None: it is closed."""
        if self._listening is None:
            return None
        clients = tuple(
            ClientSnapshot(
                fd,
                bytes(each.received),
                bytes(each.output),
                dict(each.requests),
                each.ended,
                {number: follower.snapshot() for number, follower in each.followers.items()},
            )
            for fd, each in self._clients.items()
        )
        sock, inode = self._listening.sock.fileno(), self._listening.inode
        return ControlSnapshot(str(self.path), sock, inode, clients, self._last_request)

    def resume(
        self,
        snapshot: ControlSnapshot,
        selector: selectors.BaseSelector,
        follower: Callable[[FollowerSnapshot], Follower],
    ) -> None:
        """Go on where another program was; who waits for an answer waits on."""
        self._selector = selector
        sock = inherited_fds.socket_of(snapshot.fd)
        self._listening = unix_socket.UnixSocket(sock, self.path, snapshot.inode)
        self._spare = _open_spare()
        self._last_request = snapshot.last_request
        selector.register(sock, selectors.EVENT_READ, self._accept)
        for each in snapshot.clients:
            client = Connection(inherited_fds.socket_of(each.fd), self._clock())
            client.received += each.received
            client.output += each.output
            client.requests.update(each.requests)
            client.ended = each.ended
            client.followers.update({number: follower(place) for number, place in each.followers.items()})
            self._clients[each.fd] = client
            self._waiting.update(dict.fromkeys(each.requests, client))
            self._watch(client)

    def close(self) -> None:
        """Send what is taken soon, then close everything and remove the file if it is ours.

        Who follows the events gets the last of them, and an answer.
        """
        self.stop_listening()
        end = self._clock() + _LAST_WORDS_S
        for client in list(self._clients.values()):
            self._say_the_last(client, end)
            self._drop(client)
        self.close_in_child()

    def _say_the_last(self, client: Connection, end: float) -> None:
        """Wait for its socket, but not longer than until ``end``."""
        writable = select.poll()
        writable.register(client.sock, select.POLLOUT)
        while client.write(self._clock()):
            client.follow()
            if not any(each.has_more for each in client.followers.values()):
                client.end_followers()
            if not client.output:
                return
            if not writable.poll(max(0.0, end - self._clock()) * 1000):
                return

    def stop_listening(self, *, unlink: bool = True) -> None:
        """Close the socket and remove its file if it is ours; who is connected stays.

        Without ``unlink`` another master has the socket, and goes on with it.
        """
        if self._listening is None:
            return
        if self._selector is not None:
            self._selector.unregister(self._listening.sock)
        if unlink:
            self._listening.unlink()
        self._listening.sock.close()
        self._listening = None

    @property
    def listening(self) -> unix_socket.UnixSocket | None:
        """The socket, while it is ours."""
        return self._listening

    def take(self, listening: unix_socket.UnixSocket) -> None:
        """Go on with a socket of another master's, or with one of our own if its file is not there any more.

        Raises:
            GwctlError: From `open`, or its access cannot be set.
            OSError: From the calls.
        """
        if self._selector is None:
            raise InvariantViolation("a control server that is attached to nothing takes a socket")
        if not listening.can_be_reached:
            listening.sock.close()
            self.open(self._selector)
            return
        listening.sock.setblocking(False)
        listening.sock.listen(_BACKLOG)  # again: who connects learns whose it is of who listened last
        listening.set_access(self._access)
        self._listening = listening
        self._let_enter()
        self._spare = _open_spare()
        self._selector.register(listening.sock, selectors.EVENT_READ, self._accept)

    def close_in_child(self) -> None:
        """In a forked child: close the copies of the descriptors; the file and the selector stay."""
        for client in self._clients.values():
            client.close()
        self._clients.clear()
        self._waiting.clear()
        if self._listening is not None:
            self._listening.sock.close()
            self._listening = None
        if self._spare >= 0:
            os.close(self._spare)
            self._spare = -1

    # ---- answers

    def progress(self, told: actions.Progress) -> None:
        """Tell whoever waits for it, if anybody does."""
        client = self._waiting.get(told.request)
        if client is not None:
            name = client.requests[told.request]
            seen = told.watched or msgspec.UNSET
            news = messages.Progress(name, told.pool, told.phase, told.outcome, told.detail, seen)
            self._send(client, messages.encode_progress(news))

    def answer(
        self,
        request: int,
        ok: bool,
        text: str,
        result: dict[str, Any],
        *passed: socket.socket,
    ) -> None:
        """The last word to ``request``; forgotten when nobody waits for it any more.

        ``passed`` goes to the client with it, and is closed here.
        """
        client = self._waiting.pop(request, None)
        if client is None:
            close_all(passed)
            return
        if len(client.passed) + len(passed) > PASSED_MAX:
            close_all(passed)
            ok, text, result = False, "it does not take what was passed to it before", {}
        else:
            client.passed.extend(passed)
        name = client.requests.pop(request)
        client.followers.pop(request, None)
        if ok:
            self._send(client, messages.encode_result(name, {"text": text} | result))
        else:
            self._send(client, messages.encode_error(name, messages.Failure(messages.REFUSED, text, result)))

    @property
    def waiting(self) -> int:
        """Requests that somebody still waits for."""
        return len(self._waiting)

    def _follow(self, client: Connection) -> None:
        """Send what there is of events, and the answer to who has all that was asked for."""
        if client.ended and hung_up(client.sock):
            self._drop(client)  # it is not watched: what would tell of it is its input
            return
        client.follow()
        done = [(number, each) for number, each in client.followers.items() if each.done]
        for number, follower in done:
            self.answer(number, ok=True, text="", result=follower.result())
        if not done:
            self._send(client, b"")

    def _send(self, client: Connection, line: bytes) -> None:
        client.output += line
        if len(client.output) > OUTPUT_BYTES_MAX or not client.write(self._clock()):
            self._drop(client)
        else:
            self._watch(client)

    # ---- clients

    def _accept(self, _mask: int) -> None:
        for _ in range(_ACCEPTED_AT_ONCE_MAX):
            if self._listening is None or not self._accept_one(self._listening.sock):
                return

    def _accept_one(self, listening: socket.socket) -> bool:
        """Take one connection, with the request that may have come along; False when there is none."""
        try:
            sock, _ = listening.accept()
        except OSError as error:
            if error.errno in {errno.EMFILE, errno.ENFILE}:
                self._turn_away()
            return False
        sock.setblocking(False)
        client = Connection(sock, self._clock())
        refusal = self._refusal(sock)
        if refusal is not None:
            client.output += messages.encode_error(None, refusal)
            client.write(self._clock())
            sock.close()
            return True
        if len(strangers := self._strangers) >= CLIENTS_MAX:
            leaving = client_slots.who_leaves(strangers)
            self._dismiss(leaving, f"{CLIENTS_MAX} control clients are connected, and another one came")
        self._clients[sock.fileno()] = client
        self._event(client, selectors.EVENT_READ)
        return True

    def _dismiss(self, client: Connection, text: str) -> None:
        """Say why, and whether it was owed an answer, if that is taken, and close."""
        failure = messages.Failure(messages.UNAVAILABLE, text, {"owed": client.waits})
        client.output += messages.encode_error(None, failure)
        client.write(self._clock())
        self._drop(client)

    def _refusal(self, sock: socket.socket) -> messages.Failure | None:
        client = peer.credentials(sock)
        if client is None or client[1] in {0, os.geteuid(), *self._allowed}:
            return None
        pid, uid, _ = client
        self._refused += 1
        now = self._clock()
        if now - self._refusal_told_at >= _REFUSAL_TOLD_S:
            allowed = tuple(sorted(self._allowed))
            self._recorder.write(
                ControlRefused(pid=pid, uid=uid, owner_uid=os.geteuid(), allowed=allowed, count=self._refused)
            )
            self._refusal_told_at, self._refused = now, 0
        return messages.Failure(messages.FORBIDDEN, not_allowed(uid, os.geteuid(), self._allowed))

    def _turn_away(self) -> None:
        """No descriptor is free: use the spare one to take the client off the queue and close it."""
        if self._listening is None or self._spare < 0:
            return
        os.close(self._spare)
        self._spare = -1
        try:
            sock, _ = self._listening.sock.accept()
            sock.close()
            self._spare = _open_spare()
        except OSError:
            return  # somebody else took the number; the next client tries again

    def _event(self, client: Connection, mask: int) -> None:
        alive = client.write(self._clock()) if mask & selectors.EVENT_WRITE else True
        reads = mask & selectors.EVENT_READ and not client.ended and not client.paused
        if alive and reads and not client.has_line:
            alive = client.read()
        if alive:
            self._serve(client)
        else:
            self._drop(client)

    def _serve(self, client: Connection) -> None:
        """Serve the next request, if it is all there; others have theirs before the one after it."""
        if not client.paused and (line := client.take_line()) is not None:
            client.active_at = self._clock()
            self._request(client, line)
        if client.sock.fileno() not in self._clients:
            return
        if len(client.received) > messages.REQUEST_BYTES_MAX and not client.has_line:
            self._too_long(client)
        if client.sock.fileno() in self._clients:
            self._watch(client)

    def _too_long(self, client: Connection) -> None:
        client.received.clear()
        client.ended = True
        text = f"a request may have {messages.REQUEST_BYTES_MAX} bytes"
        self._send(client, messages.encode_error(None, messages.Failure(messages.NOT_A_REQUEST, text)))

    def _request(self, client: Connection, line: bytes) -> None:
        try:
            name, method = messages.decode_request(line)
        except messages.RequestError as error:
            self._send(client, messages.encode_error(error.id, error.failure))
            return
        if len(client.requests) >= REQUESTS_MAX:
            failure = messages.Failure(messages.UNAVAILABLE, f"{REQUESTS_MAX} requests wait already")
            self._send(client, messages.encode_error(name, failure))
            return
        if client.stays and isinstance(method, messages.TakeOver):  # no process of ours is another master
            failure = messages.Failure(messages.FORBIDDEN, "only another master takes this one over")
            self._send(client, messages.encode_error(name, failure))
            return
        self._last_request += 1
        number = self._last_request
        client.requests[number] = name
        self._waiting[number] = client
        try:
            result = self._handle(number, method, self._allowed.get(client.uid, ""))
        except GwctlError as error:
            self.answer(number, ok=False, text=str(error), result={})
            return
        if isinstance(result, Follower):
            client.followers[number] = result
            self._follow(client)
        elif result is not None and self._waiting.pop(number, None) is not None:
            del client.requests[number]
            self._send(client, messages.encode_result(name, result))

    def _watch(self, client: Connection) -> None:
        """Register for what is wanted of the client now; drop it when it is served."""
        if self._selector is None:
            return
        if client.done:
            self._drop(client)
            return
        wanted = 0 if client.ended or client.paused or client.has_line else selectors.EVENT_READ
        if client.output:
            wanted |= selectors.EVENT_WRITE
        registered = self._selector.get_map().get(client.sock)
        if registered is None and wanted:
            try:
                self._selector.register(client.sock, wanted, lambda mask: self._event(client, mask))
            except OSError:
                self._drop(client)  # the kernel has no room to watch one more
        elif registered is not None and not wanted:
            self._selector.unregister(client.sock)
        elif registered is not None and registered.events != wanted:
            self._selector.modify(client.sock, wanted, registered.data)

    def _drop(self, client: Connection) -> None:
        """Close the connection and forget its requests."""
        if self._clients.pop(client.sock.fileno(), None) is None:
            return
        if self._selector is not None and client.sock in self._selector.get_map():
            self._selector.unregister(client.sock)
        client.close()
        for number in client.requests:
            self._waiting.pop(number, None)


def _open_spare() -> int:
    return os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
