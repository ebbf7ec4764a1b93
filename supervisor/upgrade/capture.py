"""Everything that a master is, as the facts that it hands over: the counterpart of `restore`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

from gwctl.config.model.settings import PoolSettings
from gwctl.ipc import scoreboard
from gwctl.log import Log
from gwctl.supervisor.children.legacy_scoreboard import BoardFacts, OlderRecord
from gwctl.supervisor.core.snapshot import facts_of
from gwctl.supervisor.upgrade import snapshot as handed_over
from gwctl.supervisor.upgrade.execute import this_program
from gwctl.supervisor.upgrade.plan_snapshot import plan_facts

if TYPE_CHECKING:
    from gwctl.supervisor.children.child import Child
    from gwctl.supervisor.children.children import Children
    from gwctl.supervisor.control.server import ControlServer
    from gwctl.supervisor.control.status_report import Adoption
    from gwctl.supervisor.core.fleet import Fleet
    from gwctl.supervisor.generations.connection_queues import Exchanges
    from gwctl.supervisor.generations.generations import Generations
    from gwctl.supervisor.service.pidfile import Pidfile
    from gwctl.supervisor.service.status import Announcer
    from gwctl.supervisor.upgrade.program import Program


def gather(
    fleet: Fleet,
    children: Children,
    generations: Generations,
    exchanges: Exchanges,
    announcer: Announcer,
    log: Log,
    program: Program,
    control: ControlServer | None,
    pidfile: Pidfile | None,
    *,
    name: str,
    started_at: float,
    adoption: Adoption,
    tried_by: str,
) -> handed_over.State:
    """Collect it. Nothing is changed; the descriptors are still this process's own."""
    listeners, passed = generations.listeners.facts()
    settings = _Settings()
    return handed_over.complete(
        handed_over.State(
            format=handed_over.FORMAT,
            was=this_program(),
            fleet=facts_of(fleet),
            name=name,
            started_at=started_at,
            adopted_at=adoption.at,
            adopted_by=adoption.by,
            tried_by=tried_by,
            handed_over_at=time.monotonic(),
            command=program.facts(),
            mask=program.mask,
            log_level=int(log.level),
            log_lines=tuple(log.waiting()),
            children=tuple(_child(child, children, settings) for child in children),
            settings=tuple(settings.plain),
            boards=_boards(children),
            totals=children.totals,
            sampled_at=children.sampled_at,
            plans={number: plan_facts(plan) for number, plan in generations.plans.items()},
            adopted=generations.adopted,
            removed=dict(generations.removed),
            listeners=listeners,
            passed=passed,
            logs=generations.logs.files,
            exchanges=exchanges.facts(),
            announced=announcer.facts(),
            control=control.facts() if control is not None else None,
            pidfile=handed_over.PidfileFacts(str(pidfile.path), pidfile.fd) if pidfile is not None else None,
        )
    )


class _Settings:
    """Settings of many workers, each of them once: they share the object of their plan."""

    def __init__(self) -> None:
        self.plain: list[dict[str, object]] = []
        self._known: dict[int, int] = {}

    def index(self, settings: PoolSettings) -> int:
        if id(settings) not in self._known:
            self._known[id(settings)] = len(self.plain)
            self.plain.append(msgspec.to_builtins(settings))
        return self._known[id(settings)]


def _child(child: Child, children: Children, settings: _Settings) -> handed_over.ChildFacts:
    record, pools = child.record, [pool for pool, _ in children.boards.items()]
    if isinstance(record, OlderRecord):
        board = len(pools) + children.older.index(record.board)
    else:
        board = pools.index(child.pool)
    return handed_over.ChildFacts(
        worker=child.worker,
        pool=child.pool,
        slot=child.slot,
        generation=child.generation,
        settings=settings.index(child.settings),
        channel=child.channel.facts(),
        board=board,
        record=record.index,
        spawned_at=child.spawned_at,
        pid=child.pid,
        pidfd=child.pidfd,
        ready=child.ready,
        cut=child.cut,
        rate=child.rate,
        sampled_requests=child.sampled_requests,
        dump_fd=child.dump.fd,
        protocol=child.protocol,
        inquest=child.inquest,
        killed=child.killed,
        template=child.template,
    )


def _boards(children: Children) -> tuple[BoardFacts, ...]:
    """The boards for new workers, then those of workers that are older."""
    fields = dict(scoreboard.FIELDS)
    ours = [
        BoardFacts(board.fd, board.records_max, scoreboard.LAYOUT, fields, pool)
        for pool, board in children.boards.items()
    ]
    return *ours, *(older.facts for older in children.older)
