"""The hostile pools in short, and builds that trust their workers, which must score: `make hostile` is the long form."""

from __future__ import annotations

import datetime as dt

import pytest

from tests.hostile.builds import BROKEN
from tests.hostile.run import judge
from tests.support.engine import WORKER_CLASSES


@pytest.mark.timeout(120)
def test_a_pool_beside_hostile_ones_loses_nothing_and_the_master_does_not_grow() -> None:
    """The classes of the pool that behaves well take turns, a day each."""
    worker = WORKER_CLASSES[dt.datetime.now(tz=dt.UTC).toordinal() % len(WORKER_CLASSES)]
    verdict = judge(worker, 4.0)
    assert verdict.problems == [], verdict
    assert verdict.load.requests > 100, verdict
    assert verdict.deaths > 0, "nobody was hostile"


@pytest.mark.parametrize("broken", BROKEN)
def test_a_build_that_trusts_its_workers_is_found_out(broken: str) -> None:
    verdict = judge("sync", 50.0, broken=broken)
    assert verdict.problems, verdict
