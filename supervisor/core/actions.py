"""What the core decided: verbs for the shell to carry out, in order.

An action can fail; its result comes back as an event, never as a return value. Every intent
is recorded in the core before the action is returned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gwctl.supervisor.core.events import RequestId, WorkerId


@dataclass(frozen=True, slots=True)
class Spawn:
    """Fork a worker. Answered by Spawned or SpawnFailed."""

    worker: WorkerId
    pool: str
    slot: int
    generation: int


@dataclass(frozen=True, slots=True)
class Serve:
    """Tell a ready or parked worker to accept."""

    worker: WorkerId


@dataclass(frozen=True, slots=True)
class Park:
    """Tell it to stop accepting and stay alive."""

    worker: WorkerId


@dataclass(frozen=True, slots=True)
class Drain:
    """Tell it to finish and exit. ``sweep`` as in `gwctl.channel.Drain`."""

    worker: WorkerId
    timeout_s: float
    sweep: bool = False


@dataclass(frozen=True, slots=True)
class Observe:
    """Read the scoreboard. Answered by an Observed for each process, as far as it can be read."""


@dataclass(frozen=True, slots=True)
class Quit:
    """Send SIGQUIT: end quickly."""

    worker: WorkerId


@dataclass(frozen=True, slots=True)
class Dump:
    """Have the process write its stacks to the log; a Kill follows when it had time for it."""

    worker: WorkerId
    reason: str


@dataclass(frozen=True, slots=True)
class Kill:
    """Send SIGKILL."""

    worker: WorkerId
    reason: str


@dataclass(frozen=True, slots=True)
class Note:
    """A log line about a worker, a pool or (both empty) the master. ``level`` as in gwctl.log."""

    level: str
    text: str
    pool: str = ""
    worker: WorkerId | None = None


@dataclass(frozen=True, slots=True)
class Prepare:
    """Read and validate the settings, bind what is new. Answered by Prepared or PrepareFailed."""

    generation: int


@dataclass(frozen=True, slots=True)
class Adopt:
    """The generation is committed: close listeners that only the previous one had."""

    generation: int


@dataclass(frozen=True, slots=True)
class Abandon:
    """The generation was not adopted: forget its settings, close listeners that only it had."""

    generation: int


@dataclass(frozen=True, slots=True)
class Progress:
    """A phase of a reload, for whoever waits. ``outcome`` is '', 'ok' or 'FAILED'."""

    request: RequestId
    pool: str
    phase: str
    outcome: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """The last word to a request. ``result`` is JSON-ready."""

    request: RequestId
    ok: bool
    text: str
    result: dict[str, Any]


@dataclass(frozen=True, slots=True)
class CloseListeners:
    """The fleet stops: the master closes its own copies so that new clients are refused at once."""


@dataclass(frozen=True, slots=True)
class Finish:
    """All workers are gone; the master ends with this exit status."""

    status: int
    text: str
    traceback: str = ""


Action = (
    Spawn
    | Serve
    | Park
    | Drain
    | Observe
    | Quit
    | Dump
    | Kill
    | Note
    | Prepare
    | Adopt
    | Abandon
    | Progress
    | Answer
    | CloseListeners
    | Finish
)
