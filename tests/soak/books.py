"""What was done to the server and what came of it, written down for the verdict. No judgement here."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field

from tests.soak import owners


@dataclass
class Outcome:
    """What became of something that was asked for. ``output``: what whoever asked was told."""

    what: str
    wanted: bool
    ok: bool
    began_at: float
    ended_at: float
    output: str


@dataclass
class Books:
    """What was done, for the verdict."""

    counts: Counter[str] = field(default_factory=Counter)
    timeline: list[tuple[float, str]] = field(default_factory=list)
    deaths: list[owners.Death] = field(default_factory=list)
    cancelled: list[owners.Death] = field(default_factory=list)
    """Workers whose application cancelled all tasks, and which live on."""
    outcomes: list[Outcome] = field(default_factory=list)
    answers: list[tuple[int, int, str]] = field(default_factory=list)
    """Of requests that hang, not as expected: who had them, the status (0: the connection ended), the story."""
    problems: list[str] = field(default_factory=list)

    def note(self, kind: str, detail: str = "") -> None:
        self.counts[kind] += 1
        self.timeline.append((time.monotonic(), f"{kind} {detail}".rstrip()))

    def near(self, at: float, within_s: float = 3.0) -> list[str]:
        return [f"{when - at:+.2f} s {what}" for when, what in self.timeline if abs(when - at) < within_s]

    @property
    def hurt(self) -> set[int]:
        return {death.pid for death in self.deaths}
