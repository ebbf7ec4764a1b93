"""A fleet as a snapshot that JSON can carry, and a fleet from a snapshot: what an upgrade hands over.

Rules
    - It has numbers, texts and lists of them, by the names of the fields here. No objects, no
      code: the program that reads it may be of another version, on another Python.
    - Fields are found by themselves, so that a new one is carried without being named again.
    - A field that the reader does not know is ignored, one that is missing has its default. What cannot be
      understood raises `SnapshotError`: better no upgrade than a fleet that is half another.

A fleet made from its own snapshot goes on exactly as the one it was taken of: the simulation
lets both live on for a while, and compares what they do.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Mapping
from functools import cache
from types import NoneType, UnionType
from typing import Any, Final, TypeVar, Union, get_args, get_origin

import msgspec

from gwctl.supervisor.core.fleet import Fleet
from gwctl.supervisor.core.pool import Pool
from gwctl.supervisor.core.state import FleetState
from gwctl.supervisor.core.turn import Turn
from gwctl.supervisor.core.worker import Worker

LEFT_OUT: Final = {"pools", "workers", "actions"}
"""Of the fleet and its turn: carried in a way of their own, or of one step alone."""

_WIRE_NAMES: Final[Mapping[type, Mapping[str, str]]] = {
    FleetState: {
        "queue": "_queue",
        "numbered": "_numbered",
        "began_at": "_began_at",
        "begun": "_begun",
        "served": "_served",
        "dirty": "_dirty",
        "next_at": "_next",
        "sample_at": "look_at",
    },
    Turn: {"last_id": "_last_id"},
    Worker: {
        "successor": "heir",
        "jitter": "luck",
        "requested_at": "born_at",
        "channel_closed": "deaf",
        "last_sample": "last_look",
        "observed": "facts",
    },
}
"""Fields that are handed over by the names that they had in 0.2.0. (`Observed` says it itself.)"""

_LIVES: Final = frozenset({"members", "templates"})
"""Of a pool: they are listed once, among all workers."""
_INFINITE: Final = "inf"
"""JSON has no number for it."""

Table = TypeVar("Table", bound=msgspec.Struct)


class SnapshotError(Exception):
    """A snapshot that is none of a fleet, or of one that this program does not know how to be."""


def snapshot_of(fleet: Fleet) -> dict[str, Any]:
    """Everything that a fleet needs to go on, ready for JSON."""
    return {
        "fleet": plain(fleet.state, without=LEFT_OUT),
        "turn": plain(fleet.turn, without=LEFT_OUT),
        "pools": [plain(pool, without=_LIVES) for pool in fleet.state.pools.values()],
        "workers": [plain(worker) for worker in fleet.turn.workers.values()],
    }


def fleet_from(snapshot: Mapping[str, Any]) -> Fleet:
    """Make a fleet that goes on where the one of ``snapshot`` was.

    Raises:
        SnapshotError: It cannot be understood.
    """
    fleet = Fleet({})
    try:
        fleet.state = table_from(FleetState, {"pools": {}, **snapshot["fleet"]})
        fleet.turn = table_from(Turn, snapshot["turn"])
        for each in snapshot["pools"]:
            pool = table_from(Pool, _of_the_fleet(snapshot["fleet"]) | each)
            fleet.state.pools[pool.name] = pool
        for each in snapshot["workers"]:
            worker = table_from(Worker, each)
            pool = fleet.state.pools[worker.pool]
            lives = pool.templates if worker.is_template else pool.members
            fleet.turn.workers[worker.id] = lives[worker.id] = worker
    except (KeyError, TypeError, AttributeError) as error:
        raise SnapshotError(f"{type(error).__name__}: {error}") from error
    return fleet


def _of_the_fleet(fleet: Mapping[str, Any]) -> dict[str, Any]:
    """What programs that reloaded all pools or none said once for all of them."""
    return {"generation": fleet["generation"], "rolled_back": fleet.get("rolled_back", 0)}


# ---- to a snapshot


def plain(value: Any, without: Container[str] = ()) -> Any:
    """As `msgspec.to_builtins`, but with infinity, queues, and structs by their names in a snapshot."""
    if isinstance(value, float):
        return _INFINITE if value == float("inf") else value
    if isinstance(value, msgspec.Struct):
        names = (each for each in _names(type(value)).items() if each[0] not in without)
        return {wire: plain(getattr(value, name)) for name, wire in names}
    if isinstance(value, Mapping):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, set | frozenset):
        return [plain(each) for each in sorted(value)]
    if isinstance(value, list | tuple | deque):
        return [plain(each) for each in value]
    return msgspec.to_builtins(value)


@cache
def _names(table: type[msgspec.Struct]) -> Mapping[str, str]:
    """What the fields are called here, and in a snapshot."""
    names = zip(table.__struct_fields__, table.__struct_encode_fields__, strict=True)
    return {**dict(names), **_WIRE_NAMES.get(table, {})}


# ---- from a snapshot


def table_from(table: type[Table], values: Mapping[str, Any]) -> Table:
    """Make a struct, and take back what it does when it is new: deadlines of old are to stay.

    Raises:
        SnapshotError: A field is missing that has no default, or is of another type.
    """
    given: dict[str, Any] = {}
    for each in _fields(table):
        name = _names(table)[each.name]
        if name in values:
            given[each.name] = _revived(each.type, values[name], f"{table.__name__}.{each.name}")
        elif each.default is not msgspec.NODEFAULT:
            given[each.name] = each.default
        elif each.default_factory is not msgspec.NODEFAULT:
            given[each.name] = each.default_factory()
        else:
            raise SnapshotError(f"{table.__name__} has no {each.name}")
    made = table(**{each.name: given[each.name] for each in _fields(table) if each.required})
    for name, value in given.items():
        msgspec.structs.force_setattr(made, name, value)
    return made


@cache
def _fields(table: type[msgspec.Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    return msgspec.structs.fields(table)


def _revived(hint: Any, fact: Any, name: str) -> Any:
    kinds = [kind for kind in get_args(hint) if kind is not NoneType] if _is_union(hint) else [hint]
    if fact is None and NoneType in get_args(hint):
        return None
    kind = kinds[0] if len(kinds) == 1 else hint
    if kind is float and fact == _INFINITE:
        return float("inf")
    if isinstance(fact, Mapping) and isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return table_from(kind, fact)
    if isinstance(fact, Mapping) and get_origin(kind) in {dict, Mapping}:
        key, value = get_args(kind)
        return {_convert(key, each, name): _revived(value, fact[each], name) for each in fact}
    return _convert(kind, fact, name)


def _is_union(hint: Any) -> bool:
    return get_origin(hint) in {Union, UnionType}


def _convert(kind: Any, fact: Any, name: str) -> Any:
    try:
        return msgspec.convert(fact, kind, strict=not isinstance(fact, str) or kind is not int)
    except msgspec.ValidationError as error:
        raise SnapshotError(f"{name}: {error}") from None
