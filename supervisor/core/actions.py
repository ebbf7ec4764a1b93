"""What the core decided: verbs for the shell to carry out, in order.

An action can fail; its result comes back as an event, never as a return value. Every intent
is recorded in the core before the action is returned.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from gwctl.records import AnyRecord
from gwctl.records.master import MasterGaveUp, MasterStopped
from gwctl.supervisor.core.events import RequestId, WorkerId
from gwctl.watched import Watched


class Spawn(Struct, frozen=True):
    """Fork a worker, or (in slot `life.TEMPLATE`) a template. Answered by Spawned or SpawnFailed."""

    worker: WorkerId
    pool: str
    slot: int
    generation: int
    template: WorkerId | None = None
    """Have it forked by this one."""


class Serve(Struct, frozen=True):
    """Tell a ready or parked worker to accept."""

    worker: WorkerId


class Park(Struct, frozen=True):
    """Tell it to stop accepting and stay alive."""

    worker: WorkerId


class ReleaseClients(Struct, frozen=True):
    """Tell it to park, and to have its clients leave: `Connection: close` on each further response."""

    worker: WorkerId


class Drain(Struct, frozen=True):
    """Tell it to finish and exit. ``sweep`` as in `gwctl.ipc.channel.Drain`."""

    worker: WorkerId
    timeout_s: float
    sweep: bool = False


class Observe(Struct, frozen=True):
    """Read the scoreboard. Answered by an Observed for each process, as far as it can be read."""

    load_of: tuple[str, ...] = ()
    """Pools of which a LoadObserved is wanted too, as soon as it can be said."""


class Measure(Struct, frozen=True):
    """Read what the workers of these pools have counted. Answered by one Measured."""

    pools: tuple[str, ...]


class Quit(Struct, frozen=True):
    """Send SIGQUIT: end quickly."""

    worker: WorkerId


class Dump(Struct, frozen=True):
    """Have the process write its stacks to the log; a Kill follows when it had time for it."""

    worker: WorkerId
    reason: str


class Spare(Struct, frozen=True):
    """It was to be killed, and need not: write down what it was dumped for."""

    worker: WorkerId
    reason: str


class Kill(Struct, frozen=True):
    """Send SIGKILL."""

    worker: WorkerId
    reason: str


class Note(Struct, frozen=True):
    """Something happened: for the log, and whoever else wants to know."""

    record: AnyRecord


class Prepare(Struct, frozen=True):
    """Read and validate the settings, bind what is new. Answered by Prepared or PrepareFailed."""

    generation: int
    pools: tuple[str, ...] = ()
    """Take only what is of these; empty: all."""


class Restore(Struct, frozen=True):
    """Bring the listeners back to what a kept generation has. Answered as Prepare is."""

    generation: int


class Adopt(Struct, frozen=True):
    """The generation is committed: close listeners that no other has. ``kept``: for a rollback."""

    generation: int
    kept: int = 0
    pools: tuple[str, ...] = ()
    """Only these have changed; empty: perhaps everything."""


class Release(Struct, frozen=True):
    """The generation is no longer kept: forget its settings, close what only it had."""

    generation: int


class Abandon(Struct, frozen=True):
    """It was not adopted: close listeners that only it had; forget its settings, unless it is kept."""

    generation: int


class CheckUpgrade(Struct, frozen=True):
    """Have the program on disk read this fleet's snapshot. Answered by UpgradeChecked or UpgradeFailed."""


class AbandonUpgrade(Struct, frozen=True):
    """End that check; its answer is no longer wanted."""


class ExecuteUpgrade(Struct, frozen=True):
    """Execute the program on disk, when all else of this step is done, if `FleetState.executing` still holds.

    Answered by Upgraded or UpgradeFailed, before anything else is news.
    """


class OfferListeners(Struct, frozen=True):
    """Answer the request with copies of all listeners, and hear from now on what becomes of who has them.

    Answered by SuccessorReady or SuccessorEnded.
    """

    request: RequestId


class Withdraw(Struct, frozen=True):
    """Who has copies is not to use them: say so, and set back what it may have changed of the listeners."""

    reason: str


class HandOver(Struct, frozen=True):
    """Give control socket, pid file and listeners up for who has copies, and say so."""


class Claim(Struct, frozen=True):
    """Tell the master before that this one serves. Answered by Succeeded or TakeoverDenied."""


class Desist(Struct, frozen=True):
    """Tell the master before that this one will not take its place."""

    reason: str


class Settle(Struct, frozen=True):
    """Own what the master before has given up: control socket, pid file; begin what may be only once."""


class Progress(Struct, frozen=True):
    """A phase of what was asked for, for whoever waits. ``outcome`` is '', 'ok' or 'FAILED'."""

    request: RequestId
    pool: str
    phase: str
    outcome: str
    detail: str = ""
    watched: Watched | None = None
    """Of a phase that watches: what has been seen so far."""


class Answer(Struct, frozen=True):
    """The last word to a request. ``result`` is JSON-ready."""

    request: RequestId
    ok: bool
    text: str
    result: dict[str, Any]


class CloseListeners(Struct, frozen=True):
    """The fleet stops: the master closes its own copies so that new clients are refused at once."""


class Finish(Struct, frozen=True):
    """All workers are gone; the master ends with this exit status."""

    status: int
    record: MasterStopped | MasterGaveUp
    """Its last words."""


WorkerAction = Spawn | Serve | Park | ReleaseClients | Drain | Quit | Dump | Spare | Kill
GenerationAction = Prepare | Restore | Adopt | Release | Abandon
UpgradeAction = CheckUpgrade | AbandonUpgrade | ExecuteUpgrade
TakeoverAction = OfferListeners | Withdraw | HandOver | Claim | Desist | Settle
Action = (
    WorkerAction
    | GenerationAction
    | UpgradeAction
    | TakeoverAction
    | Observe
    | Measure
    | Note
    | Progress
    | Answer
    | CloseListeners
    | Finish
)
