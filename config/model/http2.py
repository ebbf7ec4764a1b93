"""The settings of ``[pool.NAME.http2]``. Annotations are objects: see `gwctl.config.model.settings`."""

from typing import Annotated

import msgspec
from msgspec import Meta

from gwctl.config.model.meta import meta as _meta


class Http2Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a client of HTTP/2 may have, on one connection."""

    streams_max: Annotated[
        int,
        Meta(ge=1, le=100_000),
        _meta("Requests at once; further ones are refused (REFUSED_STREAM), to be sent again.", 256),
    ] = 128
    window_bytes: Annotated[
        int,
        Meta(ge=1024, le=2_147_483_647),
        _meta(
            "How much of a request body may come before it is taken. More: faster over long ways.", 1_048_576
        ),
    ] = 131_072
    connection_window_bytes: Annotated[
        int,
        Meta(ge=65_535, le=2_147_483_647),
        _meta("The same for all bodies of the connection together.", 4_194_304),
    ] = 524_288
    header_table_bytes: Annotated[
        int,
        Meta(ge=0, le=65_536),
        _meta("Memory for the header fields that a client names by number when it sends them again.", 16_384),
    ] = 4096
    resets_max: Annotated[
        int,
        Meta(ge=1, le=1_000_000),
        _meta(
            "Requests that a client may break off, or have us break off by its mistakes, in ten seconds; "
            "beyond, the connection ends with ENHANCE_YOUR_CALM (CVE-2023-44487, CVE-2025-8671).",
            1000,
        ),
    ] = 300
    idle_frames_max: Annotated[
        int,
        Meta(ge=10, le=10_000_000),
        _meta(
            "Frames in ten seconds that ask for nothing (PING, SETTINGS, priorities, empty DATA, window "
            "updates that nothing explains, what is unknown); beyond, the same.",
            10_000,
        ),
    ] = 2000
