"""Lines in datagrams, as many as fit: whoever splits one on the way loses it with its first lost part."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

UDP_BYTES_MAX: Final = 1432
"""What passes any Ethernet in one piece, with IPv6 and a tunnel around it."""
UNIX_BYTES_MAX: Final = 8192
"""What Datadog's agent reads at most."""


def packets(lines: Iterable[str], bytes_max: int) -> Iterator[bytes]:
    """Pack ``lines``; one that is longer than ``bytes_max`` by itself goes alone."""
    held: list[bytes] = []
    size = -1
    for line in lines:
        encoded = line.encode("ascii", "replace")
        if held and size + 1 + len(encoded) > bytes_max:
            yield b"\n".join(held)
            held, size = [], -1
        held.append(encoded)
        size += 1 + len(encoded)
    if held:
        yield b"\n".join(held)
