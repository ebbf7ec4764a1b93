"""The observer's rule about workers whose channel has ended: what lives on drains, told by a signal.

The end of a channel is mostly that of its process, whose exit follows. Who is still there a moment later has
closed it, and has clients nevertheless: it drains, as one does that broke the channel's protocol. A template has
no clients, nor has a worker that was never ready: they are killed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.sim.books import Seen, Unsafe

if TYPE_CHECKING:
    from tests.sim.observer import Observer

LINK_GRACE_S = 1.0


def may_drain(seen: Seen) -> bool:
    return seen.ready_at is not None and not seen.is_template


def judge_hung_up(observer: Observer, seen: Seen) -> None:
    """``seen``, whose channel has ended, is told to drain."""
    if not may_drain(seen) or seen.due > observer.now + 1e-6 or observer.late:
        raise Unsafe(f"drain to {seen} before its time")
    observer._leaves(seen)


def judge_dumped(seen: Seen) -> None:
    if seen.state == "lost" and may_drain(seen):
        raise Unsafe(f"dump to {seen}, whose clients could be served")
