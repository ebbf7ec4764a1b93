"""Draws the figures of a run of `benchmarks.throughput`.

    python plot.py throughput.json throughput.png

Run by an interpreter that has matplotlib (build/bench/plot). One panel for each workload, bars by
median with the lowest and highest round as whiskers; gwctl in strong colours, its peers in pale ones,
blue for sync, green for threads, red for asgi.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.patches

mpl.use("Agg")

import matplotlib.pyplot as plt

OURS = {"sync": "#1b6ca8", "threads": "#2a9d8f", "asgi": "#d1495b"}
PEERS = {"sync": "#b3cade", "threads": "#b5dbd5", "asgi": "#eec3ca", "limit": "#e3e5e8"}
INK, PALE = "#22262b", "#6b7280"
COLUMNS = 2
BAR_INCHES, COLUMN_INCHES, LABEL_INCHES, HEADING_INCHES = 0.25, 8.0, 2.3, 1.3
PANEL_INCHES, AXIS_INCHES = 0.8, 0.4  # of which for the title: what is not for the axis below


def colour(name: str, kind: str) -> str:
    return (OURS if name.startswith("gwctl") else PEERS)[kind]


def label(rate: float) -> str:
    return f"{rate:,.0f}" if rate < 10_000 else f"{rate / 1000:,.1f}k"


def tick(value: float, _place: int) -> str:
    return f"{value / 1000:g}k" if value >= 1000 else f"{value:g}"


def panel(axes: Any, title: str, workload: dict[str, Any]) -> None:
    """The fastest on top; who is missing or fails stands below with no bar."""
    measured = workload["contenders"]
    rows = [(name, found["median"]) for name, found in measured.items()]
    absent = [*((n, "missing") for n in workload["missing"]), *((n, "fails") for n in workload["failing"])]
    names = [name for name, _ in rows] + [name for name, _ in absent]
    most = max((row["high"] for _, row in rows), default=1.0)
    for place, (name, row) in enumerate(rows):
        rate = row["requests_per_s"]
        hatch = "////" if "," in name and name.startswith("gwctl") else None
        axes.barh(
            place,
            rate,
            color=colour(name, measured[name]["kind"]),
            hatch=hatch,
            edgecolor="white",
            linewidth=0.5,
            height=0.78,
        )
        if row["low"] < row["high"]:
            spread = [[rate - row["low"]], [row["high"] - rate]]
            axes.errorbar(rate, place, xerr=spread, color=INK, linewidth=0.9, capsize=2.5)
        axes.text(row["high"] + most * 0.012, place, label(rate), va="center", fontsize=8.5, color=INK)
    for place, (_, word) in enumerate(absent, len(rows)):
        axes.text(most * 0.012, place, word, va="center", fontsize=8.5, style="italic", color=PALE)
    axes.set_yticks(range(len(names)), names, fontsize=9)
    for text, name in zip(axes.get_yticklabels(), names, strict=True):
        text.set(color=INK, fontweight="bold" if name.startswith("gwctl") else "normal")
    axes.set(xlim=(0, most * 1.13), ylim=(len(names) - 0.4, -0.6))
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", color=INK)
    axes.xaxis.set_major_formatter(tick)
    axes.tick_params(axis="x", labelsize=8, colors=PALE, length=0)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="#eceef0", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)


def columns(workloads: dict[str, Any]) -> list[list[str]]:
    """Workloads spread over the columns so that both are about as high, in their order."""
    if len(workloads) == 1:
        return [list(workloads)]
    spread: list[list[str]] = [[] for _ in range(COLUMNS)]
    heights = [0.0] * COLUMNS
    for name, workload in workloads.items():
        lowest = heights.index(min(heights))
        spread[lowest].append(name)
        heights[lowest] += height(workload)
    return [column for column in spread if column]


def height(workload: dict[str, Any]) -> float:
    """Inches that the panel of a workload takes."""
    bars = sum(len(workload[part]) for part in ("contenders", "missing", "failing"))
    return PANEL_INCHES + BAR_INCHES * max(bars, 2)


def draw(results: dict[str, Any], picture: Path) -> None:
    workloads = results["workloads"]
    spread = columns(workloads)
    tallest = max(sum(height(workloads[name]) for name in column) for column in spread)
    width, total = COLUMN_INCHES * len(spread), tallest + HEADING_INCHES
    figure = plt.figure(figsize=(width, total), dpi=110)
    heading(figure, results, width, total)
    for number, column in enumerate(spread):
        top = tallest
        for name in column:
            inches = height(workloads[name])
            left = number * COLUMN_INCHES + LABEL_INCHES
            bottom, high = top - inches + AXIS_INCHES, inches - PANEL_INCHES
            box = (left / width, bottom / total, (COLUMN_INCHES - LABEL_INCHES - 0.15) / width, high / total)
            panel(figure.add_axes(box), results["titles"][name], workloads[name])
            top -= inches
    figure.savefig(picture, facecolor="white")


def heading(figure: Any, results: dict[str, Any], width: float, total: float) -> None:
    rounds = results["rounds"]
    how = (
        f"medians of {rounds} rounds taken in turn, whiskers: lowest and highest"
        if rounds > 1
        else "one round"
    )
    about = (
        f"wrk with {results['connections']} connections on another core; {how}\n"
        f"CPython {results['python']}, {results['machine']}, {results['date'][:10]}"
    )

    def write(inches: float, text: str, **style: Any) -> None:
        figure.text(0.2 / width, 1 - inches / total, text, color=INK, va="center", **style)

    write(0.3, "Requests a second, one worker on one core", fontsize=14, fontweight="bold")
    write(0.68, about, fontsize=8.5)
    legend = [patch(colour, f"gwctl {kind}") for kind, colour in OURS.items()]
    legend += [patch(PEERS[kind], f"peers of {kind}") for kind in OURS]
    legend += [patch(PEERS["limit"], "the limit")]
    place = (0.2 / width, 1 - 1.02 / total)
    style = {"handlelength": 1.2, "columnspacing": 1.2, "borderpad": 0.0, "borderaxespad": 0.0}
    figure.legend(
        handles=legend, loc="center left", bbox_to_anchor=place, ncols=7, frameon=False, fontsize=8.5, **style
    )


def patch(colour: str, text: str) -> Any:
    return mpl.patches.Patch(color=colour, label=text)


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text("utf-8")), Path(sys.argv[2]))
