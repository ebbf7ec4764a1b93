"""Request ids of slow requests on the scoreboard: of each doubling of duration the last one.

They stand behind all else in a worker's record, one for each of the buckets that Prometheus is told
(`gwctl.control.latency`) from `EXEMPLAR_S` on, the last of them for whatever took longer. A reader may find
one between two stores; nothing rests on it.
"""

from __future__ import annotations

import math
import re
import struct
from typing import Final, NamedTuple

from gwctl.ipc.scoreboard import DURATION_PLACES, DURATIONS, RECORD_BYTES, Record

EXEMPLAR_S: Final = 0.1024
"""Quicker ones are of no interest, and there are many."""
PLACES: Final = 6
_ID_BYTES: Final = 40
"""A longer id is left out."""
_ONE: Final = struct.Struct(f"dd{_ID_BYTES}s")
_AT: Final = 8 * (DURATIONS + DURATION_PLACES)
_ID: Final = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,40}")
_SECONDS_MAX: Final = 1e7

assert _AT + PLACES * _ONE.size <= RECORD_BYTES


class Exemplar(NamedTuple):
    """One slow request, and when it ended, in seconds since 1970."""

    seconds: float
    at: float
    request_id: str


def place_of(seconds: float) -> int:
    """Where a request is noted that took ``seconds``, at least `EXEMPLAR_S`."""
    return min(PLACES - 1, int(math.log2(seconds / EXEMPLAR_S)))


def write(record: Record, exemplar: Exemplar) -> None:
    """Note one, in the place of the one before. An id that is too long, or strange, is not noted."""
    encoded = exemplar.request_id.encode("utf-8", "replace")
    if _ID.fullmatch(encoded):
        at = _AT + place_of(exemplar.seconds) * _ONE.size
        _ONE.pack_into(record.words.cast("B"), at, exemplar.seconds, exemplar.at, encoded)


def read(record: Record, now: float) -> list[Exemplar]:
    """Those that are noted, as far as they can be true; ``now`` in seconds since 1970."""
    memory, found = record.words.cast("B"), []
    for place in range(PLACES):
        seconds, at, padded = _ONE.unpack_from(memory, _AT + place * _ONE.size)
        request_id = padded.rstrip(b"\0")
        sound = EXEMPLAR_S <= seconds < _SECONDS_MAX and 0.0 < at <= now  # no comparison with NaN is true
        if sound and place_of(seconds) == place and _ID.fullmatch(request_id):
            found.append(Exemplar(seconds, at, request_id.decode("ascii")))
    return found
