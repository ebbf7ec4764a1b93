"""Who reads datagrams of the event log: a journal, a syslog."""

from __future__ import annotations

import array
import os
import socket
import struct
from pathlib import Path
from typing import Self

DATAGRAM_BYTES_MAX = 1 << 21


class Reader:
    """Listens at ``address``: a path, or an address of the loopback with a free port."""

    def __init__(self, address: Path | str, timeout_s: float = 0.0) -> None:
        self._socket = socket.socket(
            socket.AF_UNIX if isinstance(address, Path) else socket.AF_INET, socket.SOCK_DGRAM
        )
        self._socket.bind(str(address) if isinstance(address, Path) else (address, 0))
        self._socket.settimeout(timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._socket.close()

    @property
    def port(self) -> int:
        port: int = self._socket.getsockname()[1]
        return port

    def read(self) -> bytes:
        """The next datagram, or what is in the file that comes instead.

        Raises:
            BlockingIOError: There is none.
        """
        data, extra, _flags, _address = self._socket.recvmsg(DATAGRAM_BYTES_MAX, 1024)
        for _level, _kind, fds in extra:
            (fd,) = array.array("i", fds)
            with os.fdopen(fd, "rb") as file:
                file.seek(0)
                data = file.read()
        return data

    def entry(self) -> dict[str, str]:
        """The next datagram as an entry of the journal's native protocol."""
        return parse_entry(self.read())

    def all(self) -> list[bytes]:
        """Those that are there."""
        found = []
        while True:
            try:
                found.append(self.read())
            except BlockingIOError:
                return found


def parse_entry(data: bytes) -> dict[str, str]:
    """As journald reads it: ``NAME=value``, or ``NAME``, the length in 64 bits and the value."""
    fields = {}
    while data:
        line, _, rest = data.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            (length,) = struct.unpack_from("<Q", rest)
            value, data = rest[8 : 8 + length], rest[8 + length + 1 :]
            assert rest[8 + length : 8 + length + 1] == b"\n"
        else:
            data = rest
        fields[name.decode()] = value.decode()
    return fields
