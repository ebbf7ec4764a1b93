"""Force: a random mix of faults against a real server under a mixed load, for a set time.

python -m tests.soak --class asgi --seconds 1800 --seed 7

It ends with status 1 when anything failed that no killed worker had in hand. ``--broken NAME``
runs a build that is broken on purpose, of which the soak must find something.
``--good-reloads`` measures instead what reloads cost those who are served.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Sequence

from tests.soak import builds, good_reloads, report
from tests.soak.run import Wish, soak
from tests.support.engine import WORKER_CLASSES

ROUND_S = 10.0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--class", dest="workers", action="append", choices=WORKER_CLASSES, help="all, if not given"
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="for each class")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--broken", choices=sorted(builds.BROKEN), default="")
    parser.add_argument("--preload", action="store_true", help="fork the workers from templates")
    parser.add_argument("--hostile", action="store_true", help="applications and clients do what none should")
    parser.add_argument("--good-reloads", action="store_true")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 32)
    workers = options.workers or WORKER_CLASSES
    if options.good_reloads:
        sys.exit(not reload_well(workers, options.seconds, options.broken))
    runs = []
    for worker in workers:
        print(f"{worker}: {options.seconds:g} s, seed {seed}", flush=True)
        wish = Wish(
            worker, options.seconds, seed, options.broken, preload=options.preload, hostile=options.hostile
        )
        run = soak(wish)
        print(report.text(run), flush=True)
        runs.append(run)
    sys.exit(not all(run.ok for run in runs))


def reload_well(workers: Sequence[str], seconds: float, broken: str) -> bool:
    """``seconds`` for each class, in rounds."""
    rounds = max(1, round(seconds / (2 * ROUND_S)))
    costs = [good_reloads.measure(worker, rounds, ROUND_S, broken) for worker in workers]
    print(good_reloads.text(costs), flush=True)
    return all(cost.ok for cost in costs)


if __name__ == "__main__":
    main()
