"""What a reload would change, of two readings of the settings: that in force, and one of this moment.

Nothing is opened for it. Values of ``env`` are masked here, before they are sent; that they changed is told.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from gwctl.config import show, toml_writer
from gwctl.config.addresses import shown
from gwctl.config.load import Loaded
from gwctl.config.model.settings import PoolSettings, Settings
from gwctl.control.difference import Change, Difference, Effect
from gwctl.masking import MASK
from gwctl.supervisor.generations.plan import Plan

ONLY_AT_START: Final = {"master": ("bind_retry_s",), "log": ()}
"""Settings that are used when the master is started, and then no more."""
FIXED_UNTIL_RESTART: Final = {
    "master": ("name", "pidfile", "control", "privileges", "cgroups"),
    "log": ("to",),
}
"""Settings that a reload cannot apply."""

_Rows = dict[str, tuple[Any, str]]
"""By dotted name: the value and where it comes from."""


def differences(running: Plan, disk: Plan, begun: Settings) -> list[Difference]:
    """In the order of the settings; of a pool that is new or gone only that it is.

    ``begun`` has what the master was started with: some of it holds, whatever was adopted since.
    """
    found = list(_tables(_in_force(running.loaded, begun), disk.loaded))
    before, after = running.loaded.settings.pool, disk.loaded.settings.pool
    for name in dict.fromkeys((*before, *after)):
        if name not in after:
            found.append(_whole(name, before[name], Change.REMOVED))
        elif name not in before:
            found.append(_whole(name, after[name], Change.ADDED))
        else:
            found += _pool(name, running, disk)
    return found


def _tables(running: Loaded, disk: Loaded) -> Iterator[Difference]:
    for name, (old, new) in _changed(_rows(running), _rows(disk)):
        table, _, setting = name.partition(".")
        if table != "pool":
            fixed = setting in {*FIXED_UNTIL_RESTART.get(table, ()), *ONLY_AT_START.get(table, ())}
            yield _difference(name, old, new, Effect.RESTART if fixed else Effect.ADOPTION)


def _in_force(loaded: Loaded, begun: Settings) -> Loaded:
    tables = {}
    for table in FIXED_UNTIL_RESTART:
        was, now = getattr(begun, table), getattr(loaded.settings, table)
        fixed = {name: getattr(was, name) for name in (*FIXED_UNTIL_RESTART[table], *ONLY_AT_START[table])}
        tables[table] = msgspec.structs.replace(now, **fixed)
    return msgspec.structs.replace(loaded, settings=msgspec.structs.replace(loaded.settings, **tables))


def needing_restart(before: Settings, after: Settings) -> list[str]:
    """The names of settings that differ, and that a reload cannot apply."""
    return [
        f"{table}.{name}"
        for table, names in FIXED_UNTIL_RESTART.items()
        for name in names
        if getattr(getattr(before, table), name) != getattr(getattr(after, table), name)
    ]


def _pool(name: str, running: Plan, disk: Plan) -> Iterator[Difference]:
    key = toml_writer.dotted(("pool", name))
    before, after = (
        {each: row for each, row in _rows(plan.loaded).items() if each.startswith(f"{key}.")}
        for plan in (running, disk)
    )
    sizes = f"{key}.processes"
    # What the machine allows may be another number by now.
    for rows, plan in ((before, running), (after, disk)):
        value, source = rows[sizes]
        most = f"auto: {plan.policies[name].size_max}"
        if value == "auto":
            rows[sizes] = (most, source)
        elif isinstance(value, dict) and value["max"] == "auto":
            rows[sizes] = ({**value, "max": most}, source)
    env = f"{key}.env"
    for setting, (old, new) in _changed(before, after):
        if setting == env:
            yield from _variables(env, old[0], new[0], running.loaded, disk.loaded)
        else:
            yield _difference(setting, old, new, Effect.WORKERS)


def _variables(
    key: str, before: dict[str, str], after: dict[str, str], running: Loaded, disk: Loaded
) -> Iterator[Difference]:
    for name in dict.fromkeys((*before, *after)):
        if before.get(name) == after.get(name):
            continue
        dotted = f"{key}.{toml_writer.key(name)}"
        change = Change.ADDED if name not in before else Change.CHANGED
        yield Difference(
            name=dotted,
            change=Change.REMOVED if name not in after else change,
            effect=Effect.WORKERS,
            old=MASK if name in before else None,
            new=MASK if name in after else None,
            old_source=running.sources.get(dotted, ""),
            new_source=disk.sources.get(dotted, ""),
            masked=True,
        )


def _whole(name: str, pool: PoolSettings, change: Change) -> Difference:
    serves = f"{pool.app} on {', '.join(map(shown, pool.bind))}"
    added = change is Change.ADDED
    old, new = (None, serves) if added else (serves, None)
    return Difference(toml_writer.dotted(("pool", name)), change, Effect.WORKERS, old, new)


def _difference(name: str, old: tuple[Any, str], new: tuple[Any, str], effect: Effect) -> Difference:
    return Difference(name, Change.CHANGED, effect, old[0], new[0], old[1], new[1])


def _rows(loaded: Loaded) -> _Rows:
    settings = show.as_json(loaded, secrets=True)["settings"]
    return {name: (row["value"], row["source"]) for name, row in settings.items()}


def _changed(before: _Rows, after: _Rows) -> Iterator[tuple[str, tuple[tuple[Any, str], tuple[Any, str]]]]:
    for name, new in after.items():
        if name in before and before[name][0] != new[0]:
            yield name, (before[name], new)
