"""Fleets that are broken on purpose, each in one way, to show that the simulation would notice.

A mutant patches the core in place. `Fleet.check` is switched off with it: what is to be shown
is that the observer and the demand for convergence catch it by themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from msgspec import structs
from msgspec.structs import replace

from gwctl.records.master import MasterStopped
from gwctl.records.reloads import UpgradeWaits
from gwctl.supervisor.core import actions as act
from gwctl.supervisor.core import (
    autoscale,
    budget,
    commands,
    crash,
    deadlines,
    hangs,
    judgement,
    pool,
    reconcile,
    recycling,
    scaling,
    sizing,
    state,
    stopping,
    takeover,
    templates,
    worker_events,
)
from gwctl.supervisor.core import slot as backoff
from gwctl.supervisor.core import worker as life
from gwctl.supervisor.core.ending import Ending
from gwctl.supervisor.core.fleet import Fleet
from gwctl.supervisor.core.policy import ScalePolicy
from gwctl.supervisor.core.pool import Pool
from gwctl.supervisor.core.reload import Reload
from gwctl.supervisor.core.state import FleetState
from gwctl.supervisor.core.turn import Turn
from gwctl.supervisor.core.watch import Watch
from gwctl.supervisor.core.worker import Order, State, Worker

Patch = pytest.MonkeyPatch
Mutant = Callable[[Patch], None]


def reloads_while_it_is_taken_over(patch: Patch) -> None:
    asked = takeover.asked

    def forgets(fleet: FleetState, *rest: Any) -> None:
        asked(fleet, *rest)
        fleet.handing_over = None

    patch.setattr(takeover, "asked", forgets)


def drains_twice(patch: Patch) -> None:
    order = Turn.order

    def twice(turn: Turn, worker: Worker, what: Order, **how: Any) -> None:
        order(turn, worker, what, **how)
        if what is Order.DRAIN:
            turn.actions.append(turn.actions[-1])

    patch.setattr(Turn, "order", twice)


def leaves_them_parked_on_abort(patch: Patch) -> None:
    serve = reconcile._serve

    def but_parked(view: Any, worker: Worker, turn: Turn) -> None:
        if worker.state is not State.PARKED:
            serve(view, worker, turn)

    patch.setattr(reconcile, "_serve", but_parked)


def parks_before_the_new_one_is_ready(patch: Patch) -> None:
    def hasty(view: Any, turn: Turn) -> None:
        for worker in view.old_ready():
            turn.order(worker, Order.PARK)

    patch.setattr(reconcile, "_replace", hasty)


def has_no_backoff(patch: Patch) -> None:
    patch.setattr(backoff, "backoff", lambda doublings, policy, jitter: 0.0)


def has_no_breaker(patch: Patch) -> None:
    patch.setattr(
        backoff.Slot, "died", lambda slot, now, policy, jitter, **_how: slot.failed(now, policy, jitter)
    )


def forgives_whoever_lived_at_all(patch: Patch) -> None:
    lived = backoff.Slot.lived
    patch.setattr(
        backoff.Slot, "lived", lambda slot, _healthy_s, policy: lived(slot, policy.healthy_after_s, policy)
    )


def says_each_time_that_it_keeps_dying(patch: Patch) -> None:
    exited = crash.exited

    def and_say(which: Any, worker: Worker, event: Any, turn: Turn, **how: Any) -> None:
        before = which.slot(worker.slot).open
        exited(which, worker, event, turn, **how)
        if before and which.slot(worker.slot).open:
            crash.breaker_opened(which, worker.slot, turn)

    patch.setattr(crash, "exited", and_say)


def has_no_boot_deadline(patch: Patch) -> None:
    limit = life.time_limit

    def unlimited(state: State, policy: Any) -> float:
        return 1e6 if state is State.STARTING else limit(state, policy)

    patch.setattr(life, "time_limit", unlimited)


def has_no_drain_deadline(patch: Patch) -> None:
    limit = life.time_limit

    def unlimited(state: State, policy: Any) -> float:
        return 1e6 if state is State.DRAINING else limit(state, policy)

    patch.setattr(life, "time_limit", unlimited)


def kills_without_a_deadline_for_the_link(patch: Patch) -> None:
    patch.setattr(life, "LINK_GRACE_S", 0.01)


def signals_the_dead(patch: Patch) -> None:
    exited = worker_events._exited

    def and_kill(fleet: FleetState, worker: Worker, event: Any, turn: Turn) -> None:
        exited(fleet, worker, event, turn)
        turn.actions.append(act.Kill(worker.id, "to be sure"))

    patch.setattr(worker_events, "_exited", and_kill)


def takes_the_last_serving_worker(patch: Patch) -> None:
    patch.setattr(reconcile, "_is_last", lambda view, worker: False)


def forgets_to_answer_refusals(patch: Patch) -> None:
    answer = commands.answer

    def only_good_news(turn: Turn, request: int, text: str, result: dict[str, Any], *, ok: bool) -> None:
        if ok:
            answer(turn, request, text, result, ok=ok)

    patch.setattr(commands, "answer", only_good_news)


def exceeds_the_surge(patch: Patch) -> None:
    limit = reconcile.active_limit
    patch.setattr(reconcile, "active_limit", lambda which, wanted: limit(which, wanted) + 1)


def exceeds_draining_max(patch: Patch) -> None:
    patch.setattr(pool, "draining_limit", lambda which, wanted: 99)


def judges_in_a_late_turn(patch: Patch) -> None:
    patch.setattr(deadlines, "LATE_S", float("inf"))


def commits_without_settling(patch: Patch) -> None:
    patch.setattr(Reload, "committable", lambda reload, now: reload.settled_at is not None)


def rolls_unwatched(patch: Patch) -> None:
    patch.setattr(Watch, "give_up", lambda which, now: not which.again and set_over(which))


def adopts_unwatched(patch: Patch) -> None:
    patch.setattr(Watch, "give_up", lambda which, now: which.again and set_over(which))


def set_over(which: Watch) -> bool:
    was, which.over = which.over, True
    return not was


def rolls_without_canaries(patch: Patch) -> None:
    wanted = Reload.wanted

    def everything(reload: Reload, which: Any, kept: int = 0) -> pool.Wanted:
        plan = wanted(reload, which, kept)
        if plan.policy is None:
            return plan
        return replace(plan, new=plan.new_in_the_end)

    patch.setattr(Reload, "wanted", everything)


def adopts_what_failed(patch: Patch) -> None:
    patch.setattr(judgement, "tried", lambda fleet, worker: False)


def respawns_old_code_during_a_reload(patch: Patch) -> None:
    patch.setattr(pool, "COMING", frozenset())
    original = pool.View.__init__

    def blind(self: Any, which: Any, wanted: Any) -> None:
        original(self, which, wanted)
        if wanted.candidate:
            self.serving = 0

    patch.setattr(pool.View, "__init__", blind)


def spins(patch: Patch) -> None:
    patch.setattr(Worker, "rearm", lambda worker, now: None)


def talks_without_news(patch: Patch) -> None:
    step = Fleet.step

    def chatty(fleet: Fleet, now: float, events: Any) -> list[act.Action]:
        return [*step(fleet, now, events), act.Note(UpgradeWaits(source="nobody"))]

    patch.setattr(Fleet, "step", chatty)


def leaves_workers_behind(patch: Patch) -> None:
    patch.setattr(
        stopping,
        "finish",
        lambda ending, turn: turn.actions.append(act.Finish(0, MasterStopped(took_s=0.0, cut=0))),
    )
    settle = Fleet._settle

    def at_once(fleet: Fleet) -> None:
        settle(fleet)
        if fleet.state.ending is not None and not fleet.state.finished:
            stopping.finish(fleet.state.ending, fleet.turn)
            fleet.state.finished = True

    patch.setattr(Fleet, "_settle", at_once)


def samples_all_the_time(patch: Patch) -> None:
    patch.setattr(deadlines, "SAMPLE_S", 0.5)


def never_samples(patch: Patch) -> None:
    patch.setattr(deadlines, "SAMPLE_S", 1e9)


def retires_before_the_heir_serves(patch: Patch) -> None:
    succeed = reconcile._succeed

    def hasty(view: Any, turn: Turn) -> None:
        for slot, heir in list(view.successors.items()):
            worn = view.old.get(slot)
            if worn is not None and worn.serving and heir.state is State.STARTING:
                reconcile._let_go(view, worn, turn)
                reconcile._inherit(view, heir)
        succeed(view, turn)

    patch.setattr(reconcile, "_succeed", hasty)


def recycles_all_at_once(patch: Patch) -> None:
    patch.setattr(reconcile, "recycled_at_once", lambda which: 99)


def recycles_what_is_on_disk(patch: Patch) -> None:
    patch.setattr(state, "Wanted", lambda generation, **how: pool.Wanted(generation, recycle=True))


def recycles_the_young(patch: Patch) -> None:
    patch.setattr(recycling, "age", lambda worker, now: 1e9)


def never_recycles(patch: Patch) -> None:
    patch.setattr(reconcile, "_recycle", lambda view, turn: None)


def forks_before_the_template_is_ready(patch: Patch) -> None:
    patch.setattr(templates, "ready", _template)


def _template(pool: Any, generation: int, policy: Any, turn: Turn) -> Worker:
    one = pool.template_of(generation)
    if one is None:
        one = turn.spawn(pool.name, life.TEMPLATE, generation, policy)
        pool.templates[one.id] = one
    return one


def waits_for_a_mute_template(patch: Patch) -> None:
    patch.setattr(worker_events, "_fork_unanswered", lambda fleet, worker, turn: False)


def keeps_templates_of_abandoned_generations(patch: Patch) -> None:
    patch.setattr(templates, "let_go", lambda pool, keep, turn: None)


def trusts_a_template_begun_after_a_refusal(patch: Patch) -> None:
    patch.setattr(Pool, "keeps_code", lambda pool, generation: pool.template_of(generation) is not None)


def forgets_the_hard_limit(patch: Patch) -> None:
    patch.setattr(recycling, "_kill", lambda fleet, worker, observed, turn: None)


def forgets_the_delay_of_a_stop(patch: Patch) -> None:
    patch.setattr(Ending, "accepting", property(lambda ending: False))


def keeps_the_door_open(patch: Patch) -> None:
    fire = stopping.fire

    def sleepy(fleet: FleetState, ending: Ending, turn: Turn) -> None:
        ending.accept_until += 60.0 if ending.accepting else 0.0
        fire(fleet, ending, turn)

    patch.setattr(stopping, "fire", sleepy)


def overlooks_long_requests(patch: Patch) -> None:
    patch.setattr(hangs, "_request", lambda fleet, observed, turn: "")


def overlooks_still_loops(patch: Patch) -> None:
    patch.setattr(hangs, "_heartbeat", lambda fleet, worker, before, observed, turn: "")


def kills_without_a_last_sample(patch: Patch) -> None:
    patch.setattr(hangs, "last_sample", lambda fleet, worker, turn: False)


def spares_nobody(patch: Patch) -> None:
    patch.setattr(hangs, "_spare", lambda fleet, worker, before, observed, turn: False)


def spares_everybody(patch: Patch) -> None:
    def lenient(_fleet: FleetState, worker: Worker, turn: Turn) -> bool:
        turn.order(worker, Order.SPARE)
        worker.failure = None
        return True

    patch.setattr(hangs, "last_sample", lenient)


def keeps_the_stuck(patch: Patch) -> None:
    patch.setattr(hangs, "gave_up", lambda fleet, worker, news, turn: None)


def blames_the_first_stale_heartbeat(patch: Patch) -> None:
    def hasty(fleet: FleetState, worker: Worker, before: Any, observed: Any, turn: Turn) -> str:
        limit_s = worker.policy.heartbeat_timeout_s
        return "stale" if limit_s and turn.now - observed.heartbeat_at >= limit_s else ""

    patch.setattr(hangs, "_heartbeat", hasty)


def blames_the_loop_for_a_long_call(patch: Patch) -> None:
    heartbeat = hangs._heartbeat

    def blind(fleet: FleetState, worker: Worker, before: Any, observed: Any, turn: Turn) -> str:
        return heartbeat(fleet, worker, before, structs.replace(observed, busy_since=0.0), turn)

    patch.setattr(hangs, "_heartbeat", blind)


def blames_others_for_its_own_absence(patch: Patch) -> None:
    patch.setattr(FleetState, "away_since", lambda fleet, since: 0.0)


def looks_too_seldom_for_its_limits(patch: Patch) -> None:
    patch.setattr(hangs, "sample_soon", lambda fleet, worker, turn: None)


def reloads_all_when_some_are_named(patch: Patch) -> None:
    patch.setattr(Reload, "touches", lambda _reload, _pool: True)


def restarts_with_an_overlap(patch: Patch) -> None:
    patch.setattr(Pool, "has_others", lambda _pool, _generation: False)


def restarts_and_leaves_the_templates(patch: Patch) -> None:
    lives = Pool.has_others

    def but_for_templates(pool: Pool, generation: int) -> bool:
        templates, pool.templates = pool.templates, {}
        try:
            return lives(pool, generation)
        finally:
            pool.templates = templates

    patch.setattr(Pool, "has_others", but_for_templates)


def scales_whatever_happens(patch: Patch) -> None:
    patch.setattr(scaling, "paused", lambda fleet, which: "")


def forgets_its_bounds(patch: Patch) -> None:
    decide = autoscale.Scaling.decide

    def unbounded(self: autoscale.Scaling, standing: Any, load: Any, policy: ScalePolicy, now: float) -> Any:
        return decide(self, standing, load, replace(policy, max=99), now)

    patch.setattr(autoscale.Scaling, "decide", unbounded)


def shrinks_at_once(patch: Patch) -> None:
    patch.setattr(autoscale.Scaling, "_is_quiet", lambda self, size, policy, now: bool(self.need < size))


def grows_before_all_serve(patch: Patch) -> None:
    grow = autoscale.Scaling._grow

    def hasty(self: autoscale.Scaling, standing: Any, load: Any, policy: ScalePolicy, now: float) -> Any:
        return grow(self, replace(standing, ready=standing.size), load, policy, now)

    patch.setattr(autoscale.Scaling, "_grow", hasty)


def goes_by_what_is_allowed_whatever_happens(patch: Patch) -> None:
    patch.setattr(scaling, "_free", lambda fleet: list(fleet.pools.values()))


def counts_processors_alone(patch: Patch) -> None:
    patch.setattr(sizing.Footprint, "fits", lambda footprint, memory_bytes, master_bytes: 99)


def forgets_at_once_how_large_they_were(patch: Patch) -> None:
    patch.setattr(sizing, "FORGET_S", 0.0)


def lets_go_by_a_guess(patch: Patch) -> None:
    def guess(which: Pool, found: Any) -> int:
        return which.footprint.fits(found.memory_bytes, found.master_bytes)

    patch.setattr(scaling, "_fits", guess)


def makes_room_in_a_circle(patch: Patch) -> None:
    def at_once(which: Any, turn: Turn) -> None:
        if which.replaced not in turn.workers:
            which.replaced = 0

    patch.setattr(budget, "_note_end", at_once)


def makes_room_whatever_happens(patch: Patch) -> None:
    patch.setattr(budget, "_others_decide", lambda fleet, turn: False)


def makes_room_at_the_first_look(patch: Patch) -> None:
    patch.setattr(budget, "PERSISTS", 1)


def has_a_successor_where_there_is_no_room(patch: Patch) -> None:
    patch.setattr(reconcile, "_awaited", lambda view: set())


MUTANTS: tuple[Mutant, ...] = (
    restarts_with_an_overlap,
    restarts_and_leaves_the_templates,
    reloads_all_when_some_are_named,
    drains_twice,
    leaves_them_parked_on_abort,
    parks_before_the_new_one_is_ready,
    has_no_backoff,
    has_no_breaker,
    forgives_whoever_lived_at_all,
    says_each_time_that_it_keeps_dying,
    has_no_boot_deadline,
    has_no_drain_deadline,
    kills_without_a_deadline_for_the_link,
    signals_the_dead,
    takes_the_last_serving_worker,
    forgets_to_answer_refusals,
    exceeds_the_surge,
    exceeds_draining_max,
    judges_in_a_late_turn,
    commits_without_settling,
    rolls_without_canaries,
    rolls_unwatched,
    adopts_unwatched,
    adopts_what_failed,
    respawns_old_code_during_a_reload,
    spins,
    talks_without_news,
    leaves_workers_behind,
    samples_all_the_time,
    never_samples,
    retires_before_the_heir_serves,
    recycles_all_at_once,
    recycles_what_is_on_disk,
    recycles_the_young,
    never_recycles,
    forgets_the_hard_limit,
    forgets_the_delay_of_a_stop,
    keeps_the_door_open,
    overlooks_long_requests,
    overlooks_still_loops,
    kills_without_a_last_sample,
    spares_nobody,
    spares_everybody,
    keeps_the_stuck,
    blames_the_first_stale_heartbeat,
    blames_the_loop_for_a_long_call,
    blames_others_for_its_own_absence,
    looks_too_seldom_for_its_limits,
    forks_before_the_template_is_ready,
    waits_for_a_mute_template,
    keeps_templates_of_abandoned_generations,
    trusts_a_template_begun_after_a_refusal,
    scales_whatever_happens,
    forgets_its_bounds,
    shrinks_at_once,
    grows_before_all_serve,
    reloads_while_it_is_taken_over,
    goes_by_what_is_allowed_whatever_happens,
    counts_processors_alone,
    forgets_at_once_how_large_they_were,
    lets_go_by_a_guess,
    makes_room_in_a_circle,
    makes_room_whatever_happens,
    makes_room_at_the_first_look,
    has_a_successor_where_there_is_no_room,
)
