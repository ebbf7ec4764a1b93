"""``python -m benchmarks.autoscale``: the table of docs/scaling.md, made anew. It takes half a minute."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Final

from benchmarks.autoscale.curves import LOADS, Load, arrivals
from benchmarks.autoscale.scalers import Fixed, Gwctl, UwsgiBacklog, UwsgiBusyness
from benchmarks.autoscale.site import DELAYED_S, Report, Scaler, Site

LEAST: Final = 2
MOST: Final = 24
SEED: Final = 1

SCALERS: Final[dict[str, Callable[[], Scaler]]] = {
    "gwctl": lambda: Gwctl(LEAST, MOST),
    "uWSGI busyness": lambda: UwsgiBusyness(LEAST, MOST),
    "uWSGI backlog": lambda: UwsgiBacklog(LEAST, MOST),
    f"fixed, {MOST}": lambda: Fixed(MOST),
}


def play(load: Load, scaler: Scaler) -> Report:
    """One load, one scaler: the same requests for all of them."""
    return Site(scaler).run(arrivals(load, SEED), load.seconds)


def table() -> Iterator[str]:
    """Lines of Markdown."""
    delayed = f"waited > {DELAYED_S * 1000:.0f} ms"
    yield f"| load | who | {delayed} | p99 wait | worker-seconds | changes | turns | largest |"
    yield "|---|---|---:|---:|---:|---:|---:|---:|"
    for load in LOADS:
        for name, make in SCALERS.items():
            report = play(load, make())
            cells = (
                load.name,
                name,
                f"{report.delayed_share:.2%}",
                f"{report.wait(0.99):.2f} s",
                f"{report.worker_s:,.0f}",
                f"{report.changes} | {report.turns} | {report.largest}",
            )
            yield f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    for line in table():
        sys.stdout.write(line + "\n")
