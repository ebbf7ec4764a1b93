"""What `gwctl health` is made from."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from gwctl.control.metrics import Summary
from gwctl.supervisor.control.metrics_report import health_document
from gwctl.supervisor.core.state import Phase
from gwctl.supervisor.tally import PoolTally


def health_of(ready: int, boots: int) -> Any:
    tally = PoolTally(boots=Summary(boots, 0.2 * boots))
    pool = SimpleNamespace(name="web", size=2, ready=ready)
    fleet = SimpleNamespace(phase=Phase.SERVING, generation=1, pools={"web": pool})
    generations = SimpleNamespace(
        current=SimpleNamespace(loaded=SimpleNamespace(settings=SimpleNamespace(pool={})))
    )
    recorder = SimpleNamespace(tally=SimpleNamespace(of=lambda _name: tally))
    return health_document(fleet, generations, recorder)["pools"]["web"]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("ready", "boots", "started"),
    [(0, 0, False), (0, 2, True), (2, 2, True), (2, 0, True)],
    ids=["boots", "all have died", "serves", "workers of before an upgrade, which were not counted"],
)
def test_whether_it_has_started(ready: int, boots: int, started: bool) -> None:
    assert health_of(ready, boots)["started"] is started
