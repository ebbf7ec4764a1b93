"""Who holds an address: asked only after a bind failed with EADDRINUSE, to say it by name.

"Address already in use" sends people to ``ss`` and ``lsof``; /proc knows the same. What this
user may not see (another user's descriptors) is simply not said.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

_LISTEN: Final = "0A"  # TCP_LISTEN in the state column of /proc/net/tcp
_COMMAND_CHARS_MAX: Final = 80


def describe(pid: int, proc: Path = Path("/proc")) -> str:
    """``pid 4120 (gwctl: master [shop])``; the number alone if the process is not to be read."""
    try:
        command = (proc / str(pid) / "cmdline").read_bytes()
    except OSError:
        return f"pid {pid}"
    words = " ".join(command.replace(b"\0", b" ").decode("utf-8", "replace").split())
    if len(words) > _COMMAND_CHARS_MAX:
        words = words[:_COMMAND_CHARS_MAX] + "..."
    return f"pid {pid} ({words})" if words else f"pid {pid}"


def of_port(port: int, proc: Path = Path("/proc")) -> list[int]:
    """Pids of the processes that listen on a TCP port of any local address, as far as they can be seen."""
    wanted = {f"socket:[{inode}]" for inode in _listening_inodes(port, proc)}
    if not wanted:
        return []
    return sorted(pid for pid in _pids(proc) if not wanted.isdisjoint(_descriptors(proc / str(pid) / "fd")))


def _listening_inodes(port: int, proc: Path) -> Iterator[str]:
    for table in ("net/tcp", "net/tcp6"):
        try:
            lines = (proc / table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if len(fields) > 9 and fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                yield fields[9]


def _pids(proc: Path) -> Iterator[int]:
    return (int(entry.name) for entry in proc.iterdir() if entry.name.isdecimal())


def _descriptors(folder: Path) -> Iterator[str]:
    try:
        entries = list(folder.iterdir())
    except OSError:
        return  # gone meanwhile, or another user's
    for entry in entries:
        try:
            yield str(entry.readlink())
        except OSError:
            continue
