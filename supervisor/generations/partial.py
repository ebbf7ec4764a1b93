"""The plan of a reload of some pools: these as the settings have them now, everything else as it is in force.

The settings were read and checked as a whole. What is taken of them must still fit what is left as it is:
an address that another pool has until it is reloaded cannot be bound.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

import msgspec

from gwctl.config import addresses, hints
from gwctl.config.addresses import Address
from gwctl.config.load import Loaded
from gwctl.config.model.settings import PoolSettings, Settings
from gwctl.control.difference import Difference, Effect
from gwctl.errors import GwctlError
from gwctl.supervisor.generations.admin_settings import ADMIN, binding
from gwctl.supervisor.generations.plan import Plan

Value = TypeVar("Value")


class PartialReloadError(GwctlError):
    """The settings are valid, and cannot be taken for these pools alone."""


class UnknownPoolError(PartialReloadError):
    """A pool was named that neither the settings nor the generation in force have."""


def merged(running: Plan, disk: Plan, names: Sequence[str]) -> Plan:
    """Take the pools of these ``names`` from ``disk``, and all else from ``running``.

    Raises:
        UnknownPoolError: A name is in neither.
        PartialReloadError: They do not go together, or no pool would be left.
    """
    before, after = running.loaded.settings.pool, disk.loaded.settings.pool
    known = dict.fromkeys((*before, *after))
    for name in names:
        if name not in known:
            near = hints.nearest(name, known, 0.6)
            hint = f". Did you mean {near}?" if near else ""
            raise UnknownPoolError(f"no pool named {name!r}; there is: {', '.join(known)}{hint}")
    pools = _chosen(before, after, names)
    if not pools:
        raise PartialReloadError("no pool would be left: gwctl reload takes the new ones, too")
    settings = msgspec.structs.replace(running.loaded.settings, pool=pools)
    _refuse_overlaps(settings, names)
    loaded = Loaded(
        settings,
        _sources(running.loaded, disk.loaded, names),
        disk.loaded.path,
        _chosen(running.loaded.identities, disk.loaded.identities, names),
        disk.loaded.notices,
    )
    policies = _chosen(running.policies, disk.policies, names)
    begun = _chosen(running.begun, disk.begun, names)
    return Plan(loaded, policies, disk.capacity, begun)


def not_applied(left: Iterable[Difference]) -> tuple[str, ...]:
    """What a reload of all would apply besides, in words: ``pool live (2 settings)``, ``[log]``."""
    pools: dict[str, list[Difference]] = {}
    tables: dict[str, None] = {}
    for each in left:
        table, _, rest = each.name.partition(".")
        if table == "pool":
            pools.setdefault(rest.partition(".")[0], []).append(each)
        elif each.effect is not Effect.RESTART:
            tables[f"[{table}]"] = None
    return (*(f"pool {name} ({_summed_up(name, found)})" for name, found in pools.items()), *tables)


def _summed_up(pool: str, found: Sequence[Difference]) -> str:
    """``2 settings``; of a pool that is new or gone, which it is."""
    if found[0].name == f"pool.{pool}":
        return found[0].change.value
    return "1 setting" if len(found) == 1 else f"{len(found)} settings"


def _chosen(
    before: Mapping[str, Value], after: Mapping[str, Value], names: Sequence[str]
) -> dict[str, Value]:
    """In the order in force; what is new comes last."""
    merged = {name: value for name, value in before.items() if name not in names or name in after}
    return merged | {name: after[name] for name in names if name in after}


def _sources(running: Loaded, disk: Loaded, names: Sequence[str]) -> dict[str, str]:
    def named(setting: str) -> bool:
        table, _, rest = setting.partition(".")
        return table == "pool" and rest.partition(".")[0] in names

    kept = {setting: source for setting, source in running.sources.items() if not named(setting)}
    return kept | {setting: source for setting, source in disk.sources.items() if named(setting)}


def _refuse_overlaps(settings: Settings, names: Sequence[str]) -> None:
    pools = binding(settings)
    others = [
        (f"pool {name}" if name != ADMIN else name, address)
        for name, pool in pools.items()
        if name not in names
        for address in _addresses(pool)
    ]
    for name in names:
        for address in _addresses(pools[name]) if name in pools else ():
            for whose, other in others:
                same = address == other and not addresses.is_any_port(address)
                if same or addresses.overlap(address, other):
                    it = "it" if same else str(other)
                    raise PartialReloadError(
                        f"pool {name} cannot have {address} yet: {whose} has {it} until it is reloaded. "
                        "Name both, or use gwctl reload"
                    )


def _addresses(pool: PoolSettings) -> list[Address]:
    return [addresses.parse(addresses.bare(text)) for text in pool.bind]
