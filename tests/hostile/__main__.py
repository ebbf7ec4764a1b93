"""Hostile pools for a set time: python -m tests.hostile --seconds 300 --class asgi"""

from __future__ import annotations

import argparse
import sys

from tests.hostile.builds import BROKEN
from tests.hostile.run import judge
from tests.support.engine import WORKER_CLASSES


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.hostile", description="Hostile pools for a set time."
    )
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument(
        "--class", dest="worker", choices=WORKER_CLASSES, default="sync", help="of the pool that behaves well"
    )
    parser.add_argument(
        "--broken", choices=BROKEN, default="", help="a build that trusts its workers, until it shows"
    )
    options = parser.parse_args()
    verdict = judge(options.worker, options.seconds, broken=options.broken)
    sys.stdout.write(f"{verdict}\n")
    sys.exit(bool(verdict.problems))


if __name__ == "__main__":
    main()
