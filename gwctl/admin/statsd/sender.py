"""Datagrams to one place. What cannot be sent is lost and counted: nobody waits for it, here or elsewhere.

A name is looked up in a thread of its own, again now and then and when nobody listens any more; of its
addresses the next one is taken then. Why nothing can be sent is told once: as nobody confirms a datagram, it
is never certain that it is well again.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from gwctl.config.statsd_target import Target

RESOLVED_S: Final = 60.0
"""How long an answer of the resolver is used."""
RESOLVE_S: Final = 5.0

Resolve = Callable[[str, int], Sequence[tuple[Any, Any, Any, Any, Any]]]
Address = tuple[int, Any]
"""Family, and what is connected to."""


class Sender:
    """``sent`` and ``lost`` are numbers of datagrams. ``warn`` is called once at most."""

    def __init__(self, target: Target, warn: Callable[[str], None], resolve: Resolve | None = None) -> None:
        self.sent = 0
        self.lost = 0
        self._target = target
        self._warn = warn
        self._told = False
        self._resolve = resolve or _resolve
        self._thread: ThreadPoolExecutor | None = None
        self._looking: asyncio.Future[Any] | None = None
        self._socket: socket.socket | None = None
        self._until = 0.0
        self._address: Address | None = None
        """The last that was tried."""
        self._failed = False
        """That one takes nothing: it is another's turn."""

    async def send(self, packets: Sequence[bytes]) -> None:
        """Send each, or lose it."""
        try:
            sock = await self._connected()
        except OSError as error:
            self._lose(len(packets), error)
            return
        for packet in packets:
            try:
                self._send(sock, packet)
            except OSError as error:
                self._lose(1, error)
                if not isinstance(error, BlockingIOError):
                    self._move_on()
            else:
                self.sent += 1

    def _send(self, sock: socket.socket, packet: bytes) -> None:
        try:
            sock.send(packet)
        except ConnectionRefusedError as error:
            if self._target.path:
                raise
            # What UDP tells is of one before: this one has not been sent yet.
            self._lose(1, error)
            self._move_on()
            sock.send(packet)

    def _move_on(self) -> None:
        self._until = 0.0
        self._failed = True

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._thread is not None:
            self._thread.shutdown(wait=False, cancel_futures=True)

    def _lose(self, count: int, error: OSError) -> None:
        self.lost += count
        if not self._told:
            self._told = True
            reason = error.strerror or str(error) or type(error).__name__
            self._warn(
                f"statsd: figures are lost, as they cannot be sent to {_shown(self._target)}: {reason}"
            )

    async def _connected(self) -> socket.socket:
        """Raises OSError: There is no such place, or nobody there."""
        if self._socket is not None and time.monotonic() < self._until:
            return self._socket
        addresses = await self._addresses()
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        failures: list[OSError] = []
        for address in self._in_turn(addresses):
            self._address, self._failed = address, True
            try:
                self._socket = _connect(address)
            except OSError as error:
                failures.append(error)
            else:
                self._failed = False
                self._until = time.monotonic() + RESOLVED_S
                return self._socket
        raise failures[0]

    def _in_turn(self, addresses: list[Address]) -> list[Address]:
        """The same, those first that come after one that takes nothing."""
        if self._address not in addresses:
            return addresses
        at = addresses.index(self._address) + self._failed
        return addresses[at:] + addresses[:at]

    async def _addresses(self) -> list[Address]:
        """One at least. Raises OSError: There is no such place."""
        if self._target.path:
            return [(socket.AF_UNIX, self._target.path)]
        if self._looking is None:
            if self._thread is None:
                self._thread = ThreadPoolExecutor(1, "gwctl-resolver")
            loop = asyncio.get_running_loop()
            self._looking = loop.run_in_executor(
                self._thread, self._resolve, self._target.host, self._target.port
            )
            self._looking.add_done_callback(_take_error)
        try:
            async with asyncio.timeout(RESOLVE_S):
                found = await asyncio.shield(self._looking)
        except TimeoutError:
            raise OSError(0, f"nobody says within {RESOLVE_S:g} s where {self._target.host} is") from None
        except OSError:
            self._looking = None
            raise
        except UnicodeError:
            self._looking = None
            raise OSError(0, f"{self._target.host} cannot be the name of a host") from None
        self._looking = None
        return [(family, address) for family, _, _, _, address in found]


def _resolve(host: str, port: int) -> Sequence[tuple[Any, Any, Any, Any, Any]]:
    return socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)


def _connect(address: Address) -> socket.socket:
    """Raises OSError: There is no way there, or nobody."""
    sock = socket.socket(address[0], socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.connect(address[1])
    except OSError:
        sock.close()
        raise
    return sock


def _take_error(looking: asyncio.Future[Any]) -> None:
    """Nobody may wait for it any more."""
    if not looking.cancelled():
        looking.exception()


def _shown(target: Target) -> str:
    return f"unix:{target.path}" if target.path else f"udp://{target.host}:{target.port}"
