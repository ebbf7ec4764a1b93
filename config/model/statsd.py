"""statsd: where figures are sent, and under which names."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from gwctl.config.model.meta import meta as _meta


class StatsdSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Figures sent to statsd, or an agent that speaks as it does, by the process that serves `[admin]`.

    It is started for this alone, too.
    """

    to: Annotated[
        str,
        _meta(
            "Where they are sent: `udp://HOST:PORT`, or `unix:PATH` of a datagram socket. Empty: nowhere.",
            "udp://127.0.0.1:8125",
        ),
    ] = ""
    format: Annotated[
        Literal["dogstatsd", "plain"],
        _meta(
            "dogstatsd: pool, method and the like are tags. plain: they are parts of the name, for a statsd "
            "that knows no tags.",
            "plain",
        ),
    ] = "dogstatsd"
    prefix: Annotated[str, _meta("In front of each name, with a dot behind it.", "shop")] = ""
    tags: Annotated[
        tuple[str, ...],
        _meta("Tags of all figures; with `format` dogstatsd.", ["env:production", "region:eu"]),
    ] = ()
    interval_s: Annotated[float, Meta(ge=1, le=3600), _meta("How often they are sent.", 60)] = 10.0
    gunicorn_names: Annotated[
        bool,
        _meta("Send them also by the names that gunicorn has for them: see metrics.md.", True),
    ] = False
