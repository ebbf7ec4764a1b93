"""Upgrades in the simulated world: the fleet is turned into a snapshot, and goes on made from it.

For a while the fleet it was taken from is stepped beside it, with the same news: both must decide the
same. Half of the upgrades find an old program instead: its check fails, hangs, or it cannot be executed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from gwctl.supervisor.core import actions as act
from gwctl.supervisor.core import events as ev
from gwctl.supervisor.core.fleet import Fleet
from gwctl.supervisor.core.snapshot import fleet_from, snapshot_of
from tests.sim.books import SLACK_S, Unsafe
from tests.sim.observer import Observer

if TYPE_CHECKING:
    from tests.sim.world import World

TWIN_STEPS = 60
CHECK_S = 30.0
MEAN_S = 40.0
"""Between two upgrades that are asked for."""


def through_json(fleet: Fleet) -> Fleet:
    """What the new program makes of the snapshot of the old one."""
    return fleet_from(msgspec.json.decode(msgspec.json.encode(snapshot_of(fleet))))


def shown(fleet: Fleet) -> tuple[object, ...]:
    """What people are told of it, besides its workers."""
    return fleet.state.phase, fleet.state.generation, fleet.state.degraded, fleet.state.reload_waits


class Upgrades:
    """What the shell does for an upgrade, and the twin that the fleet has afterwards."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._checks = 0
        self._twin: Fleet | None = None
        self._twin_steps = 0
        world._at(world.rng.expovariate(1 / MEAN_S), self.ask, MEAN_S)

    def saw(self, batch: Sequence[ev.Event], actions: Sequence[act.Action]) -> None:
        """After each step."""
        self.step_twin(batch, actions)
        for action in actions:
            match action:
                case act.CheckUpgrade():
                    self.check()
                case act.AbandonUpgrade():
                    self.abandon()
        if act.ExecuteUpgrade() in actions and self._world.fleet.state.executing:
            self.execute()

    def ask(self, mean: float) -> None:
        world = self._world
        if world.asking:
            for _ in range(world.rng.choice((1, 1, 2))):
                world._read(ev.UpgradeAsked(world._request(), "SIGUSR2"))
            world._at(world.rng.expovariate(1 / mean), self.ask, mean)

    def check(self) -> None:
        self._checks += 1
        jitter = self._world.rng.random()
        if jitter < 0.9:
            self._world._at(self._world.rng.random() * 2, self._checked, self._checks)

    def abandon(self) -> None:
        self._checks += 1
        self._world.seen["upgrade abandoned"] += 1

    def _checked(self, number: int) -> None:
        if number == self._checks:
            fails = self._world.rng.random() < 0.2
            self._world._read(ev.UpgradeFailed("no such setting") if fails else ev.UpgradeChecked("gwctl 2"))

    def execute(self) -> None:
        """After all actions of a step: the fleet becomes another, and hears first of it."""
        world = self._world
        news: ev.Event = ev.UpgradeFailed("no such file")
        if world.rng.random() < 0.8:
            news = ev.Upgraded("gwctl 1", "gwctl 2", 0.3)
            world.seen["upgraded"] += 1
        self._twin, self._twin_steps = world.fleet, TWIN_STEPS
        world.fleet = through_json(world.fleet)
        world._batch.insert(0, news)
        world._at(0.0, lambda _: None, None)

    def step_twin(self, batch: Sequence[ev.Event], actions: Sequence[act.Action]) -> None:
        """Both have the same past, so they decide the same."""
        if self._twin is None:
            return
        theirs = self._twin.step(self._world.now, batch)
        if theirs != actions or self._twin.next_deadline() != self._world.fleet.next_deadline():
            raise Unsafe(f"the fleet decides {actions} after its upgrade; it would have been {theirs}")
        if shown(self._twin) != shown(self._world.fleet):
            raise Unsafe(f"the fleet shows {shown(self._world.fleet)} instead of {shown(self._twin)}")
        self._twin_steps -= 1
        if not self._twin_steps:
            self._twin = None


class UpgradeObserver(Observer):
    """Adds what must hold of upgrades.

    - One check at a time, none while a reload runs or the fleet stops; it is given up in time.
    - Nothing is executed that was not checked, and nothing while a reload runs or the fleet stops.
    - No reload begins between; after an upgrade there is one at once.
    """

    checking_until: float | None = None
    checked = False
    executing = False
    owes_reload = False
    ended_now = False
    """A check ended in this very step; earlier news of the step may have made the fleet give it up."""

    def saw(
        self,
        now: float,
        batch: Sequence[ev.Event],
        actions: Sequence[act.Action],
        deadline: float | None,
        next_deadline: float | None,
    ) -> None:
        self.ended_now = False
        others = [event for event in batch if not self._upgrade_news(event)]
        for action in actions:
            self._judge_upgrade(action, now)
        super().saw(now, others, actions, deadline, next_deadline)
        late = self.checking_until is not None and now > self.checking_until + SLACK_S
        if late and not self.stopping:
            raise Unsafe("the check of an upgrade has hung for too long")
        if self.owes_reload and self.txn is None and not self.stopping and self._stop_rules.until is None:
            raise Unsafe("no reload follows an upgrade")
        self.owes_reload = False
        if self.stopping:
            self.checking_until, self.checked, self.executing = None, False, False

    def _forgive(self, late_s: float, before: float) -> None:
        super()._forgive(late_s, before)
        if self.checking_until is not None:
            self.checking_until += late_s

    def _upgrade_news(self, event: ev.Event) -> bool:
        match event:
            case ev.UpgradeAsked(request=request):
                if request:
                    self.asked[request] = event
            case ev.UpgradeChecked():
                self.ended_now = self.checking_until is not None
                self.checked, self.checking_until = self.checking_until is not None, None
            case ev.UpgradeFailed():
                self.ended_now = self.checking_until is not None
                self.checking_until, self.executing = None, False
            case ev.Upgraded():
                if not self.executing and not self.stopping:
                    raise Unsafe("upgraded unasked")
                self.owes_reload, self.executing = self.executing, False
            case _:
                return False
        return True

    def _judge_upgrade(self, action: act.Action, now: float) -> None:
        match action:
            case act.CheckUpgrade():
                if self.checking_until is not None or self.executing or self.stopping:
                    raise Unsafe("a second check, or one while the fleet stops")
                self.checking_until = now + CHECK_S
            case act.AbandonUpgrade():
                if self.checking_until is None and not self.ended_now:
                    raise Unsafe("gave up a check that does not run")
                self.checking_until = None
            case act.ExecuteUpgrade():
                if not self.checked or self.stopping or self.txn is not None:
                    raise Unsafe("executes what was not checked, or in the middle of a reload")
                self.checked, self.executing = False, True
            case act.Prepare():
                if self.checking_until is not None or self.executing:
                    raise Unsafe("a reload begins in the middle of an upgrade")
