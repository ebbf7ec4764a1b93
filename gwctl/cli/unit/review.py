"""Where a service unit contradicts the settings: pure, one function for each thing that is looked at."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from gwctl.cli.unit.needs import Needs
from gwctl.cli.unit.service import FOLDERS, HOMES
from gwctl.cli.unit.unit_file import UnitFile, seconds_of
from gwctl.config.model.types import MASTER_GROUP
from gwctl.errors import ExitStatus

_STOP_DEFAULT_S: Final = 90.0
_READ_ONLY: Final = {"strict": [Path("/")], "full": [Path("/usr"), Path("/boot"), Path("/efi"), Path("/etc")]}
_TEMPORARY: Final = (Path("/tmp"), Path("/var/tmp"))  # noqa: S108 - places that a unit may hide


def review(unit: UnitFile, needs: Needs) -> list[str]:
    """Each contradiction, with the line that mends it."""
    return [text for check in _CHECKS for text in check(unit, needs)]


def _type(unit: UnitFile, _needs: Needs) -> Iterator[str]:
    kind = unit.one("Type") or "simple"
    if kind not in {"notify", "notify-reload"}:
        yield f"Type={kind}: what is ordered after it starts before it serves. Set Type=notify"
    elif unit.one("NotifyAccess") == "all":
        yield "NotifyAccess=all: any worker can speak for the service. Set NotifyAccess=main"
    elif unit.one("NotifyAccess") == "none":
        yield "NotifyAccess=none: systemd never hears that it is ready. Set NotifyAccess=main"


def _command(unit: UnitFile, needs: Needs) -> Iterator[str]:
    started = unit.one("ExecStart")
    named = [Path(each) for each in _words(started) if each.endswith(".toml")]
    folder = Path(unit.one("WorkingDirectory").lstrip("-") or "/")
    if named and "%" not in str(named[0]) and folder / named[0] != needs.config:
        yield f"ExecStart= starts it with {folder / named[0]}, not with {needs.config}"


def _reload(unit: UnitFile, _needs: Needs) -> Iterator[str]:
    asked = unit.all("ExecReload")
    if not asked and unit.one("Type") != "notify-reload":
        yield "no ExecReload=: systemctl reload is not possible. Set ExecReload=... gwctl reload -c ..."
    elif any("HUP" in each for each in asked):
        yield (
            "ExecReload= sends a signal and does not wait: a reload that is refused looks like one that is "
            "adopted. Set ExecReload=... gwctl reload -c ..."
        )


def _kill_mode(unit: UnitFile, _needs: Needs) -> Iterator[str]:
    mode = unit.one("KillMode") or "control-group"
    if mode == "control-group":
        yield (
            "KillMode=control-group: at a stop systemd signals the workers, whom the master tells itself; if "
            "that is killed, they are killed with their requests in hand. Set KillMode=process"
        )
    elif mode == "mixed":
        yield (
            "KillMode=mixed: if the master is killed, systemd kills its workers with their requests in hand. "
            "Set KillMode=process"
        )
    elif mode == "none":
        yield "KillMode=none: a master that does not end is left behind. Set KillMode=process"


def _times(unit: UnitFile, needs: Needs) -> Iterator[str]:
    text = unit.one("TimeoutStopSec") or unit.one("TimeoutSec")
    stop_s = seconds_of(text) if text else _STOP_DEFAULT_S
    kind = unit.one("Type")
    if stop_s is not None and stop_s < needs.stop_s and not kind.startswith("notify"):
        yield (
            f"TimeoutStopSec={text or '90'} is less than drain_delay_s and drain_timeout_s: requests are "
            f"cut. Set TimeoutStopSec={math.ceil(needs.stop_s)}"
        )
    watchdog_s = seconds_of(unit.one("WatchdogSec"))
    if watchdog_s is not None and 0 < watchdog_s < 2:
        yield f"WatchdogSec={unit.one('WatchdogSec')}: a busy machine is late by as much. Set WatchdogSec=30"


def _restart(unit: UnitFile, _needs: Needs) -> Iterator[str]:
    restarts = unit.one("Restart") or "no"
    if restarts == "no":
        yield "Restart=no: a master that dies stays dead. Set Restart=on-failure"
        return
    prevented = " ".join(unit.all("RestartPreventExitStatus")).split()
    if str(int(ExitStatus.SETTINGS)) not in prevented and "SETTINGS" not in prevented:
        yield (
            f"mistakes in gw.toml (exit status {int(ExitStatus.SETTINGS)}) are started again and again. Set "
            f"RestartPreventExitStatus={int(ExitStatus.SETTINGS)} {int(ExitStatus.APP_NOT_IMPORTED)}"
        )


def _user(unit: UnitFile, needs: Needs) -> Iterator[str]:
    dynamic, user = unit.is_on("DynamicUser"), unit.one("User")
    if needs.needs_root and (dynamic or user not in {"", "root", "0"}):
        yield (
            f"the service runs as {user or 'a user of systemd'}, and pools become "
            f"{', '.join(each or 'the same' for each in needs.users)}: only root can. Set User=root"
        )
    elif needs.user and dynamic:
        yield f"DynamicUser=yes and user = {needs.user} in the settings contradict. Set User={needs.user}"
    elif needs.user and user not in {"", "root", "0", needs.user}:
        can = "only root can"
        yield f"the service runs as {user}, and pools become {needs.user}: {can}. Set User={needs.user}"
    root = not dynamic and user in {"", "root", "0"}
    if (
        needs.low_ports
        and not root
        and "CAP_NET_BIND_SERVICE" not in " ".join(unit.all("AmbientCapabilities"))
    ):
        yield "a port below 1024 cannot be bound. Set AmbientCapabilities=CAP_NET_BIND_SERVICE"


def _capabilities(unit: UnitFile, needs: Needs) -> Iterator[str]:
    bounded = [each for each in unit.directives if each.key == "CapabilityBoundingSet"]
    allowed = " ".join(unit.all("CapabilityBoundingSet"))
    if not bounded or allowed.startswith("~"):
        return
    needed = [*(["CAP_SETUID", "CAP_SETGID"] if needs.needs_root else [])]
    needed += ["CAP_NET_BIND_SERVICE"] if needs.low_ports else []
    missing = [each for each in needed if each not in allowed]
    if missing:
        yield f"CapabilityBoundingSet= lacks {' '.join(missing)}, which the settings need"


def _sockets(unit: UnitFile, needs: Needs) -> Iterator[str]:
    asked = " ".join([*unit.all("Sockets"), *unit.all("Requires", "Unit"), *unit.all("Wants", "Unit")])
    if needs.sockets and not unit.has_socket and ".socket" not in asked:
        names = ", ".join(f"systemd:{each}" for each in needs.sockets)
        yield f"the settings bind {names}, and the unit names no socket unit. Set Requires=NAME.socket"
    kept = unit.one("FileDescriptorStoreMax")
    if kept.isdecimal() and 0 < int(kept) < needs.listeners:
        yield (
            f"FileDescriptorStoreMax={kept} is less than the {needs.listeners} listeners that are bound: "
            f"none is kept. Set FileDescriptorStoreMax={needs.listeners}"
        )
    elif needs.listeners and not kept:
        yield (
            "a restart refuses connections: systemd does not keep the listeners. Set "
            f"FileDescriptorStoreMax={needs.listeners} or more"
        )
    allowed = " ".join(unit.all("RestrictAddressFamilies"))
    if allowed and not allowed.startswith("~"):
        lacks = [
            each for each in ("AF_UNIX", *(["AF_INET"] if needs.tcp else [])) if each not in allowed.split()
        ]
        if lacks:
            yield f"RestrictAddressFamilies= lacks {' '.join(lacks)}"
    if unit.is_on("PrivateNetwork") and needs.tcp and not needs.sockets:
        yield "PrivateNetwork=yes: nobody reaches what is bound. Take it out, or use a socket unit"


def _writes(unit: UnitFile, needs: Needs) -> Iterator[str]:
    protected = _READ_ONLY.get(unit.one("ProtectSystem"), [])
    for path in needs.writes:
        if any(path.is_relative_to(top) for top in protected) and not _writable(unit, path.parent):
            yield (
                f"{path} cannot be written (ProtectSystem={unit.one('ProtectSystem')}). Set "
                f"ReadWritePaths={path.parent}"
            )
        if unit.is_on("PrivateTmp") and any(path.is_relative_to(top) for top in _TEMPORARY):
            yield f"{path} is in the service's own /tmp, where nobody else finds it (PrivateTmp=yes)"


def _words(value: str) -> list[str]:
    """As systemd takes a line apart; what it would refuse is left whole."""
    try:
        return [each.replace("%%", "%") for each in shlex.split(value)]
    except ValueError:
        return [value]


def _writable(unit: UnitFile, folder: Path) -> bool:
    given = [
        top / name for kind, top in FOLDERS.items() for value in unit.all(kind) for name in _words(value)
    ]
    given += [Path(each.lstrip("-+")) for value in unit.all("ReadWritePaths") for each in _words(value)]
    given += [Path("/dev"), Path("/proc"), Path("/sys"), *_TEMPORARY]
    return any(folder.is_relative_to(each) for each in given)


def _control(unit: UnitFile, needs: Needs) -> Iterator[str]:
    runs_as_root = not unit.is_on("DynamicUser") and unit.one("User") in {"", "root", "0"}
    if needs.control == "auto" and not unit.all("RuntimeDirectory") and not runs_as_root:
        yield (
            "there is no folder for the control socket: gwctl reload and gwctl status cannot reach it. Set "
            f"RuntimeDirectory=gwctl-{needs.name}"
        )


def _seen(unit: UnitFile, needs: Needs) -> Iterator[str]:
    hides = unit.one("ProtectHome").lower() in {"yes", "true", "1", "on", "tmpfs"}
    for path in dict.fromkeys(needs.outside) if hides else ():
        if any(path.is_relative_to(home) for home in HOMES):
            yield f"{path} cannot be seen (ProtectHome={unit.one('ProtectHome')}). Set ProtectHome=read-only"
    if unit.is_on("PrivateTmp"):
        for path in dict.fromkeys(needs.outside):
            if any(path.is_relative_to(top) for top in _TEMPORARY):
                yield f"{path} cannot be seen (PrivateTmp=yes): move it out of /tmp"


def _files(unit: UnitFile, needs: Needs) -> Iterator[str]:
    limit = unit.one("LimitNOFILE").rpartition(":")[2]
    if limit.isdecimal() and int(limit) < needs.files:
        yield (
            f"LimitNOFILE={limit} is less than connections_max and nofile of the settings need. Set "
            f"LimitNOFILE={needs.files}"
        )


def _groups(unit: UnitFile, _needs: Needs) -> Iterator[str]:
    if unit.one("Delegate") in {"", "no", "false", "off", "0"}:
        return
    if unit.one("DelegateSubgroup") != MASTER_GROUP:
        yield (
            "Delegate= without a group for the master: workers get no control groups of their own. Set "
            f"DelegateSubgroup={MASTER_GROUP}"
        )
    if unit.one("ProtectControlGroups") in {"yes", "true", "on", "1", "strict"}:
        yield "ProtectControlGroups= hides what Delegate= gives. Take one of them out"


_CHECKS: Final[tuple[Callable[[UnitFile, Needs], Iterator[str]], ...]] = (
    _type,
    _command,
    _reload,
    _kill_mode,
    _times,
    _restart,
    _user,
    _capabilities,
    _sockets,
    _writes,
    _control,
    _seen,
    _files,
    _groups,
)
