"""The simulation's world is held against real processes: what these do, it can do, and it is judged alike.

One script is played to a real master and to the fake. Then

    the core        decides the same when what was recorded of the real master is told to a fresh fleet
    the observer    finds no rule broken in it, by the books that judge the simulation
    each worker     had the same life in both, apart from what chance decides
    the fake        can produce each of these lives at random, in exactly that order
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from gwctl.supervisor.core import actions as act
from gwctl.supervisor.core import events as ev
from gwctl.supervisor.core.fleet import Fleet
from tests.sim.episodes import episode
from tests.sim.lives import Turn, lives, without_chance, without_place
from tests.sim.observer import Observer
from tests.sim.scripted import ScriptedWorld
from tests.support import recorded_master
from tests.support.core_story import rests
from tests.support.recorded_master import Step
from tests.support.server import GwctlServer
from tests.support.wait import until

EPISODES = 400
"""Of the simulation, in which each life that real workers had must be found."""


@dataclass
class RealRun:
    """A real master, its recording, and what was done to it."""

    server: GwctlServer
    recording: Path
    script: list[tuple[str, int]] = field(default_factory=list)

    def replayed(self) -> tuple[Fleet, list[Step]]:
        """The fleet as it stands after what was recorded; it decided as the real one did."""
        policies, steps = recorded_master.read(self.recording)
        fleet = Fleet(policies)
        for now, events, actions in steps:
            assert fleet.step(now, events) == actions
        return fleet, steps

    def done(self, what: str, which: int, is_over: Callable[[list[Step]], bool]) -> None:
        """Note it, and wait until what follows from it has come to rest."""
        self.script.append((what, which))

        def quiet() -> bool:
            fleet, steps = self.replayed()
            return fleet.state.finished or (is_over(steps) and rests(fleet))

        until(quiet, lambda: f"{what} to be over:\n{self.server.log}")

    @property
    def victim(self) -> tuple[int, int]:
        """Number and pid of a serving worker: the one that was born first."""
        fleet, _ = self.replayed()
        worker = min((w for w in fleet.state.pools["web"].workers if w.serving), key=lambda worker: worker.id)
        return worker.id, worker.pid


def happened(kind: type, steps: list[Step]) -> list[ev.Event | act.Action]:
    return [each for _, events, actions in steps for each in (*events, *actions) if isinstance(each, kind)]


def exited(worker: int) -> Callable[[list[Step]], bool]:
    return lambda steps: any(event.worker == worker for event in happened(ev.Exited, steps))


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealRun]:
    """The script, played to a real master from its start to its end."""
    folder = tmp_path_factory.mktemp("real")
    run = RealRun(_server(folder), folder / "recording")
    with run.server:
        play(run, folder / "broken")
    return run


def _server(folder: Path) -> GwctlServer:
    return GwctlServer(
        "scripted:application",
        worker="sync",
        processes=2,
        master={"control": "auto"},
        command=(os.sys.executable, "-m", "tests.support.recorded_master"),
        environ={"RECORDING": str(folder / "recording"), "BROKEN": str(folder / "broken")},
        timeouts={"request_timeout_s": 3.0},  # of which only what hangs may take so long
        reload={"settle_s": 0.05},
        crash={"healthy_after_s": 0.05},
        recycle={"requests_max": 20, "jitter_percent": 0},
        allow_errors=["died", "not adopted", "timeout", "killed"],
        allow_kill=True,
    )


def play(run: RealRun, broken: Path) -> None:
    server = run.server
    run.done("start", 0, lambda steps: len(happened(act.Serve, steps)) == 2)
    for what, number in (("crash", signal.SIGKILL), ("leave", signal.SIGTERM)):
        worker, pid = run.victim
        os.kill(pid, number)
        run.done(what, worker, exited(worker))
    server.signal(signal.SIGHUP)
    run.done("reload", 0, lambda steps: len(happened(act.Adopt, steps)) == 1)
    broken.touch()
    server.signal(signal.SIGHUP)
    run.done("broken reload", 0, lambda steps: len(happened(act.Abandon, steps)) == 1)
    broken.unlink()
    server.signal(signal.SIGHUP)  # nobody is recycled until what is on disk has been adopted
    run.done("reload", 0, lambda steps: len(happened(act.Adopt, steps)) == 2)
    for size in (3, 1):
        server.gwctl("scale", "web", str(size))
        run.done("scale", size, lambda steps: bool(happened(ev.ScaleAsked, steps)[-1].size == size))  # noqa: B023
    worker, _ = run.victim
    with httpx.Client() as client:
        for _ in range(25):
            client.get(server.url)
    run.done("wear", worker, exited(worker))
    worker, _ = run.victim
    threading.Thread(target=_ask, args=(f"{server.url}/loop",), daemon=True).start()
    run.done("hang", worker, exited(worker))
    server.signal(signal.SIGTERM)
    run.done("stop", 0, lambda steps: bool(happened(act.Finish, steps)))
    server.wait_for_exit()


def _ask(url: str) -> None:
    try:
        httpx.get(url, timeout=30)
    except httpx.HTTPError:
        return


def turns_of(run: RealRun) -> list[Turn]:
    return [(events, actions) for _, events, actions in run.replayed()[1]]


def test_the_recording_can_be_replayed(real):
    """The core has no other input: told the same, it decides the same."""
    fleet, steps = real.replayed()
    assert fleet.state.finished
    assert len(steps) > 50


def test_the_rules_of_the_simulation_hold_for_real_processes(real):
    policies, steps = recorded_master.read(real.recording)
    fleet, observer = Fleet(policies), Observer(policies)
    for now, events, actions in steps:
        deadline = fleet.next_deadline()
        fleet.step(now, events)
        observer.saw(now, events, actions, deadline, fleet.next_deadline())
    assert observer.finished


def stories(turns: list[Turn]) -> dict[int, list[str]]:
    return {worker: without_chance(life) for worker, life in lives(turns).items()}


def played_by_the_fake(run: RealRun, seed: int) -> ScriptedWorld:
    policies, _ = recorded_master.read(run.recording)
    world = ScriptedWorld(policies, seed)
    for what, which in run.script:
        world.play(what, which)
    return world


@pytest.mark.parametrize("seed", range(3))
def test_the_fake_gives_each_worker_the_life_it_had(real, seed):
    assert stories(played_by_the_fake(real, seed).turns) == stories(turns_of(real))


def test_a_fake_that_is_wrong_about_processes_is_noticed(real, monkeypatch):
    """One in which a dump ends a worker that hangs."""
    perform = ScriptedWorld._perform

    def wrong(world: ScriptedWorld, action: act.Action) -> None:
        perform(world, action)
        if isinstance(action, act.Dump):
            world._exit(world.alive[action.worker], -6)

    monkeypatch.setattr(ScriptedWorld, "_perform", wrong)
    assert stories(played_by_the_fake(real, 0).turns) != stories(turns_of(real))


def test_a_first_start_that_fails_is_the_same_in_both(tmp_path):
    broken = tmp_path / "broken"
    broken.touch()
    server = _server(tmp_path)
    run = RealRun(server, tmp_path / "recording", [("broken start", 0)])
    try:
        server.start()
        assert server.wait_for_exit() == 4
        world = played_by_the_fake(run, 0)
        assert world.finish is not None
        assert world.finish.status == 4
        real = stories(turns_of(run))
        assert stories(world.turns)[0] == real[0]
        # one of the two says why; the other may have been told to end before that
        assert any(life[1:] == ["Spawned", "BootFailed", "Exited"] for life in real.values())
    finally:
        server.destroy()


def test_the_fake_can_bring_forth_every_order_of_news_that_was_seen(real):
    seen = {without_place(life) for worker, life in lives(turns_of(real)).items() if worker}
    for seed in range(EPISODES):
        turns: list[Turn] = []
        episode(seed, listener=lambda _now, events, actions: turns.append((events, actions)))  # noqa: B023
        seen -= {without_place(life) for life in lives(turns).values()}
        if not seen:
            break
    assert not seen, "the fake never does this"
