"""The settings of how workers are replaced: ``[pool.NAME.reload]``, ``crash`` and ``recycle``."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from gwctl.config.model.meta import meta as _meta
from gwctl.config.model.types import WORKERS_MAX, PositiveSeconds, Seconds

_TIMES: Final = r"^(off|[1-9][0-9]{0,2}(\.[0-9]{1,2})?x)$"


class Reload(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a new generation takes over at SIGHUP and ``gwctl reload``."""

    settle_s: Annotated[
        Seconds,
        _meta(
            "How long new workers must live and serve before they are trusted. The first of them "
            "gets no client in the first quarter of it.",
            10,
        ),
    ] = 2.0
    strategy: Annotated[
        Literal["rolling", "atomic"],
        _meta(
            "How the new workers take over. rolling: one after the other, so that both generations "
            "answer for a while. atomic: all at one time, when all of them are ready, so that they "
            "never do; it takes memory for twice the `processes`.",
            "atomic",
        ),
    ] = "rolling"
    surge: Annotated[
        Annotated[int, Meta(ge=1, le=WORKERS_MAX)] | Annotated[str, Meta(pattern="^([1-9][0-9]?|100)%$")],
        _meta(
            "Workers beyond `processes` while replacing: how many boot at once. A percentage is one of the "
            "pool's size, rounded up.",
            "25%",
            form='a percentage, "1%" to "100%"',
        ),
    ] = 1
    canaries: Annotated[
        Annotated[int, Meta(ge=1, le=WORKERS_MAX)] | Annotated[str, Meta(pattern="^([1-9][0-9]?|100)%$")],
        _meta(
            "New workers that are tried before the others are begun, beside all old ones. A percentage is "
            "one of the pool's size, rounded up.",
            "10%",
            form='a percentage, "1%" to "100%"',
        ),
    ] = 1
    watch_s: Annotated[
        Seconds,
        _meta(
            "How long the requests of the new workers are compared with those of the old generation: first "
            "of the canaries, then of all. What is worse than `errors_max` and `latency_max` allow, beyond "
            "chance, refuses the reload. See lifecycle.md. 0: not at all.",
            30,
        ),
    ] = 0.0
    errors_max: Annotated[
        str,
        Meta(pattern=_TIMES),
        _meta(
            "How many times the old generation's share of failed requests (5xx) the new one's may be; never "
            "less than 0.5 % of them. off: any.",
            "1.5x",
            form='how many times, as in "2x", or "off"',
        ),
    ] = "2x"
    latency_max: Annotated[
        str,
        Meta(pattern=_TIMES),
        _meta(
            "How many times as long as in the old generation 95 % of the requests may take; never less than "
            "5 ms. off: any.",
            "3x",
            form='how many times, as in "2x", or "off"',
        ),
    ] = "2x"
    requests_min: Annotated[
        int,
        Meta(ge=1, le=1_000_000),
        _meta(
            "Requests of either generation from which on latency is compared. With fewer at the end of "
            "`watch_s` the reload goes on, with a warning.",
            200,
        ),
    ] = 50
    draining_max: Annotated[
        int,
        Meta(ge=0, le=2 * WORKERS_MAX),
        _meta(
            "Most parked and draining workers at once, those that `master.keep_s` keeps included. "
            "0: twice `processes`.",
            8,
        ),
    ] = 0


class Crash(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How often a worker that keeps dying is started again."""

    backoff_min_s: Annotated[
        PositiveSeconds, _meta("First wait before a slot that keeps dying is tried again; it doubles.", 1)
    ] = 0.5
    backoff_max_s: Annotated[PositiveSeconds, _meta("Longest such wait.", 300)] = 60.0
    healthy_after_s: Annotated[
        PositiveSeconds, _meta("A worker that lived this long clears the record of its slot.", 60)
    ] = 30.0
    breaker_failures: Annotated[
        int,
        Meta(ge=0),
        _meta(
            "Deaths in a row after which a slot counts as one that keeps dying: it is tried only every "
            "`breaker_retry_s`, as long as other workers of the pool serve. 0: never.",
            10,
        ),
    ] = 5
    breaker_retry_s: Annotated[
        PositiveSeconds, _meta("How long such a slot waits between two tries.", 300)
    ] = 60.0


class Recycle(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When a worker is replaced although it works. Its successor serves before it drains.

    Judged every five seconds, for workers that have lived `crash.healthy_after_s`; not during a reload, and
    not after one that was refused, when what is on disk is not what runs.
    """

    requests_max: Annotated[
        int,
        Meta(ge=0),
        _meta("Requests that a worker serves in its life (it may be some more). 0: no limit.", 10_000),
    ] = 0
    age_max_s: Annotated[Seconds, _meta("How long a worker serves. 0: no limit.", 86_400)] = 0.0
    jitter_percent: Annotated[
        int,
        Meta(ge=0, le=90),
        _meta(
            "Up to this much is taken off `requests_max` and `age_max_s`, at random for each worker, so "
            "that they are not all due at once.",
            25,
        ),
    ] = 10
    memory_soft_bytes: Annotated[
        int,
        Meta(ge=0),
        _meta("A worker whose resident memory is beyond is replaced. 0: no limit.", 536_870_912),
    ] = 0
    memory_hard_bytes: Annotated[
        int,
        Meta(ge=0),
        _meta(
            "A worker whose resident memory is beyond is killed, and what it serves is lost. 0: no limit.",
            1_073_741_824,
        ),
    ] = 0
    memory_group_percent: Annotated[
        int,
        Meta(ge=0, le=99),
        _meta(
            "When the control group (of the service, the container) holds more than this part of its memory "
            "limit, the largest worker that has grown is replaced, one at a time and ever less often; "
            "earlier, where a successor needs more room than that leaves. 0: none is.",
            80,
        ),
    ] = 90
    at_once: Annotated[
        int,
        Meta(ge=1, le=WORKERS_MAX),
        _meta("Workers replaced at the same time; never all that a pool has, unless it is one.", 2),
    ] = 1
