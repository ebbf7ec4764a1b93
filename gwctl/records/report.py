"""What was known of a process when it had to be killed: requests, stacks, what the kernel says of it."""

from __future__ import annotations

from msgspec import Struct


class ThreadReport(Struct, frozen=True):
    """One thread that is at something."""

    ident: int
    name: str
    main: bool
    request: str = ""
    request_s: float | None = None
    """None: it is the request of the whole process."""
    frames: tuple[str, ...] = ()
    """Of the application, the innermost first."""


class TaskReport(Struct, frozen=True):
    """One asyncio task."""

    name: str
    request: str = ""
    request_s: float = 0.0
    frames: tuple[str, ...] = ()


class ProcessReport(Struct, frozen=True):
    up_s: float
    requests: int
    """Answered in its life."""
    memory_bytes: int
    under_way: int = 0
    request: str = ""
    """That which the scoreboard names, else that which has the loop."""
    request_s: float = 0.0
    kernel_state: str = ""
    """One letter, as in /proc/PID/stat."""
    waits_in: str = ""
    """The kernel's function."""
    threads: tuple[ThreadReport, ...] = ()
    idle_threads: int = 0
    tasks: tuple[TaskReport, ...] = ()
    more_tasks: int = 0
    truncated: bool = False
    """There were more frames than anybody would read."""

    @property
    def has_stacks(self) -> bool:
        return bool(self.threads or self.idle_threads)
