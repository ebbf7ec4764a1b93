"""Telling the core a story, and reading its actions as short lines.

    story = CoreStory(web=2)
    story.begins()                      # ["spawn 1 web.0 g1", "spawn 2 web.1 g1"]
    story.boots(1)                      # ["serve 1"]

Log lines, progress and samples of the scoreboard are kept apart, in `notes`, `progress` and
`samples`. After every step the fleet is asked once more, and must have nothing to add.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from msgspec.structs import replace

from gwctl.records.sentences import sentence
from gwctl.supervisor.core import actions as act
from gwctl.supervisor.core import deadlines
from gwctl.supervisor.core import events as ev
from gwctl.supervisor.core.fleet import Fleet
from gwctl.supervisor.core.policy import PoolPolicy

POLICY = PoolPolicy(size=1)
"""Durations of the defaults: boot 60, drain 30, settle 2, backoff 0.5 to 60, healthy after 30."""


class CoreStory:
    """One fleet and the clock it goes by."""

    def __init__(self, *, policy: PoolPolicy = POLICY, **sizes: int) -> None:
        self.policy = policy
        self.policies = {name: replace(policy, size=size) for name, size in sizes.items()}
        self.fleet = Fleet(self.policies)
        self.now = 100.0
        self.keep_s = 0.0
        self.lost: tuple[str, ...] = ()
        self.samples: list[float] = []
        self.notes: list[str] = []
        self.progress: list[str] = []
        self.finish: act.Finish | None = None
        self.answers: list[act.Answer] = []

    def happens(self, *events: ev.Event, after: float = 0.0) -> list[str]:
        """``after`` seconds later these things are news; returns what the core does about them."""
        self.now += after
        lines = self._tell(self.fleet.step(self.now, events))
        assert self.fleet.step(self.now, []) == [], "a step with no news acted"
        return lines

    def passes(self, seconds: float) -> list[str]:
        """Time passes; the core is woken at each of its deadlines, as the shell would."""
        until, lines = self.now + seconds, []
        while (deadline := self.fleet.next_deadline()) is not None and deadline <= until:
            self.now = deadline
            lines += self._tell(self.fleet.step(self.now, []))
        self.now = until
        return lines

    def _tell(self, actions: Sequence[act.Action]) -> list[str]:
        lines = []
        for action in actions:
            match action:
                case act.Note(record=record):
                    self.notes.append(f"{record.level}: {sentence(record)}")
                case act.Observe():
                    self.samples.append(self.now)
                case act.Progress(request=request, pool=pool, phase=phase, outcome=outcome, detail=detail):
                    self.progress.append(
                        " ".join(filter(None, (f"{request}:", pool, phase, outcome, detail)))
                    )
                case act.Answer():
                    self.answers.append(action)
                    lines.append(f"answer {action.request} {'yes' if action.ok else 'no'}")
                case act.Finish():
                    self.finish = action
                    lines.append(f"finish {action.status}")
                case _:
                    lines.append(_line(action))
        return lines

    @property
    def rests(self) -> bool:
        return rests(self.fleet)

    # ---- phrases

    def begins(self) -> list[str]:
        return self.happens()

    def boots(self, *workers: int, after: float = 0.0) -> list[str]:
        news: list[ev.Event] = []
        for worker in workers:
            news += [ev.Spawned(worker, 1000 + worker), ev.Ready(worker)]
        return self.happens(*news, after=after)

    def serves(self) -> CoreStory:
        """From the start to all workers ready."""
        lines = self.begins()
        self.boots(*range(1, len(lines) + 1), after=0.5)
        return self

    def dies(self, worker: int, status: int = -11, *, after: float = 0.0, jitter: float = 0.0) -> list[str]:
        return self.happens(ev.Exited(worker, status, jitter), after=after)

    def fails_to_boot(self, worker: int, kind: str = "import", *, after: float = 0.0) -> list[str]:
        failed = ev.BootFailed(worker, kind, "cannot import shop", "File shop.py, line 1\n")
        return self.happens(ev.Spawned(worker, 1000 + worker), failed, after=after)

    def cannot_fork(self, worker: int, *, after: float = 0.0) -> list[str]:
        return self.happens(ev.SpawnFailed(worker, "no memory", 0.0), after=after)

    def happens_to_pool(self, name: str) -> list[str]:
        """Have the pool looked at again, as after news of it."""
        self.fleet.state.dirty.add(name)
        return self.happens()

    def reloads(self, request: int = 7, **sizes: int) -> list[str]:
        """Ask for it and answer Prepare, with these sizes or the present ones."""
        policies = {name: replace(self.policy, size=size) for name, size in sizes.items()} or self.policies
        lines = self.happens(ev.ReloadAsked(request, "gwctl reload"))
        generation = int(lines[-1].removeprefix("prepare g"))
        return self.happens(ev.Prepared(generation, policies, keep_s=self.keep_s, lost=self.lost))

    def rolls_back(self, request: int = 8) -> list[str]:
        """Ask for it, and answer Restore."""
        kept = self.fleet.state.kept
        assert kept is not None
        lines = self.happens(ev.RollbackAsked(request, "gwctl rollback"))
        assert lines == [f"restore g{kept.generation}"]
        return self.happens(ev.Prepared(kept.generation, kept.policies, keep_s=self.keep_s))

    def obey(self, *workers: int) -> list[str]:
        """They say that they have carried out their last order."""
        living = self.fleet.turn.workers
        return self.happens(*(ev.Obeyed(worker, serving=living[worker].serving) for worker in workers))

    def states(self, pool: str = "web") -> list[str]:
        """``0 g1 ready`` for each worker of a pool."""
        return [f"{w.slot} g{w.generation} {w.state.value}" for w in self.fleet.state.pools[pool].workers]


def rests(fleet: Fleet) -> bool:
    """Nothing is due, now or later, but the next look at the scoreboard."""
    sample_at, fleet.state.sample_at = fleet.state.sample_at, inf
    try:
        return deadlines.soonest(fleet.state, fleet.turn) == inf
    finally:
        fleet.state.sample_at = sample_at


def _line(action: act.Action) -> str:
    match action:
        case act.Spawn(worker=worker, pool=pool, slot=slot, generation=generation, template=template):
            return f"spawn {worker} {pool}.{slot} g{generation}" + (f" of {template}" if template else "")
        case act.Drain(worker=worker, sweep=sweep):
            return f"drain {worker}{' and sweep' if sweep else ''}"
        case act.Serve(worker=worker) | act.Park(worker=worker) | act.Quit(worker=worker):
            return f"{type(action).__name__.lower()} {worker}"
        case act.ReleaseClients(worker=worker):
            return f"release_clients {worker}"
        case (
            act.Dump(worker=worker, reason=reason)
            | act.Kill(worker=worker, reason=reason)
            | act.Spare(worker=worker, reason=reason)
        ):
            return f"{type(action).__name__.lower()} {worker}: {reason}"
        case act.Adopt(generation=generation, kept=kept):
            return f"adopt g{generation}" + (f", keep g{kept}" if kept else "")
        case (
            act.Prepare(generation=generation)
            | act.Restore(generation=generation)
            | act.Release(generation=generation)
            | act.Abandon(generation=generation)
        ):
            return f"{type(action).__name__.lower()} g{generation}"
        case _:
            return type(action).__name__
