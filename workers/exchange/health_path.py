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


def health_path(service: Service, path: str, begin: Callable[[Exchange], None]) -> Callable[[Exchange], None]:
    """Return what stands before ``begin``: it answers what is a probe, and passes everything else on.

    It raises Refused: what there is to answer, or what whoever is next refuses.
    """

    def begin_or_answer(exchange: Exchange) -> None:
        target = exchange.target
        if path in target and target.partition("?")[0] == path and exchange.method in _METHODS:
            raise Refused(503 if service.draining else 200, "health_path")
        begin(exchange)

    return begin_or_answer
