"""How many cases of the table hold: ``python -m tests.conformance``, with ``--live`` for real servers too.

sync/C: 310 refused of 310, 131 served of 131
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial

from tests.conformance.case import Case
from tests.conformance.live import server_for
from tests.conformance.play import byte_by_byte, feeder_for, play_in, play_over
from tests.conformance.table import CASES
from tests.support.engine import PARSERS, WORKER_CLASSES

PARSER_NAMES = {"c": "C", "python": "Python"}


def count(what: str, play: Callable[[Case], None]) -> bool:
    """Play the table and print how much of it held."""
    held = {True: 0, False: 0}
    of = {True: 0, False: 0}
    for name, case in CASES.items():
        refused = case.status != 0
        of[refused] += 1
        try:
            play(case)
            held[refused] += 1
        except (AssertionError, OSError) as error:
            print(f"  {name}: {error}")
    print(f"{what}: {held[True]} refused of {of[True]}, {held[False]} served of {of[False]}")
    return held == of


def main(live: bool) -> int:
    right = True
    for worker_class in WORKER_CLASSES:
        for parser in PARSERS:
            name = f"{worker_class}/{PARSER_NAMES[parser]}"
            with feeder_for(worker_class, parser) as feeder:
                right &= count(name, partial(play_in, feeder))
                right &= count(f"{name}, byte by byte", partial(play_in, feeder, cut=byte_by_byte))
            if live:
                with server_for(worker_class, parser) as address:
                    right &= count(f"{name}, a real server", partial(play_over, address))
    return not right


if __name__ == "__main__":
    sys.exit(main("--live" in sys.argv[1:]))
