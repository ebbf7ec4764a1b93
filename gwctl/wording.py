"""Durations, sizes and numbers of things in words: the same in log lines, answers and status."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final


def seconds(value: float) -> str:
    """``0.45 s``, ``4 s``, ``2.9 s``: as many digits as a person reads."""
    if value < 1:
        return f"{value:.2f} s"
    return f"{value:.1f} s".replace(".0 s", " s")


def span(value: float) -> str:
    """As `seconds`, but in minutes and hours when it is long: ``90 s``, ``3 min``, ``26.5 h``."""
    if value < 120:
        return seconds(value)
    if value < 7200:
        return f"{value / 60:.0f} min"
    return f"{value / 3600:.1f} h".replace(".0 h", " h")


def size(value: int) -> str:
    """``210 MiB``, ``1.5 GiB``."""
    if value < 1 << 30:
        return f"{value / (1 << 20):.0f} MiB"
    return f"{value / (1 << 30):.1f} GiB".replace(".0 GiB", " GiB")


def requests(count: int) -> str:
    return "1 request" if count == 1 else f"{count:,} requests"


def connections(count: int) -> str:
    return "1 connection" if count == 1 else f"{count:,} connections"


def workers(count: int) -> str:
    return "1 worker" if count == 1 else f"{count} workers"


def processes(of_workers: int, of_templates: int) -> str:
    """``2 workers and 1 template``; empty when there is neither."""
    templates = "1 template" if of_templates == 1 else f"{of_templates} templates"
    named = [workers(of_workers)] if of_workers else []
    return " and ".join(named + ([templates] if of_templates else []))


def threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


def mebibytes(value: int) -> str:
    """Where sizes stand in a column: ``1536 MiB``."""
    return f"{value / (1 << 20):.0f} MiB"


def memory(value: int) -> str:
    """``512 B``, ``12.3 KiB``, ``1.5 MiB``: of things that may be small."""
    if value < 1 << 10:
        return f"{value} B"
    if value < 1 << 20:
        return f"{value / (1 << 10):.1f} KiB"
    return f"{value / (1 << 20):,.1f} MiB"


def age(duration_s: float) -> str:
    """A long time in its two largest units: ``42 s``, ``14 m``, ``2 h 5 m``, ``3 d 4 h``."""
    minutes, hours, days = int(duration_s // 60), int(duration_s // 3600), int(duration_s // 86400)
    if days:
        return f"{days} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes % 60} m"
    return f"{minutes} m" if minutes else f"{int(duration_s)} s"


def duration(duration_s: float) -> str:
    """A short time in the unit it is read in: ``0.3 ms``, ``41 ms``, ``18.8 s``, ``14 m``."""
    ms = duration_s * 1000
    if ms < 9.95:
        return f"{ms:.1f} ms"
    if ms < 999.5:
        return f"{ms:.0f} ms"
    return f"{duration_s:.1f} s" if duration_s < 99.95 else age(duration_s)


_ENDINGS: Final = {1: "st", 2: "nd", 3: "rd"}


def ordinal(number: int) -> str:
    if number % 100 not in {11, 12, 13}:
        return f"{number}{_ENDINGS.get(number % 10, 'th')}"
    return f"{number}th"


_SIGNALS: Final = {
    1: "SIGHUP",
    2: "SIGINT",
    3: "SIGQUIT",
    4: "SIGILL",
    5: "SIGTRAP",
    6: "SIGABRT",
    7: "SIGBUS",
    8: "SIGFPE",
    9: "SIGKILL",
    10: "SIGUSR1",
    11: "SIGSEGV",
    12: "SIGUSR2",
    13: "SIGPIPE",
    14: "SIGALRM",
    15: "SIGTERM",
    24: "SIGXCPU",
    25: "SIGXFSZ",
    31: "SIGSYS",
}
"""Linux's numbers: what is said of a process may be read on another system."""


def how_it_ended(status: int) -> str:
    if status < 0:
        name = _SIGNALS.get(-status)
        return f"signal {-status}" + (f" ({name})" if name else "")
    return f"exit status {status}"


def enumeration(names: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
