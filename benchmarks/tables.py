"""The tables that a run prints."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from benchmarks.results import DISTURBED, Results, Summary
from benchmarks.targets import Verdict
from benchmarks.workloads import Workload

NAME = 30
COLUMNS: tuple[tuple[str, int, Callable[[Summary], str]], ...] = (
    ("req/s", 9, lambda row: f"{row.requests_per_s:,.0f}"),
    ("lowest", 9, lambda row: f"{row.low:,.0f}"),
    ("highest", 9, lambda row: f"{row.high:,.0f}"),
    ("spread", 6, lambda row: f"{row.spread:.0%}"),
    ("req/cpu-s", 9, lambda row: f"{row.requests_per_cpu_s:,.0f}"),
    ("p50 ms", 7, lambda row: f"{row.p50_ms:.2f}"),
    ("p99 ms", 7, lambda row: f"{row.p99_ms:.2f}"),
    ("server", 6, lambda row: f"{row.server_share:.0%}"),
    ("others", 6, lambda row: f"{row.others:.0%}"),
)


def workload_table(workload: Workload, results: Results) -> str:
    """The fastest first; then who is missing, and who answers wrongly."""
    lines = [f"\n{workload.title}", head()]
    lines += [row(name, summary) for name, summary in results.summaries(workload.name).items()]
    for word, whose in (("missing", results.missing), ("FAILING", results.failing)):
        lines += [
            f"  {name:<{NAME - 2}} {word:>9}   {why}" for name, why in whose.get(workload.name, {}).items()
        ]
    lines += [ratios_line(name, ratios) for name, ratios in results.ratios(workload.name).items() if ratios]
    return "\n".join(lines)


def ratios_line(name: str, ratios: Mapping[str, float]) -> str:
    """As in ``gwctl asgi is 1.55 x uvicorn; 1.74 x granian asgi``."""
    return f"  {name} is " + "; ".join(f"{ratio:.2f} x {other}" for other, ratio in ratios.items())


def head() -> str:
    return " " * NAME + "".join(f" {title:>{width}}" for title, width, _ in COLUMNS)


def row(name: str, summary: Summary) -> str:
    mark = "*" if name.startswith("gwctl") else " "
    notes = f"  {summary.failures:,} failed" if summary.failures else ""
    notes += "  disturbed" if summary.disturbed else ""
    figures = "".join(f" {show(summary):>{width}}" for _, width, show in COLUMNS)
    return f"{mark} {name:<{NAME - 2}}{figures}{notes}"


def targets_table(verdicts: Sequence[Verdict]) -> str:
    width = max([len(verdict.title) for verdict in verdicts], default=0)
    titles = f"{'targets':<{width + 2}} {'ratio':>6} {'per cpu-s':>9} {'at least':>8} {'goal':>6}"
    return "\n".join(["", titles, *(target_row(verdict, width) for verdict in verdicts)])


def target_row(verdict: Verdict, width: int) -> str:
    target = verdict.target
    at_least = f"{target.at_least:.2f}" if target.at_least else "-"
    return (
        f"  {verdict.title:<{width}} {figure(verdict.ratio):>6} {figure(verdict.ratio_cpu):>9} "
        f"{at_least:>8} {target.goal:>6.2f}  {verdict.word}"
    )


def figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def footnotes() -> str:
    return (
        "\nreq/cpu-s: requests for each second of processor time. server: share of its core that the server\n"
        "used. others: share of either core that somebody else took, at the least; over "
        f"{DISTURBED:.0%} is disturbed."
    )


def versions_line(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())
