"""The observer's rules about templates, the processes from which the workers of some pools are forked.

- a worker of such a pool is asked of the template of its pool and generation, which is ready and was
  not told to end; a worker of another pool is asked of none;
- there is one template for a pool and generation at a time, and none at rest that nobody needs;
- a ready one is dumped when it owes an answer for too long, and for nothing else;
- it keeps the code of its generation if it was begun before a reload was refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gwctl.records.base import TEMPLATE
from gwctl.supervisor.core.actions import Spawn
from gwctl.supervisor.core.worker import FORK_ANSWER_S
from tests.sim.books import SLACK_S, Seen, Unsafe

if TYPE_CHECKING:
    from tests.sim.observer import Observer

ANSWERED_LATE = 1e9
"""Until the world answers a fork in its own time."""


def judge_source(observer: Observer, seen: Seen, action: Spawn) -> None:
    """``seen`` is to be forked, by whom ``action`` says."""
    seen.due = observer.now + ANSWERED_LATE
    if action.slot == TEMPLATE:
        if not seen.policy.preload:
            raise Unsafe(f"began a template for {seen.pool}, which forks its workers from the master")
        return
    if seen.policy.preload != (action.template is not None):
        raise Unsafe(f"{seen} is forked by {action.template}")
    if action.template is None:
        return
    template = observer.workers.get(action.template)
    if template is None or template.state != "ready" or template.told_to_end:
        raise Unsafe(f"{seen} was asked of {template}")
    if template.place != (seen.pool, TEMPLATE) or template.generation != seen.generation:
        raise Unsafe(f"{seen} was asked of the template of another: {template}")
    seen.template = action.template
    seen.due = observer.now + FORK_ANSWER_S


def owes_for_too_long(observer: Observer, template: Seen) -> bool:
    """It is dumped although it is ready. What it owes is answered with its end."""
    owed = [w for w in observer.workers.values() if w.state == "requested" and w.template == template.id]
    late = any(worker.due <= observer.now + 1e-6 for worker in owed)
    for worker in owed:
        worker.due = observer.now + ANSWERED_LATE
    return late


def is_owed_by_the_dying(observer: Observer, seen: Seen) -> bool:
    """Its template is on its way out: its fork is answered when that is reaped."""
    if seen.state != "requested" or seen.template is None:
        return False
    template = observer.workers.get(seen.template)
    return template is None or template.state != "ready"


def keeps_code(observer: Observer, pool: str) -> bool:
    return any(
        w.place == (pool, TEMPLATE)
        and observer.in_force(w)
        and w.state == "ready"
        and not w.told_to_end
        and w.begun_at < observer.refused_at.get(pool, float("inf"))
        for w in observer.workers.values()
    )


def judge_templates_at_rest(observer: Observer) -> int:
    """Each is needed; returns how many there are."""
    templates = [w for w in observer.workers.values() if w.is_template]
    for each in templates:
        policy = observer.policies.get(each.pool)
        if policy is None or not policy.preload or not observer.in_force(each):
            raise Unsafe(f"{each} is left, and nobody needs it")
        if each.due + SLACK_S < observer.now:
            raise Unsafe(f"{each} is past its deadline")
    if len({each.pool for each in templates}) < len(templates):
        raise Unsafe(f"two templates of one pool: {templates}")
    return len(templates)
