"""What the selector knows of the children: the channel of each, and its pidfd where there are any.

The kernel can refuse to watch one descriptor more (`epoll_ctl` has a limit for each user, and
needs memory). Without its pidfd a child is still reaped, as SIGCHLD tells of it; without its
channel nothing can be known of it: one just forked is let go, one that lives counts as lost.
"""

from __future__ import annotations

import os
import selectors
from collections.abc import Callable, Iterable

from gwctl.records.workers import ChannelLost, NoPidfd
from gwctl.supervisor.children.child import Child
from gwctl.supervisor.recorder import Recorder


class Watching:
    """The channels and pidfds of children, as registered with the master's selector.

    ``heard`` is called when a channel is ready, with the mask; ``lost`` when it cannot be watched any
    more; ``ended`` when a process has ended.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        recorder: Recorder,
        heard: Callable[[Child, int], None],
        lost: Callable[[Child], None],
        ended: Callable[[], None],
    ) -> None:
        self._selector = selector
        self._recorder = recorder
        self._heard = heard
        self._lost = lost
        self._ended = ended

    def begin(self, child: Child) -> None:
        """Watch a process that runs.

        Raises:
            OSError: Not its channel. Nothing of it is watched then.
        """
        if not child.channel.closed:
            self._selector.register(
                child.channel, selectors.EVENT_READ, lambda mask: self._heard(child, mask)
            )
            self.want_write(child)
        if not hasattr(os, "pidfd_open"):
            return
        try:
            child.pidfd = os.pidfd_open(child.pid) if child.pidfd < 0 else child.pidfd
            self._selector.register(child.pidfd, selectors.EVENT_READ, lambda _mask: self._ended())
        except OSError as error:
            if child.pidfd >= 0:
                os.close(child.pidfd)
                child.pidfd = -1
            reason = error.strerror or str(error)
            self._recorder.write(NoPidfd(process=child.process, reason=reason))

    def want_write(self, child: Child) -> None:
        """Be told when the channel takes what is queued, if anything is."""
        if child.channel.closed or not child.pid:
            return
        channel = child.channel
        waits = channel.wants_write and not channel.starved
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if waits else 0)
        key = self._selector.get_key(child.channel)
        if key.events == wanted:
            return
        try:
            self._selector.modify(child.channel, wanted, key.data)
        except OSError as error:
            self.lose(child, error)

    def retry(self, children: Iterable[Child]) -> None:
        """Write again where the kernel had no room; there is nothing by which it tells that it has."""
        for child in children:
            if child.channel.starved and not child.channel.closed:
                child.channel.flush()
                self.want_write(child)

    def lose(self, child: Child, error: OSError) -> None:
        """Count the channel of a process that lives as ended."""
        reason = error.strerror or str(error)
        self._recorder.write(ChannelLost(process=child.process, reason=reason))
        child.channel.closed = True
        self._lost(child)

    def leave_channel(self, child: Child) -> bool:
        """Do not watch the channel any more; false when it was not."""
        if child.channel not in self._selector.get_map():
            return False
        self._selector.unregister(child.channel)
        return True

    def end(self, child: Child) -> None:
        """Watch nothing of it any more."""
        if child.pidfd >= 0:
            self._selector.unregister(child.pidfd)
            os.close(child.pidfd)
            child.pidfd = -1
        self.leave_channel(child)
