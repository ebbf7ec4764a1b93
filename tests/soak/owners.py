"""Which connections a process has: exactly those are lost when it dies.

The kernel is asked before the death, so a failed request is laid at a death's door by the
port of its connection and not by a guess from the time. A process that is stopped accepts
and hands over nothing any more: of it the answer is final.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.load.result import Failure, Incident
from tests.support.processes import wait_until_stopped

SLACK_S = 0.05
"""Between our reading of the clock and the kernel's deed."""
NOTICED_S = 10.0
"""How late a client on a busy machine may read that its connection has ended."""
FRESH_NOTICED_S = 2.0
"""The same for a connection that nobody saw: it may have waited to be accepted until the last moment."""
KILL_TIMEOUT_S = 20.0
_ESTABLISHED = "01"
"""In /proc/net/tcp."""


def inodes(pid: int) -> set[str]:
    """Of the sockets that the process has open; none when it is gone."""
    found = set()
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for path in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                target = str(path.readlink())
                if target.startswith("socket:["):
                    found.add(target[8:-1])
    return found


def clients_of(pid: int, port: int, *, gone: bool = False) -> set[int] | None:
    """Ports of the clients whose connections to ``port`` the process has; None: it ends, or is gone.

    ``gone``: only those of clients that have ended their side.
    Where processors are scarce, half a second can pass between the closing of its sockets and its end.
    """
    sockets = inodes(pid)
    if not sockets:
        return None
    ours = f":{port:04X}"
    found = set()
    for line in Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]:
        fields = line.split()
        if fields[1].endswith(ours) and fields[9] in sockets and not (gone and fields[3] == _ESTABLISHED):
            found.add(int(fields[2].rpartition(":")[2], 16))
    return found


@dataclass
class Death:
    """One process that was killed, by us or because of us.

    ``exact``: it could accept nothing between the last look at its connections and its end.
    Otherwise a connection without an answer so far may have been its own, too, and one on which it
    was the last to answer was.
    """

    pid: int
    why: str
    exact: bool = True
    clients: set[int] = field(default_factory=set)
    looked_at: float = 0.0
    """When its connections were last seen; its end came later."""
    ended_at: float = 0.0
    """0: not yet."""

    def explains(self, incident: Incident) -> bool:
        """The connection was the process's, and the request in its hands when it died."""
        if not self.ended_at or not self._timely(incident):
            return False
        if incident.port in self.clients:
            return True
        fresh = incident.request <= 1 and incident.failed_at <= self.ended_at + FRESH_NOTICED_S
        return not self.exact and (fresh or incident.worker == str(self.pid))

    def _timely(self, incident: Incident) -> bool:
        # A WebSocket is in hand all its life; its client may notice at the next message.
        cut = incident.failure == Failure.CUT
        in_hand = cut or incident.began_at <= self.ended_at + SLACK_S
        return in_hand and self.looked_at - SLACK_S <= incident.failed_at <= self.ended_at + NOTICED_S


def kill(pid: int, port: int, why: str) -> Death | None:
    """Stop, ask, SIGKILL, wait for the end. None when it was gone before."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGSTOP)
        wait_until_stopped(pid)
        death = Death(pid, why, looked_at=time.monotonic())
        death.clients = clients_of(pid, port) or set()
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        wait_for_end(pidfd, KILL_TIMEOUT_S)
        death.ended_at = time.monotonic()
        return death
    except ProcessLookupError:
        return None
    finally:
        os.close(pidfd)


def wait_for_end(pidfd: int, timeout_s: float) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(timeout_s * 1000))
