"""The admin listener's settings as those of a pool with one asgi worker: what binds and boots takes such."""

from __future__ import annotations

import os
from typing import Final

from gwctl.config.model.settings import Limits, PoolSettings, Settings
from gwctl.config.model.timeouts import Timeouts

ADMIN: Final = "the admin listener"
"""No pool can be called so."""
BODY_BYTES_MAX: Final = 65_536
CONNECTIONS_MAX: Final = 256


def pool_settings(settings: Settings) -> PoolSettings:
    """What its process runs with: as the workers of the first pool, unless the settings say otherwise."""
    admin, pool = settings.admin, next(iter(settings.pool.values()))
    user, group = (admin.user, admin.group) if admin.user or admin.group else (pool.user, pool.group)
    return PoolSettings(
        app="gwctl.admin",
        worker="asgi",
        lifespan="on",
        processes=1,
        bind=admin.bind,
        backlog=256,
        connections_max=CONNECTIONS_MAX,
        overload="refuse",
        socket_mode=admin.socket_mode,
        socket_user=admin.socket_user or str(os.geteuid()),
        socket_group=admin.socket_group or str(os.getegid()),
        user=user,
        group=group,
        chdir="/",
        trusted_proxies=(),
        timeouts=Timeouts(drain_timeout_s=2.0),
        limits=Limits(body_bytes_max=BODY_BYTES_MAX),
    )


def binding(settings: Settings) -> dict[str, PoolSettings]:
    """Whatever binds addresses: the pools, and the admin listener if there is one."""
    if not settings.admin.bind:
        return settings.pool
    return {**settings.pool, ADMIN: pool_settings(settings)}
