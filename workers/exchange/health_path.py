"""``health_path``: whether this worker serves, answered by the loop without the application.

The connection is closed behind it: who probes makes a new one each time, and is then seen by the worker
that others would be seen by.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from gwctl.workers.exchange.request_rules import Refused

if TYPE_CHECKING:
    from gwctl.workers.exchange.exchange import Exchange
    from gwctl.workers.exchange.service import Service

_METHODS: Final = frozenset({"GET", "HEAD"})


class HealthPath:
    """Stands before what begins requests."""

    def __init__(self, service: Service, path: str, begin: Callable[[Exchange], None]) -> None:
        self._service = service
        self._path = path
        self._begin = begin

    def begin(self, exchange: Exchange) -> None:
        """Answer the request if it is a probe; else pass it on.

        Raises:
            Refused: What there is to answer, or what whoever is next refuses.
        """
        target, path = exchange.target, self._path
        if path in target and target.partition("?")[0] == path and exchange.method in _METHODS:
            raise Refused(503 if self._service.draining else 200, "health_path")
        self._begin(exchange)
