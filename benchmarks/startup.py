"""From the start of a server to its first answer: one worker, hello world, no import cost.

    python -m benchmarks.startup [--rounds 5] [--only NAME,NAME] [--output FOLDER]

Rounds go in turn. The server is asked every 2 ms; processes may run on any core.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.selection import servers, split
from benchmarks.servers import ServerFailed, running
from benchmarks.tools import RESULTS, write_results


def table(times: Mapping[str, Sequence[float]]) -> str:
    """The quickest first, in seconds."""
    lines = [f"\n{'seconds to the first answer':<30}{'median':>8}{'lowest':>8}{'highest':>8}"]
    for name, found in sorted(times.items(), key=lambda item: statistics.median(item[1])):
        mark = "*" if name.startswith("gwctl") else " "
        figures = (statistics.median(found), min(found), max(found))
        lines.append(f"{mark} {name:<28}" + "".join(f"{figure:>8.2f}" for figure in figures))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.startup", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", type=split, default=[])
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    chosen, absent, versions = servers(options.only)
    failing: dict[str, str] = {}
    times: dict[str, list[float]] = {}
    for _ in range(options.rounds):
        for contender in chosen:
            if contender.name in failing:
                continue
            try:
                with running(contender) as server:
                    times.setdefault(contender.name, []).append(server.start_s)
            except ServerFailed as failed:
                failing[contender.name] = str(failed)
    print(table(times))
    for word, whose in (("missing", absent), ("FAILING", failing)):
        for name, why in whose.items():
            print(f"  {name:<28}  {word}: {why}")
    document = {"versions": versions, "seconds": times, "missing": absent, "failing": failing}
    write_results("startup", document, options.output)


if __name__ == "__main__":
    main()
