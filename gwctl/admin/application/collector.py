"""All pools' metrics, gathered at a scrape: what lives is read, what is dead is folded in and removed.

    1. `listing`: which workers have a folder.
    2. The master is asked which of its processes live. A worker that had a folder before the question, and is
       not in the answer, is dead for good: numbers of workers are given once.
    3. `collect`: those are folded (`folded`), those that live are read.

What another admin process folds meanwhile is found in the store, as its lock is taken after the question.
All of it touches the disk, so it runs in a thread; nothing here is called from two at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from itertools import islice
from typing import Final, NamedTuple

from prometheus_client.metrics_core import Metric

from gwctl.admin.application.files import FOLDER, read_worker
from gwctl.admin.application.folded import DamagedError, Folded, Store, StoreError, opened
from gwctl.admin.application.left_out import REASONS, LeftOut, Reason
from gwctl.admin.application.telling import families
from gwctl.admin.application.values import Values
from gwctl.safe_files import remove_tree

LISTED_MAX: Final = 20_000
"""Workers that have a folder, of one pool."""
REMOVED_MAX: Final = 1000
"""Files of one worker that are removed at a time."""

Listing = dict[str, set[int]]
"""Workers by pool."""


class Collected(NamedTuple):
    """What was found at one scrape."""

    metrics: list[Metric]
    series: dict[str, int]
    """How many there are, by pool."""
    left_out: dict[str, LeftOut]


NONE: Final = Collected([], {}, {})


class Collector:
    """The folder ``root``, which the master has made. ``warn`` is told once of each thing left out."""

    def __init__(self, root: str, warn: Callable[[str], None]) -> None:
        self._root = root
        self._warn = warn
        self._told: set[tuple[str, Reason]] = set()

    def listing(self) -> Listing:
        """Which workers have a folder; to be asked for before the master is asked who lives."""
        found: Listing = {}
        try:
            with os.scandir(self._root) as pools:
                for entry in pools:
                    if not entry.name.startswith("."):
                        found[entry.name] = _workers(entry.path)
        except OSError as error:
            self._tell("all pools", "storage", f"{self._root}: {error.strerror}")
        return found

    def collect(self, listing: Listing, living: Mapping[str, Collection[int]]) -> Collected:
        """Gather the metrics of the pools that are both listed and ``living``."""
        pools = {pool: Values() for pool in living if pool in listing}
        left_out = {pool: LeftOut() for pool in pools}
        try:
            root = os.open(self._root, FOLDER)
            try:
                with opened(root) as store:
                    for pool in pools:
                        one = _Pool(root, store, pool, left_out[pool], self._tell)
                        pools[pool] = one.collect(listing[pool], living[pool])
            finally:
                os.close(root)
        except (OSError, StoreError) as error:
            for pool in pools:
                left_out[pool]["storage"] += 1
                self._tell(pool, "storage", str(error))
        metrics = families(pools, left_out)
        for pool, reasons in left_out.items():
            for reason, count in reasons.items():
                self._tell(pool, reason, f"{count} left out: {REASONS[reason]}")
        return Collected(metrics, {pool: values.series for pool, values in pools.items()}, left_out)

    def _tell(self, pool: str, reason: Reason, text: str) -> None:
        if (pool, reason) not in self._told:
            self._told.add((pool, reason))
            self._warn(f"application metrics of {pool}: {text}")


def _workers(path: str) -> set[int]:
    try:
        with os.scandir(path) as entries:
            names = [entry.name for entry in islice(entries, LISTED_MAX)]
    except OSError:
        return set()
    return {int(name) for name in names if name.isascii() and name.isdecimal() and len(name) < 19}


class _Pool:
    """One pool, while the store is ours."""

    def __init__(
        self, root: int, store: Store, name: str, left_out: LeftOut, tell: Callable[[str, Reason, str], None]
    ) -> None:
        self._root = root
        self._store = store
        self._name = name
        self._left_out = left_out
        self._tell = tell

    def collect(self, listed: set[int], living: Collection[int]) -> Values:
        """What all its workers have. Nothing if that cannot be read now: no counter runs backwards."""
        try:
            return self._collect(listed, living)
        except (OSError, StoreError) as error:
            self._refuse(str(error))
            return Values()

    def _refuse(self, reason: str) -> None:
        self._left_out["storage"] += 1
        self._tell(self._name, "storage", reason)

    def _collect(self, listed: set[int], living: Collection[int]) -> Values:
        folder = os.open(self._name, FOLDER, dir_fd=self._root)
        try:
            folded = self._load()
            self._fold(folder, folded, listed.difference(living))
            for worker in sorted(living):
                if worker not in folded.workers:
                    folded.values.add(read_worker(folder, str(worker), self._left_out), self._left_out)
            return folded.values
        finally:
            os.close(folder)

    def _load(self) -> Folded:
        try:
            return self._store.load(self._name)
        except DamagedError as error:
            self._refuse(str(error))
            return Folded()

    def _fold(self, folder: int, folded: Folded, dead: set[int]) -> None:
        for worker in sorted(dead.difference(folded.workers)):
            files = read_worker(folder, str(worker), self._left_out)
            folded.values.add(files, self._left_out, dead=True)
        if not dead.issubset(folded.workers):
            folded.workers = {each for each in folded.workers | dead if _is_there(folder, each)}
            try:
                self._store.save(self._name, folded)
            except StoreError as error:
                self._refuse(str(error))  # they are read again at the next scrape: none may be removed
                return
        for worker in folded.workers:
            remove_tree(str(worker), REMOVED_MAX, folder)


def _is_there(folder: int, worker: int) -> bool:
    try:
        os.stat(str(worker), dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
