"""Where decisions of one step are written down: intent first, then the action for the shell."""

from __future__ import annotations

from typing import assert_never

from msgspec import Struct, field

from gwctl.records import AnyRecord
from gwctl.supervisor.core.actions import (
    Action,
    Drain,
    Dump,
    Kill,
    Note,
    Park,
    Quit,
    ReleaseClients,
    Serve,
    Spare,
    Spawn,
)
from gwctl.supervisor.core.policy import PoolPolicy
from gwctl.supervisor.core.worker import Order, Worker


class Turn(Struct, eq=False):
    """The actions of the present step, and the clock and the numbering of workers."""

    now: float = 0.0
    """Monotonic seconds of this step."""
    actions: list[Action] = field(default_factory=list)
    """What the step will return."""
    workers: dict[int, Worker] = field(default_factory=dict)
    """Every living worker and template of the fleet by its number."""
    last_id: int = 0
    """The highest of these numbers that was ever given."""

    def spawn(
        self, pool: str, slot: int, generation: int, policy: PoolPolicy, template: int | None = None
    ) -> Worker:
        self.last_id += 1
        worker = Worker(self.last_id, pool, slot, generation, policy, self.now, template=template)
        self.workers[worker.id] = worker
        self.actions.append(Spawn(worker.id, pool, slot, generation, template))
        return worker

    def order(self, worker: Worker, order: Order, *, reason: str = "", sweep: bool = False) -> None:
        """Record the order in the worker's life, then hand it to the shell."""
        worker.order(order, self.now)
        self.actions.append(_action(worker, order, reason, sweep=sweep))

    def note(self, record: AnyRecord) -> None:
        self.actions.append(Note(record))


def _action(worker: Worker, order: Order, reason: str, *, sweep: bool) -> Action:
    match order:
        case Order.SERVE:
            return Serve(worker.id)
        case Order.PARK:
            return Park(worker.id)
        case Order.RELEASE_CLIENTS:
            return ReleaseClients(worker.id)
        case Order.DRAIN:
            return Drain(worker.id, worker.policy.drain_timeout_s, sweep)
        case Order.QUIT:
            return Quit(worker.id)
        case Order.DUMP:
            return Dump(worker.id, reason)
        case Order.KILL:
            return Kill(worker.id, reason)
        case Order.SPARE:
            return Spare(worker.id, reason)
        case _:
            assert_never(order)
