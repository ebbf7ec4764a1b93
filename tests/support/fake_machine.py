"""A machine with control groups, as files in a folder."""

from __future__ import annotations

from pathlib import Path


class Machine:
    """A fake /proc and /sys/fs/cgroup."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.write("proc/meminfo", f"MemTotal:       {64 << 20} kB\nMemFree: 12 kB\n")

    def write(self, path: str, text: str) -> None:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def v2(self, group: str, top: str = "/") -> None:
        self.write("proc/self/cgroup", f"0::{group}\n")
        self.write(
            "proc/self/mountinfo",
            f"30 23 0:26 {top} /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n",
        )

    def v1(self, group: str) -> None:
        self.write("proc/self/cgroup", f"5:cpu,cpuacct:{group}\n4:memory:{group}\n1:name=systemd:{group}\n")
        self.write(
            "proc/self/mountinfo",
            "31 23 0:27 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
            "32 23 0:28 / /sys/fs/cgroup/memory rw shared:10 - cgroup cgroup rw,memory\n"
            "33 23 0:29 / /proc rw - proc proc rw\n",
        )
