"""Templates: processes that have imported a generation's application, from which its workers are forked.

A template is a life like a worker's (`life`), so it is booted, timed, dumped, killed and reaped by the
same tables; but it holds a place of its own (`TEMPLATE`, among ``Pool.templates`` and not among the
members), it never serves, and READY means that it has the application.

Rules
    - It is begun when a worker is to be started and there is none. Until it is ready no worker of its
      generation is asked for; one that cannot boot is judged like a worker that cannot.
    - The death of a ready one touches nobody: workers are children of the master. Another is begun
      when the next worker is to be started, not before.
    - One that does not answer within ``FORK_ANSWER_S`` when it is asked for a worker is dumped and killed.
    - It ends with its generation. A ready one drains: it lets go of its listeners at once, and of what the
      import has started (a manager of multiprocessing, say) when its workers have ended. Another one quits.
    - What it has imported stays what it was. While one lives that was begun before a reload was refused, a
      respawn runs the code of its generation and the pool is not degraded.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Final

from gwctl.records.base import TEMPLATE
from gwctl.records.workers import StartedWhileDegraded
from gwctl.supervisor.core.policy import PoolPolicy
from gwctl.supervisor.core.pool import Pool
from gwctl.supervisor.core.turn import Turn
from gwctl.supervisor.core.worker import Order, State, Worker

_CAN_QUIT: Final = frozenset({State.STARTING, State.READY})


def ready(pool: Pool, generation: int, policy: PoolPolicy, turn: Turn) -> Worker | None:
    """The template that a worker can be forked from now. Begins one if there is none and it is time."""
    template = pool.template_of(generation)
    if template is not None:
        return template if template.state is State.READY else None
    due = pool.slot(TEMPLATE).next_try_at
    if due > turn.now:
        pool.retry_at = due if pool.retry_at is None else min(due, pool.retry_at)
        return None
    template = turn.spawn(pool.name, TEMPLATE, generation, policy)
    pool.templates[template.id] = template
    if pool.differs_since is not None and pool.size and policy is pool.policy:
        turn.note(StartedWhileDegraded(process=template.process))
    return None


def let_go(pool: Pool, keep: Container[int], turn: Turn) -> None:
    """End the templates of all generations but those to ``keep``."""
    for template in pool.templates.values():
        if template.generation not in keep:
            template.leaving = True
        if template.leaving and template.state in _CAN_QUIT:
            turn.order(template, Order.DRAIN if template.state is State.READY else Order.QUIT)


def give_up(template: Worker, turn: Turn) -> None:
    """End a template that is to fork no more, whatever generation is in force; its workers live on."""
    template.leaving = True
    if template.state in _CAN_QUIT:
        turn.order(template, Order.QUIT)
