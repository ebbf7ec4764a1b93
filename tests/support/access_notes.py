"""Notes for an access log, without a request."""

from __future__ import annotations

import time
from typing import Any

from gwctl.workers.observe.access_log import AccessLog


class Answered:
    """A call that has ended, whose response has the header fields of ``answer``."""

    def __init__(self, status: int, sent: int, answer: Any) -> None:
        self.status, self.sent, self._answer = status, sent, answer

    @property
    def response_headers(self) -> Any:
        return self._answer.response_headers


def note(
    log: AccessLog,
    asked: Any,
    status: int,
    size: int,
    seconds: float,
    referer: Any = "-",
    agent: Any = "-",
    environ: dict[str, Any] | None = None,
    answer: Any = None,
    at: float | None = None,
) -> None:
    """Note the response to ``asked`` as of a WSGI call; without ``environ`` and agent as the server's own.

    ``at`` is the time of the wall clock.
    """
    ended_at = time.monotonic() if at is None else at - log._offset_s
    if environ is None and referer == agent == "-":
        log.add_scope(asked, status, size, seconds, None, None, ended_at)
        return
    said = {"HTTP_REFERER": referer, "HTTP_USER_AGENT": agent, **(environ or {})}
    log.add_call(asked, said, Answered(status, size, answer), seconds, ended_at)
