"""Where a container serves while it is tested."""

from __future__ import annotations

import socket

import httpx


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Site:
    """Options that put a container's listeners on free ports of this machine's loopback, whose network it has."""

    def __init__(self) -> None:
        self.port, self.admin = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.options = (
            f"--env=GWCTL_BIND=127.0.0.1:{self.port}",
            f"--env=GWCTL_ADMIN_BIND=127.0.0.1:{self.admin}",
        )

    def ready(self) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{self.admin}/readyz").status_code == 200
        except httpx.TransportError:
            return False
