"""What holds of a master whose place another one is to take: nothing begins until that is decided."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gwctl.supervisor.core import actions as act
from tests.sim.books import Unsafe

if TYPE_CHECKING:
    from tests.sim.observer import Observer


def offered(observer: Observer, _action: act.OfferListeners) -> None:
    if observer.txn is not None or observer.offered:
        raise Unsafe(f"listeners are offered while {observer.txn or 'another takeover'} runs")
    observer.offered = True


def decided(observer: Observer, action: act.Withdraw | act.HandOver) -> None:
    if not observer.offered:
        raise Unsafe(f"{action}, and nothing was offered")
    observer.offered = False


def begins(observer: Observer, action: act.Prepare | act.Restore) -> None:
    if observer.offered:
        raise Unsafe(f"{action} while another master is to take the place")
