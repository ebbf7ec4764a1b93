"""How a reload or a rollback looks while it runs: one line a pool, growing as phases are reached.

    web  g1 -> g2  validate ok  boot ok (0.44 s)  settle ok (2 s)  roll 4/4  commit

Asked to show what a pool is watched for, it has both generations side by side below:

             g1        g2
    5xx      0.02 %    4.8 %     of 1,204 and 391 requests
    p95      38 ms     41 ms

On a terminal the lines are drawn again in place; elsewhere (a log, a pipe) each is written
once, when all is over.
"""

from __future__ import annotations

import shutil
from typing import TextIO

from gwctl.control.protocol import Progress
from gwctl.watched import Watched, percent
from gwctl.wording import duration, requests

_MASTER = ""
"""Progress that is about no pool in particular."""
_OF_THE_MASTER = frozenset({"check", "execute"})
"""Phases of an upgrade, before there is a reload."""


class ReloadView:
    """Collects progress and draws it on ``out``."""

    def __init__(self, out: TextIO, *, beside: bool = False) -> None:
        """``beside``: show the figures of pools that are watched."""
        self._out = out
        self._beside = beside
        self._watched: dict[str, Watched] = {}
        self._live = out.isatty()
        self._generations = ""
        self._upgrade: dict[str, str] = {}
        self._pools: dict[str, dict[str, str]] = {}
        self._drawn = 0

    def progress(self, news: Progress) -> None:
        """Take in one phase."""
        if news.pool == _MASTER and news.phase in _OF_THE_MASTER:
            self._upgrade[news.phase] = _words(news)
        elif news.pool == _MASTER and news.outcome == "":
            self._generations = news.detail
        elif news.pool == _MASTER:  # a failure of the whole: it ends every pool's line
            for phases in self._pools.values() or [self._pools.setdefault(_MASTER, {})]:
                phases[news.phase] = _words(news)
        else:
            self._pools.setdefault(news.pool, {})[news.phase] = _words(news)
        if self._beside and isinstance(news.watched, Watched):
            self._watched[news.pool] = news.watched
        if self._live:
            self._draw()

    def finish(self) -> None:
        """Write what was not shown yet."""
        if not self._live and (self._pools or self._upgrade):
            self._out.write("\n".join(self._lines()) + "\n")
        self._out.flush()

    def _lines(self) -> list[str]:
        width = max(map(len, self._pools), default=0)
        upgrade = ["  ".join(["master", *self._upgrade.values()])] if self._upgrade else []
        lines = upgrade
        for name, phases in self._pools.items():
            lines.append("  ".join(filter(None, (f"{name:<{width}}", self._generations, *phases.values()))))
            if name in self._watched:
                lines += side_by_side(self._watched[name], width)
        return lines

    def _draw(self) -> None:
        columns = shutil.get_terminal_size().columns
        up = f"\x1b[{self._drawn}F" if self._drawn else ""
        lines = self._lines()
        self._out.write(up + "".join(f"\x1b[2K{line[: columns - 1]}\n" for line in lines))
        self._out.flush()
        self._drawn = len(lines)


def side_by_side(watched: Watched, indent: int) -> list[str]:
    """The figures of both generations, in columns."""
    old, new = watched.old, watched.new
    rows = (
        ("", f"g{old.generation}", f"g{new.generation}", ""),
        ("5xx", *(percent(each.errors, each.requests) for each in (old, new)), _of_how_many(watched)),
        ("p95", *("-" if each.p95_s is None else duration(each.p95_s) for each in (old, new)), ""),
    )
    return [f"{'':{indent}}  {name:<5}{a:<10}{b:<10}{more}".rstrip() for name, a, b, more in rows]


def _of_how_many(watched: Watched) -> str:
    return f"of {watched.old.requests:,} and {requests(watched.new.requests)}"


def _words(news: Progress) -> str:
    match news.phase, news.outcome:
        case _, "FAILED":
            return f"{news.phase} FAILED"
        case "roll" | "start", _:
            return f"{news.phase} {news.detail}"
        case "watch" | "watch-all", "" if news.detail:
            return f"{news.phase} {news.detail}"
        case "commit", "ok":
            return "commit"
        case _, "":
            return f"{news.phase} ..."
    detail = f" ({news.detail})" if news.detail else ""
    return f"{news.phase} {news.outcome}{detail}"
