"""One thing that was found: how it is, in one line with its numbers, and what mends it."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import msgspec


class Verdict(StrEnum):
    """``warn``: it works, and will not at some time. ``fail``: it does not work, or loses requests."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Finding(msgspec.Struct, frozen=True):
    """``mend`` is a command, or a setting; empty where all is well."""

    verdict: Verdict
    about: str
    """What was checked, in one word or two: ``backlog``, ``nginx``."""
    text: str
    mend: str = ""


def ok(about: str, text: str) -> Finding:
    return Finding(Verdict.OK, about, text)


def warn(about: str, text: str, mend: str) -> Finding:
    return Finding(Verdict.WARN, about, text, mend)


def fail(about: str, text: str, mend: str) -> Finding:
    return Finding(Verdict.FAIL, about, text, mend)


def render(findings: Sequence[Finding]) -> str:
    """A line for each, and below it what mends it."""
    lines = []
    for each in findings:
        lines.append(f"{each.verdict.value:<4}  {each.text}")
        if each.mend:
            lines.append(f"        {each.mend}")
    bad = [each for each in findings if each.verdict is not Verdict.OK]
    failures = sum(each.verdict is Verdict.FAIL for each in bad)
    warnings = len(bad) - failures
    counts = [
        f"{count} {name}{'s' * (count > 1)}"
        for count, name in ((failures, "failure"), (warnings, "warning"))
        if count
    ]
    return "\n".join([*lines, "", ", ".join(counts) if counts else f"all {len(findings)} are well"])
