"""Loads: how many requests come in each second, and how long each occupies a worker.

A curve gives requests a second by the second; `arrivals` makes single requests of it, which come by chance,
as those of many independent clients do (a Poisson process).
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from typing import Final

from msgspec import Struct


class Load(Struct, frozen=True):
    """One load. ``service_s``: how long a request takes on average; single ones differ (exponentially)."""

    name: str
    about: str
    seconds: int
    service_s: float
    rate: Callable[[float], float]


def arrivals(load: Load, seed: int) -> Iterator[tuple[float, float]]:
    """When each request comes, and for how long it occupies a worker. The same for the same seed."""
    chance = random.Random(seed)
    at = 0.0
    most = max(load.rate(float(second)) for second in range(load.seconds))
    while at < load.seconds:
        at += chance.expovariate(most)
        if chance.random() * most < load.rate(at):
            yield at, chance.expovariate(1 / load.service_s)


def _steps(at: float) -> float:
    return (10.0, 80.0, 30.0, 140.0, 10.0)[min(4, int(at // 600))]


def _saw(at: float) -> float:
    return 10.0 + 110.0 * (at % 300) / 300


def _day(at: float) -> float:
    """A day in an hour and a half: quiet nights, a rise in the morning, a peak in the evening."""
    return 60.0 - 50.0 * math.cos(2 * math.pi * at / 5400) + 25.0 * math.sin(4 * math.pi * at / 5400) ** 2


def _spikes(at: float) -> float:
    """Twenty seconds of a crowd every five minutes."""
    return 120.0 if 120 <= at % 300 < 140 else 15.0


def _calm(_at: float) -> float:
    return 32.0


LOADS: Final = (
    Load("steps", "10, 80, 30, 140, 10 requests a second, ten minutes each", 3000, 0.1, _steps),
    Load("saw", "from 10 to 120 requests a second in five minutes, and down at once", 3000, 0.1, _saw),
    Load(
        "day", "a day within 90 minutes: 10 requests a second at night, 118 in the evening", 5400, 0.1, _day
    ),
    Load("spikes", "15 requests a second, and 120 for 20 s of every five minutes", 3000, 0.1, _spikes),
    Load("calm", "32 requests a second all the time", 3000, 0.1, _calm),
    Load("slow", "4 requests a second that take 1.5 s each", 3000, 1.5, lambda _at: 4.0),
)
