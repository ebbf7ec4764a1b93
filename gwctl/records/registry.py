"""Which function says a record in words: one for each kind, registered where it is defined."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

from gwctl.records.base import Record

Kind = TypeVar("Kind", bound=Record)

_SAYS: Final[dict[type[Record], Callable[[Any], str]]] = {}


def says(kind: type[Kind]) -> Callable[[Callable[[Kind], str]], Callable[[Kind], str]]:
    """Register the function below as that which says records of ``kind``."""

    def register(say: Callable[[Kind], str]) -> Callable[[Kind], str]:
        _SAYS[kind] = say
        return say

    return register


def said(record: Record) -> str:
    """What the function of its kind says."""
    return _SAYS[type(record)](record)


def registered() -> frozenset[type[Record]]:
    """Kinds that have one."""
    return frozenset(_SAYS)
