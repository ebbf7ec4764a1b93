"""A plan as facts, and a plan from them: the settings of a generation as they were when it was made.

The file may say something else by now, or nothing at all: what runs goes on by what it was started with
until a reload is adopted. Settings that this version does not know are left out, new ones have their
defaults. Certificates are read again: neither keys nor contexts can be handed over.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Any, TypeVar, Union, get_args, get_origin

import msgspec

from gwctl.config.addresses import TLS
from gwctl.config.load import Loaded
from gwctl.config.model.settings import PoolSettings, Settings
from gwctl.errors import UpgradeError
from gwctl.supervisor.core.policy import PoolPolicy
from gwctl.supervisor.core.snapshot import plain, table_from
from gwctl.supervisor.generations.capacity import Capacity
from gwctl.supervisor.generations.generations import Plan
from gwctl.supervisor.upgrade.snapshot import PlanFacts

if TYPE_CHECKING:
    from gwctl.config.certificates import Identity

Table = TypeVar("Table", bound=msgspec.Struct)


def plan_facts(plan: Plan) -> PlanFacts:
    loaded = plan.loaded
    return PlanFacts(
        settings=msgspec.to_builtins(loaded.settings),
        sources=dict(loaded.sources),
        path=str(loaded.path) if loaded.path is not None else None,
        policies={name: plain(policy) for name, policy in plan.policies.items()},
        processes=plan.capacity.processes,
        why=plan.capacity.why,
    )


def plan_from(facts: PlanFacts, problems: list[str]) -> Plan:
    """Make the plan. ``problems`` takes what is missing for new workers of it: certificates.

    Raises:
        UpgradeError: The settings cannot be understood.
    """
    settings = struct_from(Settings, facts.settings)
    identities = {}
    for name, pool in settings.pool.items():
        if any(address.startswith(TLS) for address in pool.bind):
            identity = _identity(name, pool, problems)
            if identity is not None:
                identities[name] = identity
    path = Path(facts.path) if facts.path is not None else None
    policies = {name: table_from(PoolPolicy, policy) for name, policy in facts.policies.items()}
    loaded = Loaded(settings, facts.sources, path, identities)
    return Plan(loaded, policies, Capacity(facts.processes, facts.why))


def _identity(name: str, pool: PoolSettings, problems: list[str]) -> Identity | None:
    from gwctl.config import certificates  # noqa: PLC0415 - ssl takes 5 MiB, of a master without TLS too

    try:
        return certificates.load(pool.tls)
    except certificates.TlsError as error:
        place = ".".join(str(part) for part in error.place if isinstance(part, str))
        problems.append(f"pool.{name}.tls.{place}: {error}")
        return None


def struct_from(table: type[Table], facts: Mapping[str, Any]) -> Table:
    """Make a struct of settings from those of ``facts`` that it has.

    Raises:
        UpgradeError: A value is none that this version allows.
    """
    try:
        return msgspec.convert(_known(table, facts), table)
    except msgspec.ValidationError as error:
        raise UpgradeError(f"a setting in force is none that this version knows: {error}") from None


def _known(kind: Any, value: Any) -> Any:
    """``value`` without the fields that the structs in ``kind`` do not have."""
    if isinstance(value, Mapping):
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            types = {field.encode_name: field.type for field in msgspec.structs.fields(kind)}
            return {name: _known(types[name], each) for name, each in value.items() if name in types}
        if get_origin(kind) is dict:
            return {name: _known(get_args(kind)[1], each) for name, each in value.items()}
    if get_origin(kind) in {Union, UnionType}:
        for each in get_args(kind):
            if isinstance(each, type) and issubclass(each, msgspec.Struct):
                return _known(each, value)
    return value
