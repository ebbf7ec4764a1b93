"""What the outside is told of the fleet's state: systemd, and the STATUS line it shows.

The core knows nothing of systemd. After each step its phase is compared with what was told
last, and only a difference is sent.
"""

from __future__ import annotations

from gwctl.supervisor.core.fleet import Fleet, Phase
from gwctl.supervisor.notify import Notifier


class Announcer:
    """Sends READY, RELOADING, STOPPING and STATUS as the fleet's phase changes.

    ``on_serving`` is called once, when all pools have become ready for the first time.
    """

    def __init__(self, notifier: Notifier) -> None:
        self._notifier = notifier
        self._phase = Phase.STARTING
        self._status = ""

    def observe(self, fleet: Fleet) -> None:
        """Tell what changed since the last call."""
        lines = []
        if fleet.phase is not self._phase:
            lines += self._phase_lines(fleet.phase)
            self._phase = fleet.phase
        status = describe(fleet)
        if status != self._status:
            lines.append(f"STATUS={status}")
            self._status = status
        if lines:
            self._notifier.send(*lines)

    def watchdog(self) -> None:
        """Say that the master's loop turns, when systemd asked for it."""
        self._notifier.watchdog()

    def _phase_lines(self, phase: Phase) -> list[str]:
        match phase:
            case Phase.STARTING:
                return []
            case Phase.SERVING:
                return ["READY=1"]
            case Phase.RELOADING:
                return self._notifier.reloading()
            case Phase.STOPPING:
                return ["STOPPING=1"]


def describe(fleet: Fleet) -> str:
    """One line for ``systemctl status``: ``generation 2: web 4/4 ready``."""
    pools = ", ".join(f"{name} {pool.ready}/{pool.size} ready" for name, pool in fleet.pools.items())
    text = f"generation {fleet.generation}: {pools}"
    return f"{text}; {fleet.phase.value}" if fleet.phase is not Phase.SERVING else text
