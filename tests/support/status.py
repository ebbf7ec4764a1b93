"""What ``gwctl status --json`` says, as tests ask it."""

from __future__ import annotations

import json
from typing import Any

from tests.support.server import GwctlServer


def status_of(server: GwctlServer) -> dict[str, Any]:
    """The whole document; fails with what the command printed."""
    result = server.gwctl("status", "--json", "-c", str(server.config))
    assert result.returncode == 0, result.stderr
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def active_requests(server: GwctlServer) -> int:
    """Requests that are in an application now, in all workers."""
    return sum(worker["active"] for pool in status_of(server)["pools"] for worker in pool["workers"])
