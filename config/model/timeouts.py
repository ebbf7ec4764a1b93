"""``[pool.NAME.timeouts]``: how long things may take."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from gwctl.config.model.meta import meta as _meta
from gwctl.config.model.types import WEEK_S, PositiveSeconds, Seconds


class Timeouts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long things may take. A timeout that passes is logged with what it ended."""

    boot_timeout_s: Annotated[
        PositiveSeconds,
        _meta("Boot of a worker: import of the application and lifespan startup.", 120),
    ] = 60.0
    drain_timeout_s: Annotated[
        PositiveSeconds,
        _meta(
            "How long a draining worker may take to finish what it has, work in the background included "
            "(threads, jobs of executors, tasks); then that is cut, and the worker ends or is killed.",
            300,
        ),
    ] = 30.0
    heartbeat_timeout_s: Annotated[
        Seconds,
        _meta(
            "A worker whose loop has not turned for this long, outside of WSGI calls, is explained in the "
            "log, killed and replaced. 0: never.",
            120,
        ),
    ] = 60.0
    request_timeout_s: Annotated[
        Annotated[float, Meta(ge=0, le=WEEK_S)] | Literal["auto"],
        _meta(
            "One request, from the call of the application to the end of its response. Beyond, a sync worker "
            "is explained in the log, killed and replaced; a threads worker answers 504 and is replaced "
            "when its other requests are done; an asgi worker cancels the task and answers 504. "
            "0: no limit. auto: 60 under `sync`, else none.",
            30,
        ),
    ] = "auto"
    request_timeout_paths: Annotated[
        tuple[str, ...],
        _meta(
            "Other limits for some paths: `PATH SECONDS`, for everything that begins with PATH. The longest "
            "PATH that fits counts. 0: no limit there. Compared with the path as the application gets it: "
            "decoded, with and without `root_path`.",
            ["/export 600", "/live/ 0"],
        ),
    ] = ()
    slow_request_s: Annotated[
        Seconds,
        _meta(
            "A request that has run for so long is told of in the log, with the stack of its thread or task, "
            "and again at its end; nothing is done to it. At most ten a minute for each worker. Not those "
            "that `request_timeout_paths` gives all the time they want. 0: none is.",
            3,
        ),
    ] = 0.0
    linger_s: Annotated[
        Seconds,
        _meta(
            "A draining worker closes an idle kept-alive connection only after this much silence, "
            "so that a request already on its way is still answered.",
            5,
        ),
    ] = 2.0
    stream_grace_s: Annotated[
        Seconds,
        _meta(
            "In a draining asgi worker, a response that has sent nothing for this long and whose application "
            "awaits the end of its client (an event stream) is told of it, so that the client comes again. "
            "From `drain_timeout_s` on: only right before that is over.",
            10,
        ),
    ] = 5.0
    keepalive_timeout_s: Annotated[
        PositiveSeconds,
        _meta("An idle kept-alive connection is closed after this; keep it above that of a proxy.", 15),
    ] = 75.0
    header_timeout_s: Annotated[
        PositiveSeconds,
        _meta("From the first byte of a request to the end of its header; 408 beyond.", 5),
    ] = 10.0
    body_timeout_s: Annotated[
        PositiveSeconds,
        _meta("Longest silence while a request body is received; 408 beyond.", 60),
    ] = 30.0
    response_timeout_s: Annotated[
        PositiveSeconds,
        _meta("Longest time in which a client takes no byte of a response; then it is cut off.", 120),
    ] = 60.0
    rate_grace_s: Annotated[
        PositiveSeconds,
        _meta(
            "So long a client may be slower than `limits.body_rate_min_bytes_per_s` and "
            "`response_rate_min_bytes_per_s` say: the average of each such time counts.",
            60,
        ),
    ] = 30.0
    queue_timeout_s: Annotated[
        Seconds,
        _meta(
            "A request that has waited longer for its turn is answered 503 before the application: in line "
            "here, unread, and since X-Request-Start of a trusted proxy. Best below your clients' patience. "
            "0: no limit.",
            5,
        ),
    ] = 60.0
