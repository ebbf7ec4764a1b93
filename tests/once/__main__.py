"""Every POST runs at most once: numbers of their own, over reloads, rollbacks, upgrades, kills, recycling and hand-overs.

python -m tests.once --class sync --posts 1000000 --seed 7

It ends with status 1 when a POST was run twice, was answered and never run, or was run by the old
generation after an atomic switch. ``--broken replays`` runs a build in which some are run twice.
"""

from __future__ import annotations

import argparse
import random
import sys

from tests.once.run import FAULTS, KINDLY, Wish, once
from tests.soak import builds
from tests.support.engine import WORKER_CLASSES


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.once", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--class", dest="workers", action="append", choices=WORKER_CLASSES, help="all, if not given"
    )
    parser.add_argument("--posts", type=int, default=100_000, help="in all; the classes share them")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--broken", choices=sorted(builds.BROKEN), default="")
    parser.add_argument("--kindly", action="store_true", help="without kills: no answer may be missing then")
    parser.add_argument("--preload", action="store_true", help="fork the workers from templates")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 32)
    workers, only = options.workers or WORKER_CLASSES, KINDLY if options.kindly else FAULTS
    ok = True
    for worker in workers:
        wish = Wish(
            worker,
            -(-options.posts // len(workers)),
            seed,
            options.broken,
            only=only,
            preload=options.preload,
        )
        print(f"{worker}: {wish.posts} POSTs, seed {seed}", flush=True)
        run = once(wish)
        print(run.text(), flush=True)
        ok = ok and run.ok
    sys.exit(not ok)


if __name__ == "__main__":
    main()
