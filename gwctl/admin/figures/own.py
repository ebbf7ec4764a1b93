"""What the admin process knows of itself, beside what the master tells it."""

from __future__ import annotations

from typing import Final

import msgspec


class OwnFigures(msgspec.Struct, frozen=True):
    """Figures of one answer."""

    proportional_memory: dict[tuple[str, int], int] = {}
    """Bytes by pool and slot, of the workers that were measured."""
    application_series: dict[str, int] = {}
    """Of the application's own metrics, by pool; without those pools that have none."""
    application_left_out: dict[str, dict[str, int]] = {}
    """By pool, then by why."""
    statsd_packets: dict[str, int] = {}
    """Datagrams by what became of them; empty: none are sent."""


NOTHING: Final = OwnFigures()
