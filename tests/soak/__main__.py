"""Force: a random mix of faults against a real server under a mixed load, for a set time.

python -m tests.soak --class asgi --seconds 1800 --seed 7

It ends with status 1 when anything failed that no killed worker had in hand. ``--broken NAME``
runs a build that is broken on purpose, of which the soak must find something.
"""

from __future__ import annotations

import argparse
import random
import sys

from tests.soak import builds, report
from tests.soak.run import Wish, soak

CLASSES = ("sync", "threads", "asgi")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--class", dest="workers", action="append", choices=CLASSES, help="all, if not given")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each class")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--broken", choices=sorted(builds.BROKEN), default="")
    parser.add_argument("--preload", action="store_true", help="fork the workers from templates")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 32)
    runs = []
    for worker in options.workers or CLASSES:
        print(f"{worker}: {options.seconds:g} s, seed {seed}", flush=True)
        run = soak(Wish(worker, options.seconds, seed, options.broken, preload=options.preload))
        print(report.text(run), flush=True)
        runs.append(run)
    sys.exit(not all(run.ok for run in runs))


if __name__ == "__main__":
    main()
