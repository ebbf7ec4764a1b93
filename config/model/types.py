"""Bounds and names that many settings share."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta

WEEK_S: Final = 604_800
WORKERS_MAX: Final = 1024
POOL_NAME: Final = "[A-Za-z0-9][A-Za-z0-9_-]{0,31}"
"""As a regular expression."""
MASTER_GROUP: Final = "gwctl-master"
"""The master's control group, where each worker has one of its own."""
NOFILE_MIN: Final = 32
"""Open files with which a worker can boot; with fewer libuv aborts it."""

Seconds = Annotated[float, Meta(ge=0, le=WEEK_S)]
PositiveSeconds = Annotated[float, Meta(gt=0, le=WEEK_S)]
