"""A profile in a few lines: how the time was spent, what took most of it, what to bear in mind."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from gwctl.profile.collected import Folded, Part, Spent, label, totals
from gwctl.profile.lines import DEPTH_MAX, STACKS_MAX, Frame, Kind
from gwctl.wording import memory, seconds, workers


def title(target: str, parts: Sequence[Part]) -> str:
    """Whom it is about: ``web.2, pid 4134``."""
    if len(parts) == 1:
        return f"{parts[0].name}, pid {parts[0].pid}"
    return f"{target}, {workers(len(parts))}"


def sentence(parts: Sequence[Part]) -> str:
    """``998 samples in 10 s: threads were 6.1 s on a CPU, 2.2 s waiting, 31.7 s idle``."""
    total = totals(parts)
    lasted_s = max((each.ended.seconds for each in parts if each.ended is not None), default=0.0)
    if any(each.memory for each in parts):
        return (
            f"{memory(total.first)} in {total.second:,} blocks that were allocated in {seconds(lasted_s)} "
            "and still in use at the end"
        )
    samples = sum(each.ended.samples for each in parts if each.ended is not None)
    return f"{samples:,} samples in {seconds(lasted_s)}: {_states(total)}"


def _states(total: Spent) -> str:
    """Of all threads together."""
    running, waiting, idle = (seconds(each / 1e6) for each in (total.first, total.second, total.third))
    return f"threads were {running} on a CPU, {waiting} waiting, {idle} idle"


def cost(parts: Sequence[Part]) -> str:
    """What it cost a worker to be sampled, at most; empty if that is not known."""
    shares = [
        each.ended.cpu_s / each.ended.seconds
        for each in parts
        if each.ended is not None and each.ended.seconds > 0 and not each.memory
    ]
    return f"sampling took {max(shares):.1%} of a CPU".replace("%", " %") if shares else ""


def remarks(parts: Iterable[Part]) -> list[str]:
    """What is missing, and why."""
    found = []
    for part in parts:
        who = f"{part.name} pid {part.pid}"
        if part.failure:
            found.append(f"{who}: {part.failure}")
        if part.ended is None:
            continue
        if part.ended.why:
            found.append(f"{who}: {part.ended.why}, after {seconds(part.ended.seconds)}")
        if part.ended.stacks_cut:
            found.append(
                f"{who}: over {STACKS_MAX:,} different stacks; those seen later are put together as "
                f"(other stacks): {part.ended.stacks_cut:,} times"
            )
        if part.ended.depth_cut:
            found.append(f"{who}: the outer frames of stacks deeper than {DEPTH_MAX} are not known")
    return found


def top(stacks: Folded, count: int) -> list[tuple[Frame, int]]:
    """The frames in which most was spent itself, waiting included; or that allocated most."""
    own: dict[Frame, int] = {}
    for stack, weight in stacks.items():
        inner = next((each for each in reversed(stack) if each.kind is not Kind.NOTE), stack[-1])
        own[inner] = own.get(inner, 0) + weight
    return sorted(own.items(), key=lambda each: -each[1])[:count]


def top_lines(stacks: Folded, count: int, *, of_memory: bool) -> list[str]:
    """The same as lines of text."""
    whole = sum(stacks.values())
    lines = []
    for frame, weight in top(stacks, count):
        amount = f"{memory(weight):>12}" if of_memory else ""
        lines.append(f"  {_percent(weight, whole):>5}{amount}  {label(frame)}")
    return lines


def document(parts: Iterable[Part], stacks: Folded, count: int, *, of_memory: bool) -> dict[str, Any]:
    """The same for machines."""
    unit = "bytes" if of_memory else "seconds"
    return {
        "workers": [_worker(each) for each in parts],
        "top": [
            {
                "function": frame.function,
                "file": frame.file,
                "line": frame.line,
                unit: weight if of_memory else weight / 1e6,
            }
            for frame, weight in top(stacks, count)
        ],
    }


def _worker(part: Part) -> dict[str, Any]:
    found: dict[str, Any] = {"name": part.name, "pid": part.pid, "failure": part.failure}
    total = totals([part])
    if part.memory:
        found |= {"bytes": total.first, "blocks": total.second}
    else:
        found |= {
            "running_s": total.first / 1e6,
            "waiting_s": total.second / 1e6,
            "idle_s": total.third / 1e6,
        }
    if part.ended is not None:
        ended = part.ended
        found |= {"seconds": ended.seconds, "samples": ended.samples, "cpu_s": ended.cpu_s, "why": ended.why}
    return found


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / max(1, whole):.0f} %"
