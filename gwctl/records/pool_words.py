"""Pools in words, as several sentences have them."""

from __future__ import annotations

from collections.abc import Iterable

from gwctl.records.base import Strength


def counts(pools: Iterable[Strength]) -> str:
    """``web 4/4 ready, live 2/2 ready``."""
    return ", ".join(f"{each.pool} {each.ready}/{each.size} ready" for each in pools)
