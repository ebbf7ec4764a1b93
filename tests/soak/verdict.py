"""Judges a soak: nothing may fail that is not explained, down to the lines of the log.

A request may fail when the worker that had it in hand was killed, by us or because of us, or
(counted apart) when its client was silent for more than half of ``linger_s`` before; a
reload that is good may be refused when a worker was hurt while it ran; an error line may name
a process that was hurt, or a broken release. All else is a problem, told with its whole story.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from tests.load.result import Failure, Incident, Result
from tests.soak.books import Books, Outcome
from tests.soak.owners import Death
from tests.soak.stage import BROKEN_MARKS, LINGER_S

HURT_BEFORE_S: Final = 8.0
"""What was hurt so long before a reload may still end during it."""
BACKOFF_S: Final = 15.0
"""So long a slot may wait for its next try."""
STORIES_MAX: Final = 20

_CANCELLED: Final = re.compile(r"the request was cancelled|CancelledError")
_LINE: Final = re.compile(r"^\d\d:\d\d:\d\d\.\d{3} ", re.MULTILINE)
_ERROR: Final = re.compile(r"^\d\d:\d\d:\d\d\.\d{3} (error|warn) +(.*)", re.DOTALL)


@dataclass(frozen=True)
class Resources:
    """Of the master."""

    descriptors: int
    memory_bytes: int


@dataclass
class Verdict:
    """``problems`` empty: nothing failed but what had to."""

    problems: list[str] = field(default_factory=list)
    in_hand: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Failures that are explained, by load and class."""
    late: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Sent on a connection after so long a silence that a draining worker may close it: a client's lot."""
    unexplained: Counter[tuple[str, str]] = field(default_factory=Counter)
    lines: Counter[str] = field(default_factory=Counter)
    """Error lines that are explained, by kind."""

    @property
    def failed(self) -> int:
        return self.unexplained.total()


def judge(results: Sequence[Result], books: Books, log: str) -> Verdict:
    verdict = Verdict(problems=list(books.problems))
    for result in results:
        _judge_requests(result, books, verdict)
    for pid, status, story in books.answers:
        if status or pid not in books.hurt:
            verdict.problems.append(story)
    for outcome in books.outcomes:
        if problem := _wrong(outcome, books):
            verdict.problems.append(problem)
    _judge_lines(log, books, verdict)
    return verdict


def _judge_requests(result: Result, books: Books, verdict: Verdict) -> None:
    for incident in result.incidents:
        key = (incident.label, incident.failure)
        if any(death.explains(incident) for death in [*books.deaths, *books.cancelled]):
            verdict.in_hand[key] += 1
            continue
        if incident.failure == Failure.RESET_REUSED and incident.idle_s > LINGER_S / 2:
            verdict.late[key] += 1
            continue
        verdict.unexplained[key] += 1
        if verdict.unexplained.total() <= STORIES_MAX:
            verdict.problems.append(_story(incident, books))
    if missing := result.failed - len(result.incidents):
        verdict.unexplained[result.label, "not written down"] += missing


def _story(incident: Incident, books: Books) -> str:
    took_s = incident.failed_at - incident.began_at
    lines = [
        f"unexplained: {incident.label}: {incident}",
        f"  port {incident.port}, worker {incident.worker or 'unknown'}, silent {incident.idle_s:.3f} s, begun {took_s:.3f} s before",
        *(f"  {what}" for what in books.near(incident.failed_at)),
    ]
    lines += [f"  {_about(death, incident)}" for death in books.deaths if _near(death, incident)]
    return "\n".join(lines)


def _near(death: Death, incident: Incident) -> bool:
    return abs(death.ended_at - incident.failed_at) < 3 or str(death.pid) == incident.worker


def _about(death: Death, incident: Incident) -> str:
    had = "had" if incident.port in death.clients else "did not have"
    return (
        f"pid {death.pid} ({death.why}) ended {death.ended_at - incident.failed_at:+.3f} s, "
        f"had {len(death.clients)} connections, {had} this one"
    )


def _wrong(outcome: Outcome, books: Books) -> str:
    if outcome.ok == outcome.wanted:
        return ""
    if outcome.wanted and _interfered(outcome, books):
        return ""
    what = "was refused" if outcome.wanted else "was adopted although it is broken"
    said = "\n".join(f"  {line}" for line in outcome.output.splitlines()[-30:])
    return f"{outcome.what} {what}:\n{said}"


def _interfered(outcome: Outcome, books: Books) -> bool:
    harmless = ("reload", "two", "broken", "scaled", "logs", "rollback")
    # Who scales waits for all workers, also for those of slots that have died and wait for their next try.
    before_s = BACKOFF_S if outcome.what == "scale" else HURT_BEFORE_S
    return any(
        outcome.began_at - before_s <= when <= outcome.ended_at and not what.startswith(harmless)
        for when, what in books.timeline
    )


def _judge_lines(log: str, books: Books, verdict: Verdict) -> None:
    unexpected: Counter[str] = Counter()
    for record in records(log):
        match = _ERROR.match(record)
        if not match or match[1] != "error":
            continue
        kind = _kind(match[2], books)
        if kind:
            verdict.lines[kind] += 1
        else:
            unexpected[record.strip()[:2000]] += 1
    verdict.problems += [f"in the log: {record}" for record in list(unexpected)[:STORIES_MAX]]


def records(log: str) -> Iterable[str]:
    """Lines with what follows them."""
    starts = [match.start() for match in _LINE.finditer(log)]
    return [log[start:end] for start, end in itertools.pairwise([*starts, len(log)])]


def _kind(text: str, books: Books) -> str:
    """Why the error was to be expected; empty: it was not."""
    for mark in BROKEN_MARKS:
        if mark in text:
            return f"broken release: {mark}"
    if "gw.toml" in text and "many" in text:
        return "broken settings"
    if "keeps dying" in text and books.counts["broken reload"]:
        return "a slot keeps dying of a broken release"
    if "request timeout: GET /hang" in text.split("\n", 1)[0]:
        return "request timeout"
    if "could not be started: its template has ended" in text and "was not adopted" not in text:
        return "fork lost with its template" if "kill -9 of a template" in books.counts else ""
    if re.search(r"was not (adopted|gone back to)", text) and _refusal_by_fault(text):
        return "reload refused because of a fault"
    if "GET /exit: the application raised: SystemExit" in text:
        return "application that exits"
    if books.cancelled and _CANCELLED.search(text):
        return "all tasks cancelled"
    for pid in re.findall(r"pid (\d+) ", text):
        if int(pid) in books.hurt:
            return re.sub(r"\d[\d.,]*", "N", text.partition(f"pid {pid} ")[2].split(":")[0])[:60].strip()
    return ""


def _refusal_by_fault(text: str) -> bool:
    """Such a refusal is judged by its outcome; its line is expected when it blames a worker's end."""
    return bool(
        re.search(
            r"signal 9|killed|SIGKILL|request timeout|template has ended|drain|was not ready|channel|has not turned|of memory|has not said",
            text,
        )
    )
