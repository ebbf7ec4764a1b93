"""The table: for each case one row per server."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from benchmarks.lifecycle.cases import Report

NAME: Final = 20
TITLES: Final = {
    "reload": ("five good reloads", "until all new, s", "whoever asked was told"),
    "broken reload": (
        "a reload whose code cannot be imported, then one that is mended",
        "mended, s",
        "whoever asked was told",
    ),
    "kill -9 of a worker": ("one of four workers is killed", "replaced, s", "afterwards"),
    "kill -9 of the master": (
        "the master is killed and started again at once",
        "first answer, s",
        "does the new one serve; processes of the dead one after 5 s",
    ),
    "hang": ("a call of the application never returns", "ended, s", "the request; stack in the log"),
}


def table(reports: Iterable[Report], missing: Mapping[str, str]) -> str:
    lines: list[str] = []
    kept = list(reports)
    for case, (title, done, last) in TITLES.items():
        rows = [report for report in kept if report.case == case]
        if rows:
            lines += [f"\n{case}: {title}", head(done, last), *(row(report) for report in rows)]
    lines += [f"  {name:<{NAME}} missing: {why}" for name, why in missing.items()]
    return "\n".join(lines)


def head(done: str, last: str) -> str:
    columns = f"{'requests':>9}{'failed':>8}{'p99.9 ms':>10}{'longest ms':>12}{done:>18}{'left':>6}"
    return f"  {'':<{NAME}}{columns}  {last}"


def row(report: Report) -> str:
    done = "never" if report.done_s is None else f"{report.done_s:.1f}"
    times = f"{report.p999_s * 1e3:>10.1f}{report.longest_s * 1e3:>12.1f}"
    mark = "*" if report.contender.startswith("gwctl") else " "
    figures = f"{report.requests:>9,}{report.failed:>8,}{times}{done:>18}{report.left:>6}"
    return f"{mark} {report.contender:<{NAME}}{figures}  {'; '.join(_words(report))}"


def _words(report: Report) -> Iterator[str]:
    match report.case:
        case "reload":
            yield report.told
            yield f"quiet p99.9 {report.quiet_p999_s * 1e3:.1f} ms"
            if not report.outcome.startswith("5 of"):
                yield report.outcome
        case "broken reload":
            yield report.told
            yield report.outcome
        case "hang":
            yield report.outcome
            yield f"stack: {report.stack}"
        case _:
            if report.outcome:
                yield report.outcome
    if report.failures:
        yield ", ".join(f"{count:,} {name}" for name, count in sorted(report.failures.items()))
