"""The boards of the pools: who has which, and for how long."""

from __future__ import annotations

import os
from pathlib import Path

from gwctl.supervisor.children.scoreboards import Boards
from tests.support import child
from tests.support.processes import descriptors


def mapped() -> int:
    return Path("/proc/self/maps").read_text().count("gwctl-scoreboard")


def held() -> int:
    return sum("gwctl-scoreboard" in each for each in descriptors(os.getpid()).values())


def test_a_worker_keeps_the_board_of_its_pool_and_nothing_of_the_others() -> None:
    """No descriptor, also none that a mapping holds, and no mapping."""
    before = mapped()
    boards = Boards(records_max=8)
    mine, theirs = boards.of("web").allocate(1), boards.of("api").allocate(2)
    assert mine is not None
    assert theirs is not None
    released = boards.of("api").allocate(2)
    assert released is not None
    boards.release("api", released)
    assert mapped() == before + 2

    def look() -> str:
        boards.close_in_child("web")
        mine.words[5] = 41
        return f"{mapped() - before} mapped, {held() - held_before} held"

    held_before = held() - 4
    pid, read = child.start(look)
    assert child.result(pid, read) == "1 mapped, 1 held"
    assert mine.words[5] == 41
    theirs.words[5] = 1
    for pool in ("web", "api"):
        boards.of(pool).close()


def test_a_board_goes_with_the_last_worker_of_a_pool_that_is_in_no_settings() -> None:
    before = len(descriptors(os.getpid()))
    boards = Boards(records_max=8)
    record = boards.of("old").allocate(1)
    assert record is not None
    boards.of("web")
    boards.keep(["web"])
    assert [pool for pool, _ in boards.items()] == ["old", "web"], "a worker of it drains yet"
    boards.release("old", record)
    assert [pool for pool, _ in boards.items()] == ["web"]
    boards.keep([])
    assert len(descriptors(os.getpid())) <= before
