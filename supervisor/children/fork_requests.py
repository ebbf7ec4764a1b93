"""Workers that are forked by a template: what they are asked with, and what the answers mean.

Rules
    - A template has one request at a time; the others wait here. So what it is asked never fills
      its channel, and no more descriptors are in flight than those of one worker.
    - A worker that was asked for is a `Child` without a pid until the answer names it. Its end of its
      channel stays open here as long: the kernel passes a copy.
    - The worker does nothing before the answer is written. So whoever reads the channel of its template
      before judging an exit knows whose exit it is, unless it was killed in that moment.
    - When a template ends, whatever it was asked for has failed.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from typing import Final

from msgspec import Struct

from gwctl.ipc.assignment import Assignment
from gwctl.ipc.channel import ChannelError, Fork, Forked
from gwctl.log.event_log import format_name
from gwctl.supervisor.children.child import Child
from gwctl.supervisor.children.new_process import Opened
from gwctl.supervisor.children.peer_limits import count, cut
from gwctl.supervisor.core.events import WorkerId

REASON_CHARS_MAX: Final = 1000


class Request(Struct, eq=False):
    """One worker to be forked."""

    child: Child
    opened: Opened
    access_log_fd: int
    """A copy, as the log may be reopened meanwhile; or a number that needs none."""
    message: Fork

    def close(self) -> None:
        self.opened.close_theirs()
        if self.access_log_fd > 2:
            os.close(self.access_log_fd)


class Templates:
    """The requests to all templates, by the template.

    ``send`` writes to a template; ``spawned`` is told the template and the pid that it names,
    ``spawn_failed`` why there is no worker.
    """

    def __init__(
        self,
        send: Callable[[WorkerId, Fork, tuple[int, ...]], None],
        spawned: Callable[[Child, Child, int], None],
        spawn_failed: Callable[[Child, str], None],
    ) -> None:
        self._send = send
        self._spawned = spawned
        self._spawn_failed = spawn_failed
        self._lines: dict[WorkerId, deque[Request]] = {}

    @property
    def asked(self) -> list[WorkerId]:
        """Templates that owe an answer."""
        return list(self._lines)

    def ask(self, template: Child, child: Child, assignment: Assignment, opened: Opened) -> None:
        """Have ``child`` forked when it is its turn; what is its own of ``opened`` is taken over.

        Raises:
            OSError: Out of descriptors. Nothing was taken over.
        """
        log_fd = assignment.access_log_fd
        message = Fork(
            worker=child.worker,
            slot=child.slot,
            record=child.record.index,
            processes=assignment.processes,
            log_level=int(assignment.log_level),
            access_log_fd=log_fd,
            log_format=format_name(json=assignment.log_json),
            captured=opened.output is not None,
        )
        request = Request(child, opened, os.dup(log_fd) if log_fd > 2 else log_fd, message)
        line = self._lines.setdefault(template.worker, deque())
        line.append(request)
        if len(line) == 1:
            self._ask_first(template.worker)

    def answered(self, template: Child, answer: Forked) -> None:
        """A template said what became of the first in its line.

        Raises:
            ChannelError: It was not asked for that one.
        """
        line = self._lines.get(template.worker)
        if not line or line[0].child.worker != answer.worker:
            raise ChannelError(f"an answer for worker {count(answer.worker)}, which it was not asked for")
        request = line.popleft()
        request.close()
        if line:
            self._ask_first(template.worker)
        else:
            del self._lines[template.worker]
        if answer.pid:
            self._spawned(request.child, template, answer.pid)
        else:
            self._spawn_failed(request.child, cut(answer.reason, REASON_CHARS_MAX))

    def ended(self, template: Child) -> None:
        """It is reaped: nobody forks what it was asked for."""
        for request in self._lines.pop(template.worker, ()):
            request.close()
            self._spawn_failed(request.child, "its template has ended")

    def close_in_child(self) -> None:
        for line in self._lines.values():
            for request in line:
                request.close()
        self._lines.clear()

    def _ask_first(self, template: WorkerId) -> None:
        request = self._lines[template][0]
        fds: tuple[int, ...] = (request.opened.theirs.fileno(), request.child.dump.fd)
        if request.access_log_fd > 2:
            fds += (request.access_log_fd,)
        if request.opened.output is not None:
            fds += request.opened.output
        self._send(template, request.message, fds)
