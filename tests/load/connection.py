"""One kept-alive connection: send, read, think, again; every failure gets a class.

The client behaves as a well-written pool does. It never sends ``Connection: close``, obeys
the server's, and looks before it reuses a connection: if the end of file is already there the
connection is replaced and nothing has failed. If the server closes between that look and the
answer, the request is lost, and that is what `Failure.RESET_REUSED` counts.

Times are those of the monotonic clock, which all processes of a machine share.
"""

from __future__ import annotations

import asyncio
import random
import socket
import time
from dataclasses import dataclass

from tests.load.plan import Plan
from tests.load.result import Failure, Incident, Recorder

READ_BYTES = 65536
SLOW_BUFFER_BYTES = 65536
"""A slow reader's receive buffer: what waits there was taken, as the server sees it."""
HEAD_BYTES_MAX = 65536


class Failed(Exception):
    """Ends one request; the connection is given up."""

    def __init__(self, failure: Failure, detail: str) -> None:
        super().__init__(detail)
        self.failure = failure


@dataclass
class Response:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def close(self) -> bool:
        return "close" in self.headers.get("connection", "").lower()


class Connection:
    """Runs until ``stop`` is set; finishes the request it is in."""

    HEADER_OF_WORKER = "x-worker"
    """In which a response may say who made it."""

    def __init__(self, number: int, plan: Plan, recorder: Recorder, stop: asyncio.Event) -> None:
        self._number = number
        self._plan = plan
        self._recorder = recorder
        self._stop = stop
        self._loop = asyncio.get_running_loop()
        self._random = random.Random(number)
        self._sock: socket.socket | None = None
        self._used = 0
        self._port = 0
        self._heard_at = 0.0
        self._worker = ""
        self._buffer = bytearray()
        self.tried = asyncio.Event()
        """Set once the first request has ended, in whichever way."""

    async def run(self) -> None:
        await self._think()  # spread the starts
        while not self._stop.is_set():
            await self._one()
            self.tried.set()
            await self._think()
        self._drop()

    async def _think(self) -> None:
        await asyncio.sleep(self._plan.think_s * self._random.uniform(0.5, 1.5))

    async def _one(self) -> None:
        recorder = self._recorder
        recorder.requests += 1
        start = time.monotonic()
        try:
            async with asyncio.timeout(self._plan.timeout_s):
                response = await self._exchange()
            self._judge(response)
        except Failed as failed:
            self._fail(failed.failure, str(failed), start)
        except TimeoutError:
            state = f"{len(self._buffer)} bytes of a response" if self._buffer else "no byte of a response"
            self._fail(Failure.TIMEOUT, f"{self._plan.timeout_s:g} s, {state}", start)
        else:
            self._heard_at = time.monotonic()
            recorder.answered(self._heard_at - start, response.body)
            if self._plan.habit == "short":
                self._drop()
            elif response.close:
                recorder.closes_obeyed += 1
                self._drop()

    def _fail(self, failure: Failure, detail: str, began_at: float) -> None:
        incident = Incident(
            label=self._plan.label,
            failure=failure.value,
            detail=detail,
            connection=self._number,
            request=self._used,
            port=self._port,
            worker=self._worker,
            began_at=began_at,
            idle_s=began_at - self._heard_at if self._used > 1 else 0.0,
            failed_at=time.monotonic(),
        )
        self._recorder.failed(incident)
        self._drop()

    def _drop(self) -> None:
        if self._sock is not None:
            self._sock.close()
            self._sock = None
        self._buffer.clear()

    async def _exchange(self) -> Response:
        sock = self._reusable() or await self._connect()
        self._used += 1
        try:
            await self._loop.sock_sendall(sock, self._plan.request)
        except (ConnectionResetError, BrokenPipeError) as error:
            # The server may have answered and closed without reading the whole request.
            if not self._plan.body:
                raise self._reset(str(error)) from error
        return await self._read(sock)

    def _reusable(self) -> socket.socket | None:
        """The open connection, unless its end is already there to be read."""
        if self._sock is None:
            return None
        try:
            data = self._sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return self._sock
        except ConnectionResetError:
            data = b""
        if data:
            raise Failed(Failure.WRONG_BODY, "bytes after the end of the response before")
        self._recorder.closed_idle += 1
        self._drop()
        return None

    async def _connect(self) -> socket.socket:
        family, address = self._plan.address
        self._sock = sock = socket.socket(family, socket.SOCK_STREAM)
        self._used, self._port, self._worker = 0, 0, ""
        sock.setblocking(False)
        if self._plan.read_bytes_per_s:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SLOW_BUFFER_BYTES)
        if family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            await self._loop.sock_connect(sock, address)
        except OSError as error:
            raise Failed(Failure.REFUSED, str(error)) from error
        if family != socket.AF_UNIX:
            self._port = sock.getsockname()[1]
        self._recorder.connections += 1
        return sock

    def _reset(self, detail: str) -> Failed:
        fresh = self._used == 1
        return Failed(Failure.RESET_FRESH if fresh else Failure.RESET_REUSED, detail)

    async def _more(self, sock: socket.socket) -> bool:
        """Read on. False at end of file."""
        try:
            data = await self._loop.sock_recv(sock, READ_BYTES)
        except ConnectionResetError as error:
            if self._buffer:
                raise Failed(Failure.TRUNCATED, f"reset after {len(self._buffer)} bytes") from error
            raise self._reset("connection reset by peer") from error
        self._buffer += data
        if self._plan.read_bytes_per_s:
            await asyncio.sleep(len(data) / self._plan.read_bytes_per_s)
        return bool(data)

    async def _need(self, sock: socket.socket, length: int) -> None:
        while len(self._buffer) < length:
            if not await self._more(sock):
                raise Failed(Failure.TRUNCATED, f"end of file, {len(self._buffer)} of {length} bytes")

    async def _line_end(self, sock: socket.socket, mark: bytes, start: int) -> int:
        """Where ``mark`` ends."""
        while (at := self._buffer.find(mark, start)) < 0:
            if len(self._buffer) - start > HEAD_BYTES_MAX:
                raise Failed(Failure.MALFORMED, f"no {mark!r} in {HEAD_BYTES_MAX} bytes")
            if not await self._more(sock):
                if not self._buffer:
                    raise self._reset("end of file instead of a response")
                raise Failed(Failure.TRUNCATED, f"end of file after {len(self._buffer)} bytes")
        return at + len(mark)

    async def _read(self, sock: socket.socket) -> Response:
        end = await self._line_end(sock, b"\r\n\r\n", 0)
        status, headers = parse_head(bytes(self._buffer[:end]))
        self._worker = headers.get(self.HEADER_OF_WORKER, "")
        if "chunked" in headers.get("transfer-encoding", "").lower():
            body, end = await self._read_chunks(sock, end)
        elif "content-length" in headers:
            length = int(headers["content-length"])
            await self._need(sock, end + length)
            body = bytes(self._buffer[end : end + length])
            end += length
        else:  # ends with the connection
            headers["connection"] = "close"
            while await self._more(sock):
                pass
            body = bytes(self._buffer[end:])
            end = len(self._buffer)
        del self._buffer[:end]
        return Response(status, headers, body)

    async def _read_chunks(self, sock: socket.socket, at: int) -> tuple[bytes, int]:
        body = bytearray()
        while True:
            end = await self._line_end(sock, b"\r\n", at)
            try:
                size = int(bytes(self._buffer[at:end]).split(b";")[0], 16)
            except ValueError as error:
                raise Failed(Failure.MALFORMED, f"chunk size {bytes(self._buffer[at:end])!r}") from error
            await self._need(sock, end + size + 2)
            if self._buffer[end + size : end + size + 2] != b"\r\n":
                raise Failed(Failure.MALFORMED, "chunk without its end")
            body += self._buffer[end : end + size]
            at = end + size + 2
            if size == 0:
                return bytes(body), at

    def _judge(self, response: Response) -> None:
        if response.status != self._plan.expect_status:
            raise Failed(Failure.WRONG_STATUS, f"{response.status} {response.body[:60]!r}")
        if self._plan.expect_body is not None and response.body != self._plan.expect_body:
            raise Failed(Failure.WRONG_BODY, f"{response.body[:60]!r} ({len(response.body)} bytes)")
        if self._buffer:
            raise Failed(Failure.WRONG_BODY, f"{len(self._buffer)} bytes after the end of the response")


def parse_head(head: bytes) -> tuple[int, dict[str, str]]:
    """Status and headers, names in lower case."""
    first, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    version, _, rest = first.partition(" ")
    status = rest[:3]
    headers = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise Failed(Failure.MALFORMED, f"header line {line!r}")
        headers[name.lower()] = value.strip()
    length = headers.get("content-length", "0")
    if version not in {"HTTP/1.1", "HTTP/1.0"} or not status.isdigit() or not length.isdigit():
        raise Failed(Failure.MALFORMED, f"{first!r}, Content-Length {length!r}")
    return int(status), headers
