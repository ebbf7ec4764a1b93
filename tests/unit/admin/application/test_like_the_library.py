"""What is told of workers that live is what prometheus_client's own collector makes of the same files."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from prometheus_client.multiprocess import MultiProcessCollector

from gwctl.admin.application.files import read_worker
from gwctl.admin.application.left_out import LeftOut
from gwctl.admin.application.telling import families
from gwctl.admin.application.values import Values
from tests.support.multiproc import Value, samples_of, write

MODES = (
    "all",
    "liveall",
    "min",
    "livemin",
    "max",
    "livemax",
    "sum",
    "livesum",
    "mostrecent",
    "livemostrecent",
)
BOUNDS = ("0.1", "0.25", "1.0", "10.0", "+Inf")


def some(rng: random.Random, prefix: str) -> list[Value]:
    """Series as an application may have them: some of them are not in every worker."""
    found: list[Value] = []
    for path in rng.sample(["/", "/a", 'odd "\\\n path', "é"], rng.randint(1, 4)):
        labels, name, value = {"path": path, "also": "x"}, prefix, float(rng.randint(0, 1000))
        match prefix:
            case "counter":
                found.append((name, f"{name}_total", labels, value, 0.0))
            case "summary":
                found += [
                    (name, f"{name}_count", labels, 3.0, 0.0),
                    (name, f"{name}_sum", labels, value, 0.0),
                ]
            case "histogram":
                found.append((name, f"{name}_sum", labels, value, 0.0))
                found += [
                    (name, f"{name}_bucket", {**labels, "le": le}, float(rng.randint(0, 9)), 0.0)
                    for le in BOUNDS
                ]
            case _:
                found.append((name, name, labels, value, float(rng.randint(0, 5))))
    return found


@pytest.mark.parametrize("seed", range(40))
def test_same_files_same_values(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    paths = []
    for worker in range(1, rng.randint(2, 6)):
        paths += [
            write(tmp_path / str(worker), prefix, 100 + worker, some(rng, prefix))
            for prefix in ("counter", "summary", "histogram", *(f"gauge_{mode}" for mode in MODES))
            if rng.random() < 0.8
        ]
    values, left_out = Values(), LeftOut()
    pool = os.open(tmp_path, os.O_RDONLY)
    for folder in sorted(tmp_path.iterdir()):
        values.add(read_worker(pool, folder.name, left_out), left_out)
    os.close(pool)
    found = samples_of(families({"web": values}, {"web": left_out}))
    theirs = samples_of(MultiProcessCollector.merge([str(path) for path in paths]))
    assert {
        tuple(part for part in key if part != ("pool", "web")): value for key, value in found.items()
    } == theirs
    assert left_out == {}
