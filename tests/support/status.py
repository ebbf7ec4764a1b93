"""What ``gwctl status --json`` says, as tests ask it."""

from __future__ import annotations

import json
import os
from typing import Any

from gwctl.control.client import ControlClient
from gwctl.control.paths import control_path
from gwctl.control.protocol import Status
from tests.support.server import GwctlServer

TIMEOUT_S = 20.0


def control_of(server: GwctlServer) -> ControlClient:
    """A client at the control socket: a command takes longer to start than the master to answer.

    Raises:
        ControlError: Nobody is there.
    """
    name = server.tables["master"]["name"]
    return ControlClient(control_path(name, {"RUNTIME_DIRECTORY": str(server.folder)}, os.geteuid()))


def status_of(server: GwctlServer, timeout_s: float = TIMEOUT_S) -> dict[str, Any]:
    """The whole document, by way of the control socket.

    Raises:
        ControlError: The master does not answer.
    """
    with control_of(server) as client:
        return client.call("status", Status(), timeout_s=timeout_s)


def printed_status(server: GwctlServer) -> dict[str, Any]:
    """What the command prints: of the installation that the server was started with, which may be another version."""
    document: dict[str, Any] = json.loads(server.gwctl("status", "--json").stdout)
    return document


def active_requests(server: GwctlServer) -> int:
    """Requests that are in an application now, in all workers."""
    return sum(worker["active"] for pool in status_of(server)["pools"] for worker in pool["workers"])
