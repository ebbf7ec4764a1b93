"""What a master hands over in an upgrade: a snapshot, as JSON in a memory file, and inherited descriptors.

Rules
    - Values only: numbers, texts, descriptors. The reader may be another version of gwctl on another
      Python: what it does not know is ignored, what it misses has a default. A field whose meaning
      changes gets another name.
    - Descriptors keep their numbers across exec(2). `complete` lists every one that is named
      here: those are handed over, all others are closed by the kernel.
    - The file has the settings, so it may hold secrets: it is nobody else's, and closed when it is read.
    - Monotonic times stay as they are: the clock is the machine's, not the process's.
"""

from __future__ import annotations

import os
from typing import Any, Final

import msgspec

from gwctl.errors import UpgradeError
from gwctl.log import destination
from gwctl.supervisor.children.child import ChildSnapshot
from gwctl.supervisor.children.children_snapshot import ChildrenSnapshot
from gwctl.supervisor.children.legacy_scoreboard import BoardSnapshot
from gwctl.supervisor.children.outputs import OutputSnapshot
from gwctl.supervisor.children.totals import SlotTotals, Totals
from gwctl.supervisor.control.server import ControlSnapshot
from gwctl.supervisor.generations.connection_queues import ConnectionQueuesSnapshot
from gwctl.supervisor.generations.generations import GenerationsSnapshot
from gwctl.supervisor.generations.plan import PlanSnapshot
from gwctl.supervisor.history import HistorySnapshot
from gwctl.supervisor.listeners.listener_set import ListenerSnapshot
from gwctl.supervisor.log_level import LogLevelSnapshot
from gwctl.supervisor.service.announcer import AnnouncerSnapshot
from gwctl.supervisor.service.pidfile import PidfileSnapshot
from gwctl.supervisor.tally import Tally
from gwctl.supervisor.upgrade.program import ProgramSnapshot

FORMAT: Final = 2
"""Raised when a snapshot cannot be read by a program that knows the one before."""
_FORMAT_WITHOUT_OUTPUT: Final = 1
"""Nothing that is printed is captured: also a program that knows nothing of that can take over."""


class State(msgspec.Struct, frozen=True):
    """Everything that a master is. Times are monotonic, but for ``adopted_at``."""

    format: int
    was: str
    """The program that hands over: ``gwctl 0.1.0, Python 3.12.1``."""
    fleet: dict[str, Any]
    """As of `gwctl.supervisor.core.snapshot`."""
    name: str
    started_at: float
    adopted_at: float
    adopted_by: str
    tried_by: str
    handed_over_at: float
    command: ProgramSnapshot
    mask: tuple[int, ...]
    """Signals that were blocked when the master was started."""
    log_level: int
    log_lines: tuple[bytes, ...]
    children: tuple[ChildSnapshot, ...]
    settings: tuple[dict[str, Any], ...]
    boards: tuple[BoardSnapshot, ...]
    """Those for new workers, one for each pool; then older ones. (To a program of when there was one for all
    pools, the first was the one for new workers. It takes over any of them.)"""
    totals: dict[str, Totals]
    plans: dict[int, PlanSnapshot]
    adopted: int
    listeners: tuple[ListenerSnapshot, ...]
    logs: dict[str, int]
    exchanges: ConnectionQueuesSnapshot
    announced: AnnouncerSnapshot
    removed: dict[str, set[int]] = {}
    """By pool, the generations that have listeners which the one in force has not."""
    sampled_at: float = 0.0
    outputs: tuple[OutputSnapshot, ...] = ()
    descriptors: tuple[int, ...] = ()
    """All that are named elsewhere here: what the rescue hands on without understanding more."""
    passed: dict[str, tuple[int, ...]] = {}
    """What systemd passed, by name."""
    fd_store: tuple[str, ...] = ()
    """Names of the listeners that systemd keeps."""
    control: ControlSnapshot | None = None
    pidfile: PidfileSnapshot | None = None
    history: HistorySnapshot = HistorySnapshot()
    log_level_asked: LogLevelSnapshot | None = None
    admin: tuple[int, ...] = ()
    """Pids of admin processes."""
    slots: dict[str, dict[int, SlotTotals]] = {}
    tally: Tally = msgspec.field(default_factory=Tally)
    log_lines_lost: int = 0
    begun: dict[str, Any] | None = None
    begun_log: dict[str, Any] | None = None
    """[master] and [log] as the master was started with; None: a program that did not keep them."""
    log_to: str = destination.STDERR
    """Where `log_lines` were to go."""
    metrics_folder: str = ""
    """Of the applications' own metrics."""

    @property
    def of_children(self) -> ChildrenSnapshot:
        return ChildrenSnapshot(
            self.children,
            self.settings,
            self.boards,
            self.totals,
            self.sampled_at,
            self.slots,
            self.outputs,
        )

    @property
    def of_generations(self) -> GenerationsSnapshot:
        return GenerationsSnapshot(
            self.plans,
            self.adopted,
            self.removed,
            self.logs,
            self.listeners,
            self.passed,
            self.begun,
            self.begun_log,
        )


def format_of(outputs: tuple[OutputSnapshot, ...]) -> int:
    """What a program has to know to take over: workers whose output nobody read would wait for ever."""
    return FORMAT if outputs else _FORMAT_WITHOUT_OUTPUT


def complete(state: State) -> State:
    """Add the list of every descriptor that is handed over."""
    fds = {fd for child in state.children for fd in (child.channel.fd, child.pidfd, child.dump_fd)}
    fds.update(fd for child in state.children for _, each in child.channel.queue for fd in each)
    fds.update(board.fd for board in state.boards)
    fds.update(each.fd for each in state.outputs)
    fds.update(fd for listener in state.listeners for fd, _ in listener.sockets)
    fds.update(fd for each in state.passed.values() for fd in each)
    fds.update(state.logs.values())
    fds.update(fd for pair in state.exchanges.fds.values() for fd in pair)
    if state.control is not None:
        fds.update({state.control.fd, *(client.fd for client in state.control.clients)})
    if state.pidfile is not None:
        fds.add(state.pidfile.fd)
    fds.add(state.command.copy_fd)
    return msgspec.structs.replace(state, descriptors=tuple(sorted(fd for fd in fds if fd > 2)))


def write(state: State) -> int:
    """Put ``state`` into a memory file; returns its descriptor.

    Raises:
        UpgradeError: A path or an argument is no text. (In Linux it need not be.)
        OSError: No memory, or no descriptor left.
    """
    try:
        data = msgspec.json.encode(state)
    except UnicodeEncodeError as error:
        raise UpgradeError(f"{error.object!r} is not UTF-8: it cannot be handed over") from None
    fd = os.memfd_create("gwctl-state", os.MFD_CLOEXEC)
    with os.fdopen(fd, "wb", closefd=False) as file:
        file.write(data)
    return fd


def read(fd: int) -> State:
    """Read what `write` wrote, maybe of another version.

    Raises:
        UpgradeError: It is not a state that this program understands.
    """
    size = os.fstat(fd).st_size
    data = b""
    while len(data) < size:
        block = os.pread(fd, size - len(data), len(data))
        if not block:
            break
        data += block
    try:
        state = msgspec.json.decode(data, type=State)
    except (ValueError, RecursionError) as error:
        raise UpgradeError(f"the state of the running master is not understood: {error}") from None
    if state.format > FORMAT:
        raise UpgradeError(f"the running master ({state.was}) hands over in format {state.format}")
    return state
