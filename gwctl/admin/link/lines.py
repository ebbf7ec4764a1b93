"""Lines out of what a socket gives, piece by piece, each looked at once."""

from __future__ import annotations


class Lines:
    """What has come and is no whole line yet: ``bytes_max``, and never more than one piece beyond."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._pieces: list[bytes] = []
        self._bytes = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Return the lines that ``data`` completes, without their ends.

        Raises:
            ValueError: One has no end.
        """
        first, *others = data.split(b"\n")
        self._pieces.append(first)
        self._bytes += len(first)
        if self._bytes > self._bytes_max:
            raise ValueError("a line without end")
        if not others:
            return []
        lines = [b"".join(self._pieces), *others[:-1]]
        self._pieces = [others[-1]]
        self._bytes = len(others[-1])
        return lines
