"""What each request of a control client asks of the master."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, assert_never

from gwctl.control import protocol
from gwctl.supervisor.control.follower import Follower
from gwctl.supervisor.control.server import Handle
from gwctl.supervisor.core import events
from gwctl.supervisor.history import History


def control_handler(
    status: Callable[[], dict[str, Any]],
    ask: Callable[[events.Event], None],
    ask_to_stop: Callable[[events.RequestId, str], None],
    history: History,
) -> Handle:
    """What the control server calls for each request. The core answers later what changes something."""

    def handle(request: int, method: protocol.Method) -> dict[str, Any] | Follower | None:
        match method:
            case protocol.Status():
                return status()
            case protocol.Events():
                return Follower.begin(history, method)
            case protocol.Reload():
                ask(events.ReloadAsked(request, "gwctl reload"))
            case protocol.Rollback():
                ask(events.RollbackAsked(request, "gwctl rollback"))
            case protocol.Stop(quick=True):
                ask(events.StopAsked(request, "gwctl stop", quick=True))
            case protocol.Upgrade():
                ask(events.UpgradeAsked(request, "gwctl upgrade"))
            case protocol.Stop():
                ask_to_stop(request, "gwctl stop")
            case protocol.Scale(pool=pool, size=size, delta=delta):
                ask(events.ScaleAsked(request, pool, size, delta or 0))
            case _:
                assert_never(method)
        return None

    return handle
