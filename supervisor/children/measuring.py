"""What the workers of a pool have counted, for a reload that watches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gwctl.supervisor.children.child import Child
from gwctl.supervisor.core.events import Figures, Measured, WorkerId


def measured(children: Iterable[Child], pools: Sequence[str], now: float) -> Measured:
    """The answer to a Measure: all living workers of ``pools``, as far as their records can be believed."""
    found: dict[str, dict[WorkerId, Figures]] = {pool: {} for pool in pools}
    for child in children:
        if child.pool in found and not child.template:
            found[child.pool][child.worker] = child.figures(now)
    return Measured(found)
