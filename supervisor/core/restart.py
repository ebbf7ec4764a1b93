"""What a reload without overlap has to know besides: who has not been served since when, and what failed.

How it goes is in `reload`; that the generations of a pool do not live side by side is seen to in `reconcile`.
"""

from __future__ import annotations

from collections.abc import Container, Iterable

from msgspec import Struct, field

from gwctl.records.reloads import NewWorkerFailed, Unserved
from gwctl.supervisor.core.worker import Failure


class Restart(Struct, eq=False):
    changed: bool = False
    """Settings of its pools are others than before."""
    gone_s: dict[str, float] = field(default_factory=dict)
    """By pool that was served before, for how long it was not, up to when a worker served last."""
    since: dict[str, float] = field(default_factory=dict)
    """By pool that is not served now, since when: its workers were told to end, or the new ones have."""
    failed: NewWorkerFailed | None = None
    """The first new worker that did, while it goes on."""
    began_at: float = 0.0
    """When the workers of before were told to end."""

    def begin(self, served: Iterable[str], now: float, *, changed: bool) -> None:
        """The workers are told to end, of these pools and perhaps of some that do not come again."""
        self.since, self.began_at, self.changed = dict.fromkeys(served, now), now, changed
        self.gone_s = dict.fromkeys(self.since, 0.0)

    def serve(self, pools: Container[str], now: float) -> None:
        """New workers of these do, and of no others."""
        for name in self.gone_s:
            if name not in pools:
                self.since.setdefault(name, now)
            elif name in self.since:
                self.gone_s[name] += now - self.since.pop(name)

    def goes_on(self, pools: Iterable[str], served: set[str], pool: str, failure: Failure) -> bool:
        """A new worker of ``pool`` has failed, and there is nothing better to go back to.

        That is so if the settings are those of before, and when all ``pools`` are served.
        """
        if self.changed and not served.issuperset(pools):
            return False
        if self.failed is None:
            self.failed = NewWorkerFailed(pool, failure.kind, failure.message, failure.traceback)
        return True

    def unserved(self, now: float) -> tuple[Unserved, ...]:
        """For how long each pool was without a worker that serves, or is."""
        return tuple(
            Unserved(name, gone_s + now - self.since.get(name, now), name not in self.since)
            for name, gone_s in self.gone_s.items()
        )
