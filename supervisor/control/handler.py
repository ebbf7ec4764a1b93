"""What each request of a control client asks of the master."""

from __future__ import annotations

import time
from typing import Any, Protocol, assert_never

import msgspec

from gwctl.control import protocol
from gwctl.control.difference import Differences
from gwctl.errors import ControlError
from gwctl.log.level import Level
from gwctl.supervisor.children.profiles import Profiles
from gwctl.supervisor.control.follower import Follower
from gwctl.supervisor.control.server import Handle
from gwctl.supervisor.core import events
from gwctl.supervisor.history import History
from gwctl.supervisor.log_level import LogLevel

_OfTheFleet = (
    protocol.Reload
    | protocol.Restart
    | protocol.Rollback
    | protocol.Stop
    | protocol.Upgrade
    | protocol.Scale
    | protocol.Recycle
    | protocol.TakeOver
)


class Asked(Protocol):
    """A master, as far as clients ask for it."""

    log_level: LogLevel
    profiles: Profiles

    def status(self) -> dict[str, Any]: ...
    def metrics(self) -> dict[str, Any]: ...
    def health(self) -> dict[str, Any]: ...
    def diff(self) -> Differences: ...
    def ask(self, event: events.Event) -> None: ...
    def dump(self, request: events.RequestId, worker: str) -> None: ...
    def requests(self, request: events.RequestId, worker: str) -> None: ...
    def ask_to_stop(self, request: events.RequestId, source: str) -> None: ...


def control_handler(master: Asked, history: History) -> Handle:
    """What the control server calls for each request. What changes the fleet the core answers later."""

    def handle(request: int, method: protocol.Method, user: str) -> dict[str, Any] | Follower | None:
        by = f" by {user}" if user else ""
        match method:
            case protocol.Status():
                return master.status()
            case protocol.Metrics():
                return master.metrics()
            case protocol.Health():
                return master.health()
            case protocol.Diff():
                found: dict[str, Any] = msgspec.to_builtins(master.diff())
                return found
            case protocol.Events():
                return Follower.begin(history, method)
            case protocol.LogLevel(level=level, for_s=for_s):
                if level is not None:
                    master.log_level.ask(Level[level.upper()], for_s, f"gwctl log-level{by}")
                return master.log_level.report()
            case protocol.Dump(worker=worker):
                master.dump(request, worker)
            case protocol.Requests(worker=worker):
                master.requests(request, worker)
            case protocol.Profile():
                master.profiles.begin(request, method, user, time.monotonic())
            case protocol.Stop(quick=False):
                master.ask_to_stop(request, f"gwctl stop{by}")
            case _:
                master.ask(_for_the_core(request, method, by))
        return None

    return handle


def _for_the_core(request: events.RequestId, method: _OfTheFleet, by: str) -> events.Event:
    match method:
        case protocol.Reload(pools=pools):
            return events.ReloadAsked(request, *_of_pools("gwctl reload", pools, by))
        case protocol.Restart(pools=pools):
            return events.RestartAsked(request, *_of_pools("gwctl restart", pools, by))
        case protocol.Rollback():
            return events.RollbackAsked(request, f"gwctl rollback{by}")
        case protocol.Stop():
            return events.StopAsked(request, f"gwctl stop{by}", quick=True)
        case protocol.Upgrade():
            return events.UpgradeAsked(request, f"gwctl upgrade{by}")
        case protocol.Scale(pool=pool, size=size, delta=delta, auto=auto):
            return events.ScaleAsked(request, pool, size, delta or 0, f"gwctl scale{by}", auto)
        case protocol.TakeOver(pid=pid, patience_s=patience_s):
            if by:  # root or our own user is nobody of those that [control] allow_users names
                raise ControlError(f"not to be taken over{by}: its own user and root may")
            return events.TakeoverAsked(request, f"gwctl start --takeover, pid {pid}", patience_s)
        case protocol.Recycle(pool=pool, slot=slot):
            return events.RecycleAsked(request, pool, slot)
        case _:
            assert_never(method)


def _of_pools(command: str, pools: tuple[str, ...], by: str) -> tuple[str, tuple[str, ...]]:
    """For the log, and each name once."""
    named = tuple(dict.fromkeys(pools))
    return " ".join((command, *named)) + by, named
