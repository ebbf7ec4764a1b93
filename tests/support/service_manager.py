"""The receiving end of sd_notify(3), as systemd has it, with its store of descriptors."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from tests.support import started

_FDS_MAX = 32
_SERVICE = """
import os
high = [os.dup2(fd, 300 + place) for place, fd in enumerate({fds})]
for place, fd in enumerate(high):
    os.dup2(fd, 3 + place, inheritable=True)
    os.close(fd)
os.closerange(3 + len(high), 300)
os.environ["LISTEN_PID"] = str(os.getpid())
"""


class ServiceManager:
    """What it hears, message by message, and what it keeps, by name."""

    def __init__(self, address: str) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind("\0" + address[1:] if address.startswith("@") else address)
        self.sock.setblocking(False)
        self.environ = {"NOTIFY_SOCKET": address}
        self.store: list[tuple[str, int]] = []
        self.room = 16
        """FileDescriptorStoreMax= of the unit."""

    def received(self) -> list[str]:
        """The messages since the last call."""
        messages: list[str] = []
        while True:
            try:
                data, fds, _, _ = socket.recv_fds(self.sock, 4096, _FDS_MAX)
            except BlockingIOError:
                return messages
            message = data.decode()
            messages.append(message)
            self._keep(message.splitlines(), fds)

    def _keep(self, lines: Sequence[str], fds: Sequence[int]) -> None:
        name = next((line.removeprefix("FDNAME=") for line in lines if line.startswith("FDNAME=")), "stored")
        if "FDSTOREREMOVE=1" in lines:
            for each in [each for each in self.store if each[0] == name]:
                os.close(each[1])
                self.store.remove(each)
        for fd in fds:
            if "FDSTORE=1" in lines and not any(os.path.sameopenfile(fd, kept) for _, kept in self.store):
                self.store.append((name, fd))
            else:
                os.close(fd)

    def start(
        self, arguments: Sequence[str], environ: Mapping[str, str], folder: Path, output: IO[bytes]
    ) -> started.Started:
        """Start gwctl as a service, with what is in the store, as systemd passes it."""
        self.received()
        fds = [fd for _, fd in self.store]

        passed = {"LISTEN_FDS": str(len(fds)), "LISTEN_FDNAMES": ":".join(name for name, _ in self.store)}
        return started.start(
            arguments,
            prelude=_SERVICE.format(fds=fds),
            pass_fds=fds,
            environ={
                **os.environ,
                **environ,
                **self.environ,
                "FDSTORE": str(self.room),
                **(passed if fds else {}),
            },
            cwd=folder,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )

    def close(self) -> None:
        self.received()
        for _, fd in self.store:
            os.close(fd)
        self.sock.close()
