"""The access log: the combined format, then the duration in seconds and the worker.

    127.0.0.1 - - [21/Nov/2026:10:02:11 +0000] "GET / HTTP/1.1" 200 12 "-" "curl/8" 0.000412 web.0

What the lines say is noted as responses end; they are made of a hundred notes or so at a time, and written
once per batch of the loop: one after the other that costs half of what it does between two requests. Hardly
any of them has a character that must be escaped: so that is asked once for all of them, and only if there is
one each line is looked at. Short numbers are not made but looked up.

A reader that is slow (a pipe, a terminal) makes lines wait, up to a bound; beyond it they are dropped and
the drop is said.
To those, lines go whole and are at most 4096 bytes, so that workers do not mix theirs; a file takes
any length. A line is added by whichever thread answered; only the loop's thread writes.

This is the usual form; `access_formats` has the others.
"""

from __future__ import annotations

import os
import re
import select
import stat
import threading
import time
from collections.abc import Callable, Container, Mapping
from pathlib import Path
from time import monotonic
from time import time as wall_clock
from typing import TYPE_CHECKING, Any, Final, Protocol

from gwctl import json_text

if TYPE_CHECKING:
    from gwctl.log.event_log import Log

WAITING_BYTES_MAX: Final = 4 << 20
NOTED_MAX: Final = 128
"""So many notes are made lines of, by whoever adds the last one, also between two batches of the loop. More
would push what requests need out of the processor's nearest caches, which costs a tenth of a line."""
TELL_S: Final = 10.0
TELL_MAX_S: Final = 600.0
"""A full disk is told so often, and less and less while it stays so, not with each batch: the event log may
be on it too."""
PIPE_BYTES: Final = 4096  # poll() calls a pipe writable when this much fits (PIPE_BUF)
_CUT: Final = b"...\n"
ESCAPES: Final = {code: f"\\x{code:02x}" for code in (*range(0x20), ord('"'), ord("\\"), *range(0x7F, 0xA0))}

STRANGE: Final = re.compile(r'[\x00-\x1f"\\\x7f-\x9f]')
SHORT_S: Final = 0.000999
"""Shorter durations are looked up by their microseconds."""
DISORDER_S: Final = 0.02
other_size: Final = '{} "'.format
NONE: Final = "-"
GONE: Final = 499
_NAMED: Final = frozenset({b"referer", b"user-agent"})

Noted = tuple[float, Any, str, str, str, int, int, str, str, float, Any]
"""When (monotonic), peer, method, target, version, status, bytes, Referer, User-Agent, seconds; what else a
form wants of what a client says."""


class Request(Protocol):
    """What of a request stands in its line."""

    peer: Any
    method: str
    target: str
    http11: bool

    @property
    def http_version(self) -> str:
        """What it is if ``http11``; else 1.0."""


class Answer(Protocol):
    """The response of a call."""

    status: int
    sent: int


class AccessLog:
    """Writes access lines to ``fd``, which it owns."""

    def __init__(self, fd: int, worker: str, log: Log) -> None:
        self._worker = worker
        self._log = log
        self._more_of: Callable[[Any, Any], Any] | None = None
        """Takes down what a form wants besides, of environ or scope and of the response, as that ends."""
        self._write_to(fd)
        self._noted: list[Noted] = []
        self._note = self._noted.append
        self._lock = threading.RLock()
        self._made: list[bytes] = []
        self._made_bytes = self._made_lost = 0
        """Lines that nobody has tried to write yet, and those without room; under ``_lock``."""
        self._waiting = b""
        self._dropped = 0
        self._why = ""
        self._tell_at = 0.0
        self._tell_s = TELL_S
        self._offset_s = wall_clock() - monotonic()
        """Of the wall clock from the monotonic one, as lines were made last."""
        self._since = 0.0
        self._stamp = ""
        self._make_pieces()

    def _make_pieces(self) -> None:
        """Make what lines are put together of, and with it what stands before and behind that.

        To put in a piece costs as much as to look it up.
        """
        self._statuses = tuple([f'" {number} ' for number in range(1000)])
        self._sizes = tuple([f'{number} "' for number in range(1000)])
        self._durations = tuple([f'" 0.000{number:03d} {self._worker}\n' for number in range(1000)])
        self._other_duration = f'" {{:.6f}} {self._worker}\n'.format

    def _write_to(self, fd: int) -> None:
        self._fd = fd
        self._blocks = not _is_file(fd)
        self._beside_events = self._blocks and self._log.writes_to(fd)

    def reopen(self, fd: int) -> None:
        """Write to ``fd`` from now on, first what the one before has not taken. Threads may add meanwhile."""
        self.flush()
        os.close(self._fd)
        self._write_to(fd)

    def add_call(
        self, request: Request, environ: Mapping[str, Any], call: Answer, seconds: float, ended_at: float
    ) -> None:
        """Note the finished response of a WSGI call; any thread.

        ``ended_at`` is monotonic, here and below.
        """
        referer = agent = NONE
        if "HTTP_REFERER" in environ:
            referer = environ["HTTP_REFERER"]
        if "HTTP_USER_AGENT" in environ:
            agent = environ["HTTP_USER_AGENT"]
        if type(referer) is not str or type(agent) is not str:  # an application may have changed its environ
            referer, agent = as_text(referer), as_text(agent)
        note = self._note  # it is no method: to call it as one is slow
        note(
            (
                ended_at,
                request.peer,
                request.method,
                request.target,
                request.http_version if request.http11 else "1.0",
                call.status,
                call.sent,
                referer,
                agent,
                seconds,
                "" if self._more_of is None else self._more_of(environ, call),
            )
        )
        if len(self._noted) >= NOTED_MAX:
            self._make_lines()

    def add_scope(
        self,
        request: Request,
        status: int,
        size: int,
        seconds: float,
        scope: Mapping[str, Any] | None,
        answer: Any,
        ended_at: float,
    ) -> None:
        """The same of an ASGI request. ``answer`` has the response's header fields, or is None.

        With neither: of a response of the server's own.
        """
        referer = agent = NONE
        if scope is not None:
            try:
                for name, value in scope["headers"]:
                    if name in _NAMED:
                        if name == b"referer":
                            referer = value.decode("latin-1")
                        else:
                            agent = value.decode("latin-1")
            except Exception:  # noqa: BLE001, S110 - of any kind: the scope is the application's to change
                pass
            if type(referer) is not str or type(agent) is not str:
                referer, agent = as_text(referer), as_text(agent)
        note = self._note  # it is no method: to call it as one is slow
        note(
            (
                ended_at,
                request.peer,
                request.method,
                request.target,
                request.http_version if request.http11 else "1.0",
                status,
                size,
                referer,
                agent,
                seconds,
                "" if self._more_of is None else self._more_of(scope, answer),
            )
        )
        if len(self._noted) >= NOTED_MAX:
            self._make_lines()

    def _make_lines(self, *, wait: bool = False) -> None:
        """Make lines of what is noted; any thread. Not if another is at it, unless this is to ``wait``."""
        if not self._lock.acquire(blocking=wait):
            return
        try:
            noted = self._noted
            self._offset_s = wall_clock() - monotonic()
            for _ in range(0, len(noted), NOTED_MAX):
                some = noted[:NOTED_MAX]
                del noted[: len(some)]  # in one step, as others add at the end
                block = self._lines(some).encode("utf-8", "backslashreplace")
                if len(self._waiting) + self._made_bytes + len(block) > WAITING_BYTES_MAX:
                    self._made_lost += len(some)
                else:
                    self._made.append(block)
                    self._made_bytes += len(block)
        finally:
            self._lock.release()

    def _lines(self, noted: list[Noted]) -> str:
        if not (self._in_one_second(noted) and is_plain(noted)):
            return "".join(map(self._line, noted))
        statuses, sizes, durations, other_duration = (
            self._statuses,
            self._sizes,
            self._durations,
            self._other_duration,
        )
        between = f' - - {self._stamp} "'
        return "".join(
            [
                f"{peer[0] if type(peer) is tuple else NONE}{between}{method} {target} HTTP/{version}"
                f"{statuses[status]}{sizes[size] if size < 1000 else other_size(size)}"
                f'{referer}" "{agent}'
                f"{durations[int(seconds * 1e6 + 0.5)] if seconds < SHORT_S else other_duration(seconds)}"
                if method and status
                else self._line(
                    (at, peer, method, target, version, status, size, referer, agent, seconds, more)
                )
                for at, peer, method, target, version, status, size, referer, agent, seconds, more in noted
            ]
        )

    def _line(self, noted: Noted) -> str:
        """Return any line, whatever is in it."""
        at, peer, method, target, version, status, size, referer, agent, seconds, _ = noted
        self._set_stamp(at + self._offset_s)
        host = peer[0] if type(peer) is tuple else "-"
        if STRANGE.search(f"{target}{referer}{agent}"):
            target = target.translate(ESCAPES)
            referer = referer.translate(ESCAPES)
            agent = agent.translate(ESCAPES)
        request = f"{method} {target} HTTP/{version}" if method else "-"
        return (
            f'{host} - - {self._stamp} "{request}" {status or GONE} {size} '
            f'"{referer}" "{agent}" {seconds:.6f} {self._worker}\n'
        )

    def _set_stamp(self, at: float) -> None:
        """Have ``_stamp`` say the second of ``at`` (of the wall clock), which is the one after ``_since``."""
        if not self._since <= at < self._since + 1.0:
            second = int(at)
            self._since = float(second)
            self._stamp = self._new_stamp(second)

    def _in_one_second(self, noted: list[Noted]) -> bool:
        """Tell whether ``_stamp`` is right for all; near its ends that is left open.

        Threads note what has ended at nearly the same time in any order.
        """
        first, last = noted[0][0] + self._offset_s, noted[-1][0] + self._offset_s
        self._set_stamp(first)
        return self._since + DISORDER_S <= first <= last < self._since + 1.0 - DISORDER_S

    def _new_stamp(self, second: int) -> str:
        return time.strftime("[%d/%b/%Y:%H:%M:%S %z]", time.localtime(second))

    def flush(self) -> None:
        """Write what the descriptor takes without waiting; the loop's thread."""
        if self._noted or self._made:
            self._make_lines(wait=True)
            with self._lock:
                self._waiting = b"".join([self._waiting, *self._made])
                self._made.clear()
                self._made_bytes = 0
                self._dropped += self._made_lost
                self._made_lost = 0
        if self._waiting:
            self._write()

    def _write(self) -> None:
        data = self._waiting
        try:
            done = self._write_lines(data) if self._blocks else os.write(self._fd, data)
            data = data[done:]
        except BlockingIOError:
            pass  # the rest waits for the next batch
        except OSError as error:
            self._dropped += data.count(b"\n")
            data = b""
            self._why = f": {error.strerror}"
        self._waiting = data
        if self._dropped and not data:
            now = time.monotonic()
            if now >= self._tell_at:
                again = now < self._tell_at + self._tell_s
                self._tell_s = min(self._tell_s * 2, TELL_MAX_S) if self._tell_at and again else TELL_S
                self._tell_at = now + self._tell_s
                self._tell()

    def _write_lines(self, data: bytes) -> int:
        """Write whole lines to a pipe or a terminal as long as it takes some; return how much is done.

        Other workers write to the same pipe, which keeps `PIPE_BYTES` together and no more: what
        does not fit is cut, or a client could have another's line end in its own, and begin one. Nor do
        they come between the lines of a record in the event log, if that goes to the same pipe.
        """
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        locked = self._beside_events and self._log.lock.take()
        try:
            return self._write_blocks(data, poll)
        finally:
            if locked:
                self._log.lock.give_back()

    def _write_blocks(self, data: bytes, poll: select.poll) -> int:
        at = 0
        while at < len(data) and poll.poll(0):
            end = data.rfind(b"\n", at, at + PIPE_BYTES) + 1
            block = data[at:end]
            if not end:
                end = data.index(b"\n", at) + 1
                block = data[at : at + PIPE_BYTES - len(_CUT)] + _CUT
            try:
                written = os.write(self._fd, block)
            except BlockingIOError:
                break
            at = end if written == len(block) else at + written
        return at

    def _tell(self) -> None:
        try:
            place = str(Path(f"/proc/self/fd/{self._fd}").readlink())
        except OSError:  # not Linux
            place = "access log"
        lines = "1 line" if self._dropped == 1 else f"{self._dropped} lines"
        self._log.error(f"{place}: {lines} of the access log lost{self._why}")
        self._dropped = 0
        self._why = ""

    def close(self) -> None:
        self.flush()
        if self._dropped:
            self._tell()
        os.close(self._fd)


def is_plain(noted: list[Noted]) -> bool:
    """Tell whether all that clients say in these is ASCII that stands between quotation marks as it is."""
    words = "".join([f"{each[3]}{each[7]}{each[8]}{each[10]}" for each in noted])
    return words.isascii() and "\x7f" not in words and len(json_text.encode(words)) == len(words) + 2


def headers_of(scope: Any, wanted: Container[bytes]) -> dict[bytes, str]:
    """Return those of an ASGI request that are ``wanted``, joined where there are several. Never raises."""
    found: dict[bytes, str] = {}
    try:
        for name, value in scope["headers"]:
            if name in wanted:
                text = value.decode("latin-1")
                found[name] = f"{found[name]},{text}" if name in found else text
    except Exception:  # noqa: BLE001, S110 - of any kind, as said
        pass
    return found


def as_text(value: Any) -> str:
    """Never raises: the response is sent, and its connection waits to go on."""
    try:
        return f"{value}"
    except BaseException:  # noqa: BLE001 - of any kind: it is the application's code
        return "-"


def _is_file(fd: int) -> bool:
    return stat.S_ISREG(os.fstat(fd).st_mode)
