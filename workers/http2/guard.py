"""What a client may have us do that asks for nothing: a credit for each kind, filled up again as time passes.

Each frame of HTTP/2 is cheap to send. What floods are made of is counted here, and a client that goes on
after its credit is spent is told ENHANCE_YOUR_CALM and left:

    resets      streams that it ends early, or has us end by a mistake of its own (CVE-2023-44487,
                CVE-2025-8671)
    idle        frames that bring no request forward: SETTINGS, PING, priorities, what is unknown, empty DATA,
                window updates beyond those that our own DATA explains; what comes on streams that are
                over, and streams that it opens beyond what it was told it may

Clients that mean well need a small part of either. Header blocks have a bound of their own
(`gwctl.workers.http2.frame_reader`).
"""

from __future__ import annotations

from time import monotonic
from typing import Final

from gwctl.workers.http2.wire import ENHANCE_YOUR_CALM, Broken

FILL_S: Final = 10.0
"""So long an empty credit takes to be full again."""
UPDATES_FOR_DATA: Final = 4
"""Window updates that each DATA frame of ours explains."""


class Credit:
    """``left`` of at most ``size``."""

    __slots__ = ("_at", "_size", "_what", "left")

    def __init__(self, size: int, what: str) -> None:
        self._size = size
        self._what = what
        self._at = monotonic()
        self.left = float(size)

    def spend(self) -> None:
        """Take one.

        Raises:
            Broken: There was none left.
        """
        self.left -= 1
        if self.left < 0:
            now = monotonic()
            self.left = min(self._size, self.left + (now - self._at) * self._size / FILL_S)
            self._at = now
            if self.left < 0:
                raise Broken(ENHANCE_YOUR_CALM, f"too many {self._what}")


class Guard:
    """Of one connection.

    Attributes:
        updates: Window updates that are explained by DATA of ours, and have not come yet.
    """

    __slots__ = ("_idle", "_resets", "updates")

    def __init__(self, resets_max: int, idle_frames_max: int) -> None:
        self._resets = Credit(resets_max, "streams that were reset")
        self._idle = Credit(idle_frames_max, "frames that ask for nothing")
        self.updates = 0

    def reset(self) -> None:
        """A stream has ended early, and by the client.

        Raises:
            Broken: Too many have.
        """
        self._resets.spend()

    def idle(self) -> None:
        """A frame has come that asks for nothing.

        Raises:
            Broken: Too many have.
        """
        self._idle.spend()

    def update(self) -> None:
        """A window update has come.

        Raises:
            Broken: Too many have that nothing explains.
        """
        if self.updates > 0:
            self.updates -= 1
        else:
            self._idle.spend()
