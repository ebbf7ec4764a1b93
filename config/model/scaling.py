"""How many processes a pool has, where it finds that out itself."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from gwctl.config.model.meta import meta as _meta
from gwctl.config.model.types import WEEK_S, WORKERS_MAX


class Scaling(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Instead of a number: as many worker processes as the load takes, within bounds. See scaling.md."""

    min: Annotated[
        int,
        Meta(ge=1, le=WORKERS_MAX),
        _meta("Never fewer. The pool begins with so many.", 2),
    ] = 1
    max: Annotated[
        Annotated[int, Meta(ge=1, le=WORKERS_MAX)] | Literal["auto"],
        _meta(
            "Never more. auto: the least that CPU affinity, cgroup quota and memory allow, which is few for "
            "workers that mostly wait.",
            16,
        ),
    ] = "auto"
    busy: Annotated[
        float,
        Meta(ge=0.1, le=0.95),
        _meta("How much of the workers shall be in use. Less: more spare workers, and less waiting.", 0.5),
    ] = 0.7
    shrink_after_s: Annotated[
        float,
        Meta(ge=1, le=WEEK_S),
        _meta("How long fewer workers must have been enough before one is let go.", 300),
    ] = 60.0
