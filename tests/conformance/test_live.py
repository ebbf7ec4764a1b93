"""The table against a real server of each worker class, with either parser."""

from __future__ import annotations

import pytest

from tests.conformance.live import play_all, server_for
from tests.support.engine import PARSERS, WORKER_CLASSES


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize("worker_class", WORKER_CLASSES)
def test_the_table_over_the_network(worker_class: str, parser: str) -> None:
    """Statuses, what was seen, who closes; and nothing that was refused is in the application's log."""
    with server_for(worker_class, parser) as address:
        assert play_all(address) == []
