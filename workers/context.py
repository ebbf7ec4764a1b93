"""What a worker is and has, the same from its boot to its end, for whatever part of it needs some of that.

Made once and handed down. Nothing here changes: what does is in `gwctl.workers.http1.service`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import Any, Final, Protocol

from gwctl.config.model.settings import Limits, PoolSettings
from gwctl.config.model.worker_class import WorkerClass
from gwctl.ipc.assignment import Assignment
from gwctl.ipc.scoreboard import Record
from gwctl.log.event_log import Log
from gwctl.masking import shower
from gwctl.workers.app.drain_notice import DrainNotice, drains
from gwctl.workers.app.loader import LoadedApplication
from gwctl.workers.observe.request_ids import identified, ids_for, mark_began
from gwctl.workers.observe.throttled_log import ThrottledLog

WSGI_THREADS: Final = 16
"""Threads for a WSGI application in an asgi worker, unless the settings say how many."""
_NO_BOUND: Final = 1 << 62


class Process(Protocol):
    """The process around a server: it speaks with the master."""

    def given_up(self, request: str, age_s: float) -> None:
        """A request was answered without its call, which goes on: the worker is to be replaced."""

    def slow_ended(self, request: str, status: int, seconds: float) -> None:
        """A request has ended that was slow."""

    def unable(self) -> None:
        """Nobody can be accepted any more: the worker is to drain."""


class WorkerContext:
    """Of one worker.

    Attributes:
        neutral_context: No request's: only copies of it are ever written to.
        capacity: How many requests the worker can be at, at once.
        ids: Makes those of WSGI requests; None: they have none.
        threads: How many it has, for a WSGI application.
        shown: Makes a target as logs show it.
        notice: Tells the application of a drain.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        assignment: Assignment,
        application: LoadedApplication,
        log: Log,
        process: Process,
    ) -> None:
        self.loop = loop
        self.neutral_context: Context = copy_context()
        self.assignment = assignment
        self.application: Callable[..., Any] = identified(
            application.call, application.interface, assignment.settings
        )
        self.ids = ids_for(application.interface, assignment.settings)
        self.mark_began: Callable[[float], object] = mark_began(assignment.settings)
        self.interface: str = application.interface
        self.worker_class: WorkerClass = application.worker_class
        self.state: dict[str, Any] = application.state
        self.log = log
        self.throttled = ThrottledLog(log)
        self.settings: PoolSettings = assignment.settings
        self.limits: Limits = assignment.settings.limits
        self.record: Record = assignment.record
        self.process = process
        self.shown = shower(log_queries=self.settings.log_queries)
        own_loop = application.shares_loop
        sixteen = self.worker_class.has_websockets and not assignment.threads_given
        self.threads = WSGI_THREADS if sixteen else self.settings.threads
        self.capacity = _NO_BOUND if own_loop else self.threads
        if self.worker_class.holds_loop:
            self.capacity = 1
        self.notice = DrainNotice(self._next_order if self.worker_class.holds_loop else None)

    def _next_order(self) -> bool | None:
        """Say whether an order that waits to be read has clients leave; None: there is none about it."""
        return drains(self.assignment.channel.waiting())
