"""A master with nothing to do sleeps: at most one wakeup in five seconds."""

from __future__ import annotations

import time

from tests.support.processes import status_field
from tests.support.wait import pass_time, until

WATCHED_S = 12.0
EVERY_S = 5.0


def wakeups(pid: int) -> int:
    """How often the process went to sleep: proc(5), voluntary_ctxt_switches."""
    return int(status_field(pid, "voluntary_ctxt_switches"))


def test_an_idle_master_wakes_at_most_once_in_five_seconds(gwctl_server):
    """Three wakeups at the most in twelve seconds, whenever they begin; it is not zero only because of the sample."""
    with gwctl_server("wsgi_bare:application", worker="sync", processes=2) as server:
        settled = [wakeups(server.pid), time.monotonic()]

        def quiet() -> bool:
            count = wakeups(server.pid)
            if count != settled[0]:
                settled[:] = [count, time.monotonic()]
            return time.monotonic() - settled[1] > 1.0

        until(quiet, "the master to come to rest")
        began, before = time.monotonic(), wakeups(server.pid)
        pass_time(WATCHED_S)
        after = wakeups(server.pid)
        assert after - before <= (time.monotonic() - began) // EVERY_S + 1
