"""What the master believes of a worker's record on the scoreboard: only what can be so.

A record is shared memory. Its worker writes it, and every other worker of the pool could, by a fault of a
C library as well as on purpose. So the master never decides by what stands there without having
judged it: it takes a copy, and compares that with what it knows itself.

Rules
    - A record names the pid of its worker. Until it does, nothing in it is believed.
    - A time is 0, or lies between the fork of the worker and now.
    - A counter never runs backwards, and does not exceed what a process can have done since its fork.
    - A copy that breaks a rule is ignored: what was believed before holds, without its times,
      since what they tell of is over by now. Why not is said once for each worker.

What obeys all of them may still be a lie. It is one about a worker of the same pool, told by the code of
that pool, and hurts nobody else.
"""

from __future__ import annotations

from typing import Final

from gwctl.ipc import scoreboard
from gwctl.ipc.scoreboard import RECORD_BYTES, Record

SLACK_S: Final = 1.0
"""A clock is read before what it is compared with is stored."""
EVENTS_PER_S_MAX: Final = 1e6
"""Requests or connections of one process; a fast one has a twentieth of it."""
BYTES_PER_S_MAX: Final = 1e12
SECONDS_PER_S_MAX: Final = 1e12
"""Of all requests together; a proxy may say of each that it waited an hour."""
AT_ONCE_MAX: Final = 1 << 24
"""Connections or requests; the kernel's own bound of descriptors is usually a sixteenth of it."""
MEMORY_BYTES_MAX: Final = 1 << 52

_TIMES: Final = {
    scoreboard.HEARTBEAT_AT: "a heartbeat",
    scoreboard.EXTENDED_REQUEST: "a request",
    scoreboard.STARTED_AT: "a start",
    scoreboard.BUSY_SINCE: "a request",
}
_COUNTERS: Final = {
    scoreboard.REQUESTS: "requests",
    scoreboard.ERRORS: "errors",
    scoreboard.ACCEPTED: "accepted connections",
    scoreboard.REFUSED: "refused connections",
    scoreboard.DROPPED: "requests that were not begun",
    **dict.fromkeys(
        range(scoreboard.LATENCY, scoreboard.LATENCY + scoreboard.LATENCY_BUCKETS), "requests of one duration"
    ),
    **dict.fromkeys(
        range(scoreboard.DURATIONS, scoreboard.DURATIONS + scoreboard.DURATION_PLACES),
        "requests of one duration",
    ),
    **dict.fromkeys(
        range(scoreboard.ANSWERS, scoreboard.ANSWERS + scoreboard.ANSWER_WORDS), "answers of one kind"
    ),
    scoreboard.COLLECTIONS: "collections of garbage",
    scoreboard.TLS_HANDSHAKES: "TLS handshakes",
    scoreboard.TLS_RESUMED: "TLS sessions that were resumed",
    scoreboard.TLS_FAILED: "TLS handshakes that failed",
}
_BYTES: Final = {scoreboard.BYTES_OUT: "sent", scoreboard.BYTES_IN: "received"}
_DURATIONS: Final = {
    scoreboard.SECONDS: "all requests",
    scoreboard.WAITED_S: "requests that waited",
    scoreboard.CPU_S: "its processor time",
    scoreboard.COLLECTED_S: "collections of garbage",
    scoreboard.COLLECTED_MAX_S: "one collection of garbage",
}
_LEVELS: Final = {
    scoreboard.CONNECTIONS: (AT_ONCE_MAX, "open connections"),
    scoreboard.ACTIVE: (AT_ONCE_MAX, "requests at once"),
    scoreboard.WEBSOCKETS: (AT_ONCE_MAX, "open WebSockets"),
    scoreboard.MEMORY_BYTES: (MEMORY_BYTES_MAX, "bytes of memory"),
    scoreboard.PRIVATE_BYTES: (MEMORY_BYTES_MAX, "bytes of memory"),
}
_GONE: Final = (
    scoreboard.HEARTBEAT_AT,
    scoreboard.EXTENDED_REQUEST,
    scoreboard.EXTENDED_UNTIL,
    scoreboard.BUSY_SINCE,
)


class Reader:
    """Reads one worker's record. ``doubt``: why it was first not believed; empty: it always was."""

    def __init__(self, spawned_at: float) -> None:
        self._spawned_at = spawned_at
        self._believed = Record(0, memoryview(bytearray(RECORD_BYTES)))
        self.doubt = ""
        self.doubt_told = False
        """Set by whoever writes the log."""

    def read(self, record: Record, pid: int, now: float, *, serves_many: bool = False) -> Record:
        """What can be believed of ``record`` now: a copy.

        Args:
            record: On the board, that of now or an older one.
            pid: Of the worker; 0: not known yet.
            now: Monotonic seconds.
            serves_many: `scoreboard.LONGEST_SINCE` is what the word says that it shares.
        """
        found = record.copy()
        before = self._believed
        if not pid or not (found.words[scoreboard.PID] or before.words[scoreboard.PID]):
            return before
        doubt = self._doubt(found, pid, now, serves_many)
        if not doubt:
            self._believed = found
            return found
        self.doubt = self.doubt or doubt
        for index in _GONE:
            before.floats[index] = 0.0
        before.words[scoreboard.ACTIVE] = 0
        return before

    def _doubt(self, found: Record, pid: int, now: float, serves_many: bool) -> str:
        words, floats, before = found.words, found.floats, self._believed.words
        if words[scoreboard.PID] != pid:
            return f"it names pid {words[scoreboard.PID]}"
        earliest, latest = self._spawned_at - SLACK_S, now + SLACK_S
        times = {**_TIMES, scoreboard.LONGEST_SINCE: "a request"} if serves_many else _TIMES
        for index, what in times.items():
            if floats[index] != 0.0 and not earliest <= floats[index] <= latest:  # nor one that is no number
                return f"it tells of {what} {_when(floats[index], earliest, now)}"
        if floats[scoreboard.EXTENDED_UNTIL] != floats[scoreboard.EXTENDED_UNTIL]:
            return "it gives a request time until no time at all"
        up_s = max(0.0, now - self._spawned_at) + SLACK_S
        for index, what in _COUNTERS.items():
            if not before[index] <= words[index] <= up_s * EVENTS_PER_S_MAX:
                return f"it counts {words[index]:,} {what} after {before[index]:,}"
        for index, what in _BYTES.items():
            if not before[index] <= words[index] <= up_s * BYTES_PER_S_MAX:
                return f"it counts {words[index]:,} bytes {what} after {before[index]:,}"
        before_s = self._believed.floats
        for index, what in _DURATIONS.items():
            if not before_s[index] <= floats[index] <= up_s * SECONDS_PER_S_MAX:  # nor one that is no number
                return f"it has {floats[index]:.3g} s for {what} after {before_s[index]:.3g} s"
        if not 0.0 <= floats[scoreboard.LAG_S] <= up_s:
            return f"it tells of a loop that was held up for {floats[scoreboard.LAG_S]:.3g} s"
        for index, (most, what) in _LEVELS.items():
            if words[index] > most:
                return f"it tells of {words[index]:,} {what}"
        return ""


def _when(at: float, earliest: float, now: float) -> str:
    if at > now:
        return f"in {at - now:.3g} s from now"
    return f"{earliest - at:.3g} s before it was started" if at < earliest else "at no time at all"
