"""The table that a soak prints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.load.result import Result
from tests.soak.books import Books
from tests.soak.verdict import Resources, Verdict

_MS = 1000
MIB = 1 << 20


@dataclass
class Run:
    """What was measured; ``quiet`` and ``results`` have the same parts."""

    worker: str
    seed: int
    seconds: float
    broken: str
    books: Books
    quiet: Sequence[Result]
    results: Sequence[Result]
    before: Resources
    after: Resources
    verdict: Verdict

    @property
    def ok(self) -> bool:
        return not self.verdict.problems


def text(run: Run) -> str:
    return "\n".join(
        [
            f"\n{run.worker}: {run.seconds:.0f} s, seed {run.seed}"
            + (f", broken build {run.broken}" if run.broken else ""),
            *_faults(run),
            "",
            *_requests(run),
            "",
            *_lines(run),
            *_resources(run),
            "",
            *run.verdict.problems,
            _last(run),
        ]
    )


def _faults(run: Run) -> Iterator[str]:
    yield f"\n{'faults':<36}{sum(run.books.counts.values()):>8}"
    for kind, count in sorted(run.books.counts.items()):
        yield f"  {kind:<34}{count:>8}"
    adopted = sum(outcome.ok for outcome in run.books.outcomes if outcome.what != "scale")
    asked = sum(outcome.what != "scale" for outcome in run.books.outcomes)
    yield f"  reloads and upgrades adopted        {adopted:>6} of {asked}, as told to whoever asked"


def _requests(run: Run) -> Iterator[str]:
    heads = ("requests", "connections", "in hand", "failed", "p50 ms", "p99 ms", "p99.9 ms", "longest ms")
    yield f"{'load':<20}" + "".join(f"{head:>12}" for head in heads)
    for quiet, result in zip(run.quiet, run.results, strict=True):
        lost = sum(n for (label, _), n in run.verdict.in_hand.items() if label == result.label)
        failed = sum(n for (label, _), n in run.verdict.unexplained.items() if label == result.label)
        yield _row(result.label, result, f"{lost}", f"{failed}")
        yield _row("  quiet", quiet, "-", f"{quiet.failed}")
    verdict = run.verdict
    kinds = (("in hand", verdict.in_hand), ("beyond linger", verdict.late), ("failed", verdict.unexplained))
    for kind, counts in kinds:
        for (label, failure), count in sorted(counts.items()):
            yield f"  {kind}: {count} {failure} ({label})"


def _row(name: str, result: Result, lost: str, failed: str) -> str:
    times = (result.p50_s, result.p99_s, result.p999_s, result.max_s)
    counts = (f"{result.requests:,}", f"{result.connections:,}", lost, failed)
    return f"{name:<20}" + "".join(f"{c:>12}" for c in (*counts, *(f"{t * _MS:.1f}" for t in times)))


def _lines(run: Run) -> Iterator[str]:
    yield "error lines of the log, all expected unless listed below"
    for kind, count in sorted(run.verdict.lines.items()):
        yield f"  {kind:<60}{count:>6}"


def _resources(run: Run) -> Iterator[str]:
    before, after = run.before, run.after
    memory = f"memory {before.memory_bytes / MIB:.1f} -> {after.memory_bytes / MIB:.1f} MiB"
    yield f"\nmaster: descriptors {before.descriptors} -> {after.descriptors}, {memory}"


def _last(run: Run) -> str:
    total = sum(result.requests for result in run.results)
    lost = run.verdict.in_hand.total()
    verdict = "passed" if run.ok else f"FAILED ({len(run.verdict.problems)} problems)"
    return (
        f"{run.worker}: {verdict}: {total:,} requests, {lost} lost in the hands of killed workers, "
        f"{run.verdict.failed} unexplained failures (seed {run.seed})"
    )
