"""systemd's descriptor store: our listeners are kept there while there is no master.

Theory of operation
    Where the unit has FileDescriptorStoreMax= (systemd says so in ``$FDSTORE``, from version 254 on; before
    that the unit sets it), each listener that was bound here is put into the store when it is in force, and
    taken out when a reload has removed it. A restart, a crash or a kill -9 of the master then closes no
    listener: who connects meanwhile waits in its backlog for the next master, which is passed them
    (`gwctl.supervisor.listeners.stored`). Systemd itself empties the store when the unit is stopped for good.

    What is in the store is what was sent and not removed: systemd answers nothing. FDPOLL=0, as a listener
    that somebody has shut down is to be found out by us, not dropped in silence.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from math import inf

from gwctl.records.master import ListenersNotKept
from gwctl.supervisor.recorder import Recorder
from gwctl.supervisor.service.sd_notify import Notifier


class FdStore:
    """What systemd keeps for us, by name."""

    def __init__(self, notifier: Notifier, environ: Mapping[str, str], recorder: Recorder) -> None:
        allowed = environ.get("FDSTORE", "")
        self._max = int(allowed) if allowed.isascii() and allowed.isdecimal() and len(allowed) < 10 else 0
        self._notifier = notifier
        self._recorder = recorder
        self._kept: dict[str, tuple[int, ...]] = {}
        self._due: deque[tuple[str, tuple[int, ...]]] = deque()
        self._told = False

    @property
    def enabled(self) -> bool:
        return self._notifier.enabled and self._max > 0

    def keep(self, listeners: Mapping[str, tuple[int, ...]]) -> bool:
        """Have exactly these kept, by name; true: all are. What is kept under its name is not sent again."""
        wanted = sum(map(len, listeners.values())) if self.enabled else 0
        fits = self.enabled and wanted <= self._max
        if wanted > self._max and not self._told:
            self._recorder.write(ListenersNotKept(listeners=wanted, kept_max=self._max))
        self._told = wanted > self._max
        target = dict(listeners) if fits else {}
        self._due += [(name, ()) for name in self._kept if name not in target]
        for name, fds in target.items():
            before = self._kept.get(name)
            if before and before != fds:
                self._due.append((name, ()))
            if before != fds:
                self._due.append((name, fds))
        self._kept = target
        self.turn()
        return fits

    def snapshot(self) -> tuple[str, ...]:
        """The names of what is kept."""
        return tuple(self._kept)

    def resume(self, names: Iterable[str]) -> None:
        """What was kept before this program or start: sent again, as it may not have left. Twice is once."""
        self._kept = dict.fromkeys(names, ())

    def empty(self) -> None:
        """Nothing is to outlive this master."""
        self.keep({})

    @property
    def next_at(self) -> float:
        """When `turn` has something to do, in monotonic seconds; see `gwctl.supervisor.service.announcer`."""
        return -inf if self._due and not self._notifier.pending else inf

    def turn(self) -> None:
        """Send as much as the manager takes."""
        while self._due and not self._notifier.pending:
            name, fds = self._due.popleft()
            if fds:
                self._notifier.send("FDSTORE=1", f"FDNAME={name}", "FDPOLL=0", fds=fds)
            else:
                self._notifier.send("FDSTOREREMOVE=1", f"FDNAME={name}")
