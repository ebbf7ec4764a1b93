"""Judges what was run against what was answered. Nothing is excused: a kill may leave a POST unanswered, no more."""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.once.client import DIGITS, Sent

SHOWN_MAX: Final = 10
_NUMBER: Final = re.compile(rb"\d{%d}" % DIGITS)


@dataclass(frozen=True)
class Switch:
    """An atomic switch that was asked for and came; what follows it was asked for at ``until``."""

    generation: int
    asked_at: float
    until: float


@dataclass
class Verdict:
    """``problems`` empty: every POST was run at most once, and answered ones exactly once."""

    posts: int = 0
    answered: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    run_unanswered: int = 0
    """Run, but the answer was lost: by kills, or it is a problem (``unexcused``)."""
    refused: int = 0
    twice: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    old: list[str] = field(default_factory=list)
    mixed: list[str] = field(default_factory=list)
    unexcused: list[str] = field(default_factory=list)
    judged_switches: int = 0
    after_switches: int = 0
    """POSTs whose connection stood after a switch was seen, and which were judged for that."""

    @property
    def problems(self) -> list[str]:
        return self.twice + self.lost + self.old + self.mixed + self.unexcused


def runs_of(folder: Path, generations: dict[int, int]) -> Iterator[tuple[int, int]]:
    """Each run: the number, and the generation of the worker that ran it (0: it was killed before it said so).

    A number is -1 where it is none that a client ever sent.
    """
    for file in sorted(folder.glob("runs-*")):
        generation = generations.get(int(file.name.removeprefix("runs-")), 0)
        for line in file.read_bytes().splitlines():
            yield int(line) if _NUMBER.fullmatch(line) else -1, generation


def judge(
    sent: Sent, runs: Iterator[tuple[int, int]], switches: Sequence[Switch], *, killed: bool
) -> Verdict:
    """``killed``: processes were, so that answers may be missing."""
    verdict = Verdict(sent.posts, refused=sent.refused, mixed=list(sent.mixed))
    times = bytearray(sent.posts)
    by = array("I", bytes(4 * sent.posts))
    for number, generation in runs:
        if not 0 <= number < sent.posts:
            verdict.mixed.append(f"generation {generation} ran what nobody sent")
            continue
        times[number] += 1
        by[number] = generation
        if times[number] == 2:
            verdict.twice.append(f"{number} was run twice, at last by generation {generation}")
    for number, status in enumerate(sent.status):
        verdict.statuses[status] += 1
        verdict.answered += status == 200
        if status == 200 and not times[number]:
            verdict.lost.append(f"{number} was answered and never run")
        if status == 0 and times[number]:
            verdict.run_unanswered += 1
            if not killed:
                verdict.unexcused.append(f"{number} was run and never answered, though nobody was killed")
    for switch in switches:
        _judge_switch(switch, sent, by, verdict)
    return verdict


def _judge_switch(switch: Switch, sent: Sent, by: array[int], verdict: Verdict) -> None:
    """From the moment a new worker has accepted a connection, no old one accepts one (docs/lifecycle.md).

    The client knows that moment to be past when it has an answer of the new generation on a connection that it
    began after the switch was asked for: what is rolled back to has served before, and a client that paused may
    read an answer of that time late.
    """
    seen_at = min(
        (
            sent.answered_at[number]
            for number in range(sent.posts)
            if by[number] == switch.generation
            and sent.answered_at[number] > sent.connected_at[number] > switch.asked_at
        ),
        default=0.0,
    )
    if not seen_at:
        return
    verdict.judged_switches += 1
    for number in range(sent.posts):
        if seen_at < sent.connected_at[number] and 0 < sent.answered_at[number] < switch.until:
            verdict.after_switches += 1
            if by[number] not in {0, switch.generation}:
                after_s = sent.connected_at[number] - seen_at
                verdict.old.append(
                    f"{number} came {after_s:.3f} s after generation {switch.generation} had answered, "
                    f"and was run by generation {by[number]}"
                )


def text(verdict: Verdict) -> str:
    statuses = ", ".join(
        f"{count} x {status or 'none'}" for status, count in sorted(verdict.statuses.items())
    )
    figures = {
        "POSTs": verdict.posts,
        "answers by status": statuses,
        "run, answer lost": verdict.run_unanswered,
        "connections refused": verdict.refused,
        "run twice": len(verdict.twice),
        "answered, never run": len(verdict.lost),
        "answers mixed up": len(verdict.mixed),
        "atomic switches judged": verdict.judged_switches,
        "POSTs after them": verdict.after_switches,
        "run by the old generation": len(verdict.old),
    }
    return "\n".join(
        [*(f"  {name:<28}{figure}" for name, figure in figures.items()), *verdict.problems[:SHOWN_MAX]]
    )
