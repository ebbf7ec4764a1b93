"""What the master hands to a new worker across the fork: one object, nothing global."""

from __future__ import annotations

import os
import signal
import socket
import sys
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from gwctl.config.model.settings import PoolSettings
from gwctl.config.model.statsd import StatsdSettings
from gwctl.ipc.channel import Channel
from gwctl.ipc.connection_queue import ConnectionQueue
from gwctl.ipc.output_pipes import WorkerEnds
from gwctl.ipc.scoreboard import Record, Scoreboard
from gwctl.log import destination
from gwctl.log.json_lines import Origin
from gwctl.log.level import Level
from gwctl.log.output_lines import Printed

if TYPE_CHECKING:
    import ssl

DUMP_SIGNAL: Final = signal.SIGRTMIN + 3 if sys.platform == "linux" else signal.SIGUSR2
"""Makes a worker write the stacks of all its threads to stderr. Not ABRT: that one dumps core."""
EXPLAIN_SIGNAL: Final = signal.SIGRTMIN + 4 if sys.platform == "linux" else DUMP_SIGNAL
"""The same, to where its master reads them."""
INSPECT_SIGNAL: Final = signal.SIGRTMIN + 5 if sys.platform == "linux" else None
"""Makes a worker whose loop does not turn say what it is at, and go on: in Python, so nothing can break."""
CURRENT_REQUEST: Final = "Current request: "
"""Begins the line that may follow the stacks: since how many seconds which request has the loop."""


EXIT_GRACE_S: Final = 2.0
"""How long a worker takes at most for its end when no time is left for work: see
`gwctl.workers.lifecycle.exit_steps`."""


class Listener(Struct, frozen=True):
    """A bound, listening, non-blocking socket.

    ``address`` is how the settings name it (``127.0.0.1:8000``, ``unix:/run/x.sock``, ``fd:3``);
    ``url`` is what a person can open (``http://127.0.0.1:8000``).
    """

    sock: socket.socket
    address: str
    url: str
    tls: bool = False
    """Clients speak TLS here."""


class AdminParts(Struct, frozen=True):
    """What the admin process has that no worker has."""

    control: socket.socket
    """Connected to the control server."""
    token: str
    """Of those who may change things; empty: nobody may."""
    metrics_folder: str = ""
    """Where the applications' own metrics are, a folder for each pool; empty: nowhere."""
    statsd: StatsdSettings = StatsdSettings()
    """Where figures are sent."""


class Assignment(Struct, frozen=True):
    """Everything a worker needs to know about itself."""

    worker: int
    pool: str
    slot: int
    generation: int
    instance: str
    """Name of the master, for the process title: ``gwctl: worker web.2 g3 [shop]``."""
    settings: PoolSettings
    processes: int
    """Size of the pool: wsgi.multiprocess is true when over 1."""
    listeners: tuple[Listener, ...]
    channel: Channel
    record: Record
    access_log_fd: int
    """-1: no access log."""
    log_level: Level
    master_pid: int
    board: Scoreboard | None = None
    """Where the records of the siblings are; None: nothing is shared with any."""
    queue: ConnectionQueue | None = None
    """Where workers of the pool pass connections on to each other."""
    threads_given: bool = False
    """The settings name a number of threads: with ``worker = "auto"``, WSGI then runs in threads."""
    tls: ssl.SSLContext | None = None
    """For the listeners that speak TLS; made by the master, so that all workers of a generation use the
    same keys, also those that encrypt session tickets."""
    dump_fd: int = 2
    """Where `EXPLAIN_SIGNAL` writes the stacks: a memory file that the master reads, or stderr."""
    log_lock_fd: int = -1
    """Of the lock for long records in the event log; -1: there is none."""
    template: bool = False
    """It is no worker, but the process that workers of its pool and generation are forked from."""
    lifeline_fd: int = -1
    """Held open for as long as this process lives, so that its template knows; -1: it has none."""
    admin: AdminParts | None = None
    """It is no worker of a pool, but the admin process."""
    log_json: bool = False
    """The event log is JSON."""
    log_to: str = destination.STDERR
    """Where it goes: `gwctl.log.destination.settled`."""
    metrics_folder: str = ""
    """Its pool's, in which it makes one of its own for the application's metrics; empty: it makes none."""
    output: WorkerEnds | None = None
    """Where it prints, and the master reads; None: where the master does."""
    trial: bool = False
    """Only import the application, say `WorkerReady` and exit 0 (``gwctl check --app``)."""

    @property
    def title(self) -> str:
        """What process titles say of it: ``worker web.2 g3 [shop]``."""
        kind = "template " if self.template else "worker " if self.admin is None else ""
        return f"{kind}{self.subject} [{self.instance}]"

    @property
    def origin(self) -> Origin:
        """The same for lines of JSON."""
        if self.admin is not None:
            return Origin(self.instance)
        return Origin(self.instance, self.pool, -1 if self.template else self.slot, self.generation)

    @property
    def printed(self) -> Printed:
        """Who prints what this process prints, on whichever stream."""
        return Printed(self.subject, os.getpid(), self.origin, "")

    @property
    def subject(self) -> str:
        """The subject column of this worker's log lines."""
        if self.admin is not None:
            return "admin"
        if self.template:
            return f"{self.pool} g{self.generation}"
        return f"{self.pool}.{self.slot} g{self.generation}"
