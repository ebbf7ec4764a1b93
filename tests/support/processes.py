"""What /proc says about processes, for asserting that none is left behind."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Process:
    """One process as it was when looked at. ``started`` tells a reused pid apart."""

    pid: int
    name: str
    state: str
    parent: int
    session: int
    started: int

    @property
    def is_zombie(self) -> bool:
        return self.state == "Z"

    def __str__(self) -> str:
        return f"{self.pid} ({self.name}, state {self.state}, parent {self.parent})"


def look(pid: int) -> Process | None:
    """None when there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    name = text[text.index("(") + 1 : text.rindex(")")]
    fields = text[text.rindex(")") + 2 :].split()
    return Process(pid, name, fields[0], int(fields[1]), int(fields[3]), int(fields[19]))


def all_processes() -> list[Process]:
    pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    return [process for pid in pids if (process := look(pid))]


def session_of(leader: int) -> list[Process]:
    """All processes of the session that ``leader`` began, also those whose parents are gone."""
    return [process for process in all_processes() if process.session == leader]


def children(parent: int) -> list[int]:
    """Pids of the children, zombies included, in ascending order."""
    return sorted(process.pid for process in all_processes() if process.parent == parent)


def descriptors(pid: int) -> dict[int, str]:
    """Open descriptors and what they point to."""
    found = {}
    for path in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found[int(path.name)] = str(path.readlink())
        except FileNotFoundError:
            continue  # the one that lists the folder, or closed meanwhile
    return found
