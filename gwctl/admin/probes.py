"""Probes for Kubernetes, load balancers and people: 200, or 503 with each reason on a line.

    /livez     the master answers: else it should be restarted
    /readyz    each pool has the ready workers that it needs: else send no requests here
    /startupz  each pool has been ready once: before that the two others mean nothing

All are asked of the master at this moment. One that does not answer within `PROBE_S` has failed all of them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, NamedTuple

from gwctl.admin.http import Answer, RefusedError, Request
from gwctl.control.metrics import MasterHealth, PoolHealth
from gwctl.errors import ControlError
from gwctl.wording import workers

_STOPPING: Final = "stopping"


class Check(NamedTuple):
    """One thing that has to be so."""

    holds: bool
    text: str


class Probes:
    """``ask`` gets the health, or raises ControlError when it does not come in time."""

    def __init__(self, ask: Callable[[], Awaitable[MasterHealth]]) -> None:
        self._ask = ask

    async def livez(self, request: Request) -> Answer:
        return await self._answer(request, lambda _health: [])

    async def readyz(self, request: Request) -> Answer:
        return await self._answer(request, ready)

    async def pool_readyz(self, request: Request) -> Answer:
        return await self._answer(request, lambda health: ready(health, request.path[1]))

    async def startupz(self, request: Request) -> Answer:
        return await self._answer(request, started)

    async def _answer(self, request: Request, judge: Callable[[MasterHealth], list[Check]]) -> Answer:
        verbose = (request.scope["query_string"].partition(b"=")[0]) == b"verbose"
        try:
            health = await self._ask()
        except ControlError as error:
            checks = [Check(False, f"master: {error}")]
        else:
            checks = [Check(True, f"master: answers, {health.phase}, generation {health.generation}")]
            checks += judge(health)
        return said(request.path[0], checks, verbose=verbose)


def said(name: str, checks: list[Check], *, verbose: bool) -> Answer:
    """What failed, or ``ok``; all of it if ``verbose``."""
    failed = [check.text for check in checks if not check.holds]
    if verbose:
        lines = [f"[{'+' if check.holds else '-'}] {check.text}" for check in checks]
        lines.append(f"{name} failed" if failed else f"{name} ok")
    else:
        lines = failed or ["ok"]
    text = "\n".join(lines) + "\n"
    return Answer(503 if failed else 200, text.encode(errors="backslashreplace"))


def ready(health: MasterHealth, only: str | None = None) -> list[Check]:
    """Whether requests should be sent here; ``only``: to this pool.

    Raises:
        RefusedError: There is no such pool.
    """
    checks = []
    if health.phase == _STOPPING:
        checks.append(Check(False, "master: it is stopping"))
    return checks + [_is_ready(name, pool) for name, pool in _chosen(health.pools, only).items()]


def _chosen(pools: Mapping[str, PoolHealth], only: str | None) -> Mapping[str, PoolHealth]:
    if only is None:
        return pools
    if only not in pools:
        there_is = f"there is {', '.join(pools)}" if pools else "there is none"
        raise RefusedError(404, "no_pool", f"no pool {only!r}: {there_is}")
    return {only: pools[only]}


def _is_ready(name: str, pool: PoolHealth) -> Check:
    text = f"{name}: {pool.ready} of {workers(pool.size)} ready, {pool.ready_min} needed"
    return Check(pool.ready >= pool.ready_min, text)


def started(health: MasterHealth) -> list[Check]:
    """Whether each pool has been ready once; that stays so, whatever happens later."""
    return [
        Check(pool.started, f"{name}: {'has been ready' if pool.started else 'has not been ready yet'}")
        for name, pool in health.pools.items()
    ]
