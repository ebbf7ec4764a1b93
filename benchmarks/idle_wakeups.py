"""How often an idle master wakes up.

    python -m benchmarks.idle_wakeups [--seconds 20]

Counts voluntary context switches in /proc/PID/status: each time the process went to sleep it
had been awake. A master with nothing to do should be at most once in five seconds.
"""

from __future__ import annotations

import argparse
import re
import time
from pathlib import Path

from benchmarks.contenders import KINDS, gwctl
from benchmarks.servers import running
from benchmarks.tools import write_results

SETTLE_S = 5.0


def switches(pid: int) -> int:
    """Voluntary context switches of all threads of ``pid`` so far."""
    total = 0
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        found = re.search(r"^voluntary_ctxt_switches:\s+(\d+)$", status.read_text("utf-8"), re.MULTILINE)
        total += int(found[1]) if found else 0
    return total


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.idle_wakeups", description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0)
    seconds = parser.parse_args().seconds
    results = {}
    for kind in KINDS:
        with running(gwctl(kind)) as server:
            time.sleep(SETTLE_S)  # boot is over and the first connection has been forgotten
            pids = {"master": server.pid, "worker": children(server.pid)[0]}
            before = {name: switches(pid) for name, pid in pids.items()}
            time.sleep(seconds)
            rates = {name: (switches(pid) - before[name]) / seconds for name, pid in pids.items()}
        results[kind] = rates
        print(f"{kind:<8} " + "  ".join(f"{name} {rate:.2f}/s" for name, rate in rates.items()), flush=True)
    write_results("idle_wakeups", {"seconds": seconds, "wakeups_per_s": results})


if __name__ == "__main__":
    main()
