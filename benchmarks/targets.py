"""What gwctl is to reach, and whether a run reached it.

A target compares two medians of one run. ``at_least`` is what counts as met; ``goal`` is what is
hoped for. Where something was not measured there is no verdict.
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.results import Results
from benchmarks.workloads import ASGI_PEERS, COMPILED, OURS, SYNC_PEERS, THREADS_PEERS


@dataclass(frozen=True)
class Target:
    """``ours`` in ``workload`` over the best of ``others`` in ``base`` (empty: the same workload)."""

    workload: str
    ours: str
    others: tuple[str, ...]
    at_least: float
    goal: float
    base: str = ""


@dataclass(frozen=True)
class Verdict:
    """``ratio_cpu`` compares requests for each second of processor time."""

    target: Target
    title: str
    ratio: float | None
    ratio_cpu: float | None

    @property
    def word(self) -> str:
        if self.ratio is None:
            return "not measured"
        if self.ratio >= self.target.goal:
            return "goal reached"
        if not self.target.at_least:
            return "below the goal"
        return "met" if self.ratio >= self.target.at_least else "MISSED"


def versus(ours: str, other: str, at_least: float, goal: float) -> Target:
    return Target("hello", ours, (other,), at_least, goal)


def of_build(sync: str, threads: str, asgi: str) -> list[Target]:
    """What each build of ours is to reach beside others; a view is not below any peer of the same class."""
    views: dict[str, dict[str, tuple[str, ...]]] = {
        "flask": {sync: SYNC_PEERS, threads: THREADS_PEERS},
        "django": {sync: SYNC_PEERS, threads: THREADS_PEERS},
        "fastapi": {asgi: ASGI_PEERS},
    }
    return [
        versus(sync, "granian wsgi", 1.15, 1.15),
        versus(sync, "gunicorn sync", 10, 10),
        versus(sync, "bjoern", 0.8, 1),
        versus(sync, "fastpysgi wsgi", 0, 1),
        versus(threads, "granian wsgi, 8", 1, 1.2),
        versus(threads, "gunicorn gthread", 7, 7),
        versus(asgi, "uvicorn", 1.7, 2),
        versus(asgi, "granian asgi", 2, 2),
        versus(asgi, "fastpysgi asgi", 1.15, 1.15),
        *(Target("log", name, (name,), 0.85, 0.95, base="hello") for name in (sync, threads, asgi)),
        *(
            Target(workload, name, peers, 1.0, 1.0)
            for workload, classes in views.items()
            for name, peers in classes.items()
        ),
    ]


TARGETS = (
    *of_build(*OURS),
    *of_build(*COMPILED),
    *(Target("hello", f"{name}, Python parser", (name,), 0, 0.65) for name in OURS),
)


def judge(results: Results) -> list[Verdict]:
    """A verdict for each target of which our own side was asked for."""
    return [verdict(target, results) for target in TARGETS if results.tried(target.workload, target.ours)]


def verdict(target: Target, results: Results) -> Verdict:
    base = target.base or target.workload
    rates = {name: rate for name in target.others if (rate := results.rate(base, name))}
    if not rates:
        return Verdict(
            target, title(target, target.others[0] if len(target.others) == 1 else "best peer"), None, None
        )
    best = max(rates, key=lambda name: rates[name])
    ratio = quotient(results.rate(target.workload, target.ours), rates[best])
    ratio_cpu = quotient(results.cpu_rate(target.workload, target.ours), results.cpu_rate(base, best))
    return Verdict(target, title(target, best), ratio, ratio_cpu)


def quotient(ours: float | None, other: float | None) -> float | None:
    return ours / other if ours is not None and other else None


def title(target: Target, other: str) -> str:
    if target.workload == "log":
        return f"{target.ours}, access log on / off"
    place = "" if target.workload == "hello" else f"{target.workload}: "
    return f"{place}{target.ours} / {other}"
