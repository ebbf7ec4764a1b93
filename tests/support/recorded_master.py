"""gwctl whose core's steps are written down: ``RECORDING=FILE python -m tests.support.recorded_master start``.

The first record is what the fleet was made of, the others are (now, events, actions).
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gwctl.cli import main
from gwctl.supervisor.core.actions import Action
from gwctl.supervisor.core.events import Event
from gwctl.supervisor.core.fleet import Fleet
from gwctl.supervisor.core.policy import PoolPolicy

Step = tuple[float, list[Event], list[Action]]


def read(path: Path) -> tuple[dict[str, PoolPolicy], list[Step]]:
    """What was recorded so far; the master may be writing."""
    records: list[Any] = []
    with path.open("rb") as file:
        while True:
            try:
                records.append(pickle.load(file))
            except (EOFError, pickle.UnpicklingError):
                break
    return records[0], records[1:]


def _record(path: str) -> None:
    make, step = Fleet.__init__, Fleet.step

    def write(record: object) -> None:
        with Path(path).open("ab") as file:
            file.write(pickle.dumps(record))

    def made(fleet: Fleet, pools: Mapping[str, PoolPolicy], generation: int = 1) -> None:
        make(fleet, pools, generation)
        write(dict(pools))

    def stepped(fleet: Fleet, now: float, events: Sequence[Event]) -> list[Action]:
        actions = step(fleet, now, events)
        write((now, list(events), list(actions)))
        return actions

    Fleet.__init__ = made  # type: ignore[assignment, method-assign]
    Fleet.step = stepped  # type: ignore[assignment, method-assign]


if __name__ == "__main__":
    _record(os.environ["RECORDING"])
    main()
