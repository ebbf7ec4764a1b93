"""The access log: the combined format, then the duration in seconds and the worker.

    127.0.0.1 - - [21/Nov/2026:10:02:11 +0000] "GET / HTTP/1.1" 200 12 "-" "curl/8" 0.000412 web.0

What the lines say is collected as responses end; they are made and written once per batch of the
loop: one after the other that costs half of what it does between two requests. A reader that is
slow (a pipe, a terminal) makes lines wait, up to a bound; beyond it they are dropped and the drop
is said.
To those, lines go whole and are at most 4096 bytes, so that workers do not mix theirs; a file takes
any length. A line is added by whichever thread answered; only the loop's thread writes.

This is the usual form; `access_formats` has the others.
"""

from __future__ import annotations

import os
import select
import stat
import time
from collections import deque
from collections.abc import Container, Mapping
from pathlib import Path
from time import time as wall_clock
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from gwctl.log.event_log import Log

WAITING_BYTES_MAX: Final = 4 << 20
TELL_S: Final = 10.0
TELL_MAX_S: Final = 600.0
"""A full disk is told so often, and less and less while it stays so, not with each batch: the event log may
be on it too."""
PIPE_BYTES: Final = 4096  # poll() calls a pipe writable when this much fits (PIPE_BUF)
_CUT: Final = b"...\n"
ESCAPES: Final = {code: f"\\x{code:02x}" for code in (*range(0x20), ord('"'), ord("\\"), *range(0x7F, 0xA0))}


class Request(Protocol):
    """What of a request stands in its line."""

    peer: Any
    method: str
    target: str
    http11: bool

    @property
    def http_version(self) -> str:
        """What it is if ``http11``; else 1.0."""


class AccessLog:
    """Writes access lines to ``fd``, which it owns."""

    def __init__(self, fd: int, worker: str, log: Log) -> None:
        self._worker = worker
        self._log = log
        self._write_to(fd)
        self._noted: deque[Any] = deque()
        self._note = self._noted.append
        self._waiting = b""
        self._dropped = 0
        self._why = ""
        self._tell_at = 0.0
        self._tell_s = TELL_S
        self._stamp_until = 0.0
        self._stamp = ""

    def _write_to(self, fd: int) -> None:
        self._fd = fd
        self._blocks = not _is_file(fd)
        self._beside_events = self._blocks and self._log.writes_to(fd)

    def reopen(self, fd: int) -> None:
        """Write to ``fd`` from now on, first what the one before has not taken. Threads may add meanwhile."""
        self.flush()
        os.close(self._fd)
        self._write_to(fd)

    def add(
        self,
        request: Request,
        status: int,
        size: int,
        seconds: float,
        referer: str,
        agent: str,
        source: Mapping[str, Any] | None = None,  # noqa: ARG002 - for other forms
        answer: Any = None,  # noqa: ARG002 - the same
    ) -> None:
        """Note one finished response; any thread.

        ``source`` is the environ or the scope of its request, ``answer`` has the response's header fields.
        """
        now = wall_clock()
        if now >= self._stamp_until:
            self._stamp_until = int(now) + 1.0
            self._stamp = time.strftime("[%d/%b/%Y:%H:%M:%S %z]", time.localtime(now))
        if type(referer) is not str or type(agent) is not str:  # an application may have changed its environ
            referer, agent = as_text(referer), as_text(agent)
        self._note(
            (
                request.peer,
                self._stamp,
                request.method,
                request.target,
                request.http_version if request.http11 else "1.0",
                status,
                size,
                referer,
                agent,
                seconds,
            )
        )

    def add_scope(
        self, request: Request, status: int, size: int, seconds: float, scope: Any, answer: Any
    ) -> None:
        """The same, of an ASGI request."""
        referer, agent = referer_and_agent(scope)
        self.add(request, status, size, seconds, referer, agent, scope, answer)

    def _line(self, noted: Any) -> str:
        peer, stamp, method, target, version, status, size, referer, agent, seconds = noted
        host = peer[0] if type(peer) is tuple else "-"
        strange = f"{target}{referer}{agent}"
        if '"' in strange or "\\" in strange or "\n" in strange or not strange.isascii():
            target = target.translate(ESCAPES)
            referer = referer.translate(ESCAPES)
            agent = agent.translate(ESCAPES)
        request = f"{method} {target} HTTP/{version}" if method else "-"
        return (
            f'{host} - - {stamp} "{request}" {status or 499} {size} '
            f'"{referer}" "{agent}" {seconds:.6f} {self._worker}\n'
        )

    def flush(self) -> None:
        """Write what the descriptor takes without waiting."""
        count = len(self._noted)
        if count:
            block = self._block(count)
            if len(self._waiting) + len(block) > WAITING_BYTES_MAX:
                self._dropped += count
            else:
                self._waiting += block
        if self._waiting:
            self._write()

    def _block(self, count: int) -> bytes:
        noted = self._noted
        lines = [self._line(noted.popleft()) for _ in range(count)]
        return "".join(lines).encode("utf-8", "backslashreplace")

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


def referer_and_agent(scope: Any) -> tuple[str, str]:
    """Return the two of an ASGI request. Never raises: the scope is the application's to change."""
    referer = agent = "-"
    try:
        for name, value in scope["headers"]:
            if name == b"user-agent":
                agent = value.decode("latin-1")
            elif name == b"referer":
                referer = value.decode("latin-1")
    except Exception:  # noqa: BLE001, S110 - of any kind, as said
        pass
    return referer, agent


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
