"""A hostile application that does not wait to be asked: one attack after the other, in each of its processes.

It begins a moment after the import, in workers and in templates, and anew in whatever is forked, but not
before the file ``RAMPAGE_BEGINS`` is there. ``RAMPAGE`` names the attacks; without it, all are made.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from pathlib import Path

from hostile import ATTACKS, DICE, FORKING, answer, application, asgi

__all__ = ["answer", "application", "asgi"]

BEGINS = Path(os.environ.get("RAMPAGE_BEGINS", "/"))
NAMES = os.environ.get("RAMPAGE", "").split() or sorted(ATTACKS.keys() - {"cut_off_stderr"})


def rampage() -> None:
    DICE.seed(os.urandom(8))
    while not BEGINS.exists():
        time.sleep(0.05)
    time.sleep(DICE.uniform(0.05, 0.3))
    while True:
        with suppress(Exception):
            ATTACKS[DICE.choice(NAMES)]()
        time.sleep(DICE.uniform(0.0, 0.05))


def begin() -> None:
    if FORKING:
        return
    threading.Thread(target=rampage, daemon=True).start()


os.register_at_fork(after_in_child=begin)
begin()
