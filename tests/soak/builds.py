"""Builds of gwctl that are broken on purpose: each must score, or the soak's zeros prove nothing."""

from __future__ import annotations

from typing import Final

_MAIN: Final = "\nfrom gwctl.cli import main\nmain()\n"

BROKEN: Final = {
    # What three of the peers do: requests that are on their way meet a closed connection.
    "closes-idle": """
from gwctl.workers import server
from gwctl.workers.exchange import states

leave = server.Server._have_clients_leave

def close_idle_connections_at_once(self):
    leave(self)
    for connection in list(self._connections):
        if connection.state == states.IDLE:
            connection.transport.close()

server.Server._have_clients_leave = close_idle_connections_at_once
""",
    # The generation before is not drained but killed.
    "kills-at-reload": """
import signal
from gwctl.ipc.channel import Drain
from gwctl.supervisor.children.children import Children

send = Children.send

def kill_instead(self, worker, message, fds=()):
    if isinstance(message, Drain):
        self.signal(worker, signal.SIGKILL)
    else:
        send(self, worker, message, fds)

Children.send = kill_instead
""",
    # A connection that is handed over goes to two siblings, with what was read of its request.
    "replays": """
from gwctl.ipc.connection_queue import ConnectionQueue

send = ConnectionQueue.send

def send_twice(self, fd, header, data):
    return send(self, fd, header, data) and (send(self, fd, header, data) or True)

ConnectionQueue.send = send_twice
""",
    # Each reload costs the master a descriptor.
    "leaks": """
import os
from gwctl.supervisor.generations.generations import Generations

prepare = Generations.prepare

def prepare_and_leak(self, *asked):
    os.open("/dev/null", os.O_RDONLY)
    return prepare(self, *asked)

Generations.prepare = prepare_and_leak
""",
}


def script(name: str) -> str:
    return BROKEN[name] + _MAIN
