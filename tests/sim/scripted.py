"""The simulated world in which nothing happens but what a script says, one thing after the other.

The same script is played to a real master (tests/process/test_fake_is_verified.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gwctl.supervisor.core import actions as act
from gwctl.supervisor.core import events as ev
from gwctl.supervisor.core.fleet import Fleet
from gwctl.supervisor.core.policy import PoolPolicy
from tests.sim.lives import Turn
from tests.sim.mishaps import NO_FAULTS, Process
from tests.sim.observer import Observer
from tests.sim.world import World
from tests.support.core_story import rests

TURNS_MAX = 2000


class ScriptedWorld(World):
    """``turns``: what went in and came out so far."""

    def __init__(self, policies: Mapping[str, PoolPolicy], seed: int) -> None:
        super().__init__(seed, NO_FAULTS, self._heard)
        self.calm()
        self.idle_from = float("inf")
        self.policies = dict(policies)
        self.fleet = Fleet(self.policies)
        self.observer = Observer(self.policies)
        self.turns: list[Turn] = []

    def _heard(self, _now: float, events: Sequence[ev.Event], actions: Sequence[act.Action]) -> None:
        self.turns.append((events, actions))

    def play(self, what: str, which: int) -> None:
        """Let it happen, and wait until it is over. ``which``: a worker, or a size."""
        match what:
            case "crash":
                self._exit(self.alive[which], -9)
            case "leave":
                self._leaves(self.alive[which])
            case "hang":
                self.alive[which].request_at = self.now
            case "wear":
                self.alive[which].rate = 1_000_000
            case "reload" | "broken reload":
                self._broken = what == "broken reload"
                self._read(ev.ReloadAsked(0, "SIGHUP"))
            case "scale":
                self._read(ev.ScaleAsked(0, "web", size=which))
            case "stop":
                self.stop()
            case _:
                self._disk_broken = what == "broken start"
        self._until_quiet()
        self._disk_broken = False

    def _until_quiet(self) -> None:
        for _ in range(TURNS_MAX):
            self.turn()
            if self.finish is not None or (not self.busy and not self._due() and rests(self.fleet)):
                return
        raise AssertionError(f"not quiet after {TURNS_MAX} turns")

    def _due(self) -> bool:
        return any(process.rate > 1 for process in self.alive.values())

    def _spawn(self, action: act.Spawn) -> None:
        super()._spawn(action)
        self.alive[action.worker].rate = 0

    def _boots(self, process: Process) -> None:
        if not self._disk_broken:
            super()._boots(process)
        elif process.alive:
            self._news(0.0, ev.BootFailed(process.id, "import", "cannot import shop", "Traceback ..."))
            self._at(0.01, self._cannot_boot, process)

    _boot_fails = _boots

    def _cannot_boot(self, process: Process) -> None:
        self._exit(process, 4)

    def _breaks(self) -> bool:
        return self._broken

    def _new_policies(self) -> dict[str, PoolPolicy]:
        return dict(self.policies)

    _broken = False
