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
    if not any("gwctl" in Path(each).name for each in _words(started)):
        yield f"ExecStart={started} does not name gwctl. Set ExecStart=... gwctl start -c {needs.config}"
    elif other := _other_settings(started, unit, needs):
        yield f"ExecStart= starts it with {other}, not with {needs.config}"


def _other_settings(command: str, unit: UnitFile, needs: Needs) -> Path | None:
    """The file that ``command`` names, if it is another one than that of the settings."""
    named = [Path(each) for each in _words(command) if each.endswith(".toml")]
    folder = Path(unit.one("WorkingDirectory").lstrip("-") or "/")
    if not named or "%" in str(named[0]) or folder / named[0] == needs.config:
        return None
    return folder / named[0]


def _reload(unit: UnitFile, needs: Needs) -> Iterator[str]:
    asked = unit.all("ExecReload")
    if not asked and unit.one("Type") != "notify-reload":
        yield "no ExecReload=: systemctl reload is not possible. Set ExecReload=... gwctl reload -c ..."
    elif any("HUP" in each for each in asked):
        yield (
            "ExecReload= sends a signal and does not wait: a reload that is refused looks like one that is "
            "adopted. Set ExecReload=... gwctl reload -c ..."
        )
    for each in asked:
        if other := _other_settings(each, unit, needs):
            yield f"ExecReload= reloads what {other} starts, not {needs.config}"


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


def _stop(unit: UnitFile, _needs: Needs) -> Iterator[str]:
    sent = unit.one("KillSignal") or "SIGTERM"
    if sent.removeprefix("SIG") not in {"TERM", "15"}:
        yield f"KillSignal={sent}: only SIGTERM lets requests finish. Set KillSignal=SIGTERM"
    if any({"-9", "-KILL", "-SIGKILL"} & set(_words(each.upper())) for each in unit.all("ExecStop")):
        yield "ExecStop= kills the master, and requests with it. Take it out: systemd sends SIGTERM itself"


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
    for each in needs.sockets if unit.passed else ():
        if each not in unit.passed:
            yield (
                f"the settings bind systemd:{each}, and the socket units beside it pass "
                f"{', '.join(unit.passed)}. Set FileDescriptorName={each} there"
            )
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
    if not needs.tcp or needs.sockets:
        return
    if unit.is_on("PrivateNetwork"):
        yield "PrivateNetwork=yes: nobody reaches what is bound. Take it out, or use a socket unit"
    if "any" in _listed(unit, "IPAddressDeny") and not unit.all("IPAddressAllow"):
        yield "IPAddressDeny=any: no packet reaches what is bound. Set IPAddressAllow= to who may, or any"
    if "any" in _listed(unit, "SocketBindDeny") and not unit.all("SocketBindAllow"):
        yield "SocketBindDeny=any: nothing can be bound. Set SocketBindAllow= to the ports of the settings"


def _writes(unit: UnitFile, needs: Needs) -> Iterator[str]:
    for path in needs.writes:
        key = next(
            (key for key, top in _read_only(unit) if path.is_relative_to(top)),
            "",
        )
        if key and not _writable(unit, path.parent):
            yield (f"{path} cannot be written ({key}={unit.one(key)}). Set ReadWritePaths={path.parent}")
        if unit.is_on("PrivateTmp") and any(path.is_relative_to(top) for top in _TEMPORARY):
            yield f"{path} is in the service's own /tmp, where nobody else finds it (PrivateTmp=yes)"


def _read_only(unit: UnitFile) -> Iterator[tuple[str, Path]]:
    """Places that cannot be written unless something else says so, each with the directive that says it."""
    for top in _READ_ONLY.get(unit.one("ProtectSystem"), []):
        yield "ProtectSystem", top
    if unit.one("ProtectHome").lower() == "read-only":
        yield from (("ProtectHome", home) for home in HOMES)
    for each in _listed(unit, "ReadOnlyPaths"):
        yield "ReadOnlyPaths", Path(each.lstrip("-+"))


def _listed(unit: UnitFile, key: str) -> list[str]:
    """All words of a directive that may stand there more than once."""
    return [each for value in unit.all(key) for each in _words(value)]


def _words(value: str) -> list[str]:
    """As systemd takes a line apart; what it would refuse is left whole."""
    try:
        return [each.replace("%%", "%") for each in shlex.split(value)]
    except ValueError:
        return [value]


def _writable(unit: UnitFile, folder: Path) -> bool:
    given = [top / name for kind, top in FOLDERS.items() for name in _listed(unit, kind)]
    given += [Path(each.lstrip("-+")) for each in _listed(unit, "ReadWritePaths")]
    given += [Path("/dev"), Path("/proc"), Path("/sys"), *_TEMPORARY]
    return any(folder.is_relative_to(each) for each in given)


def _control(unit: UnitFile, needs: Needs) -> Iterator[str]:
    runs_as_root = not unit.is_on("DynamicUser") and unit.one("User") in {"", "root", "0"}
    if needs.control == "auto" and not unit.all("RuntimeDirectory") and not runs_as_root:
        yield (
            "there is no folder for the control socket: gwctl reload and gwctl status cannot reach it. Set "
            f"RuntimeDirectory=gwctl-{needs.name}"
        )


def _preserved(unit: UnitFile, needs: Needs) -> Iterator[str]:
    if unit.one("RuntimeDirectoryPreserve") in {"restart", "yes", "true", "on", "1"}:
        return
    made = [FOLDERS["RuntimeDirectory"] / name for name in _listed(unit, "RuntimeDirectory")]
    for path in needs.unix_sockets:
        if any(path.is_relative_to(folder) for folder in made):
            yield (
                f"a restart removes {path}, and refuses who connects meanwhile. Set "
                "RuntimeDirectoryPreserve=restart"
            )


def _seen(unit: UnitFile, needs: Needs) -> Iterator[str]:
    shown = [Path(each.lstrip("-").split(":")[-1]) for each in _bound(unit)]
    looked_for = [
        path for path in dict.fromkeys(needs.outside) if not any(path.is_relative_to(each) for each in shown)
    ]
    hides = unit.one("ProtectHome").lower() in {"yes", "true", "1", "on", "tmpfs"}
    for path in looked_for if hides else ():
        if any(path.is_relative_to(home) for home in HOMES):
            yield f"{path} cannot be seen (ProtectHome={unit.one('ProtectHome')}). Set ProtectHome=read-only"
    if unit.is_on("PrivateTmp"):
        for path in looked_for:
            if any(path.is_relative_to(top) for top in _TEMPORARY):
                yield f"{path} cannot be seen (PrivateTmp=yes): move it out of /tmp"
    for key in ("InaccessiblePaths", "TemporaryFileSystem"):
        hidden = [Path(each.lstrip("-+").partition(":")[0]) for each in _listed(unit, key)]
        for path in looked_for:
            if any(path.is_relative_to(top) for top in hidden):
                yield (
                    f"{path} cannot be seen ({key}={unit.one(key)}). Take it out, or set "
                    f"BindReadOnlyPaths={path}"
                )


def _bound(unit: UnitFile) -> list[str]:
    """What is mounted over all that hides: ``FROM`` or ``FROM:TO``, with options behind it."""
    pairs = [each.split(":")[:2] for key in ("BindPaths", "BindReadOnlyPaths") for each in _listed(unit, key)]
    return [":".join(pair) for pair in pairs]


def _files(unit: UnitFile, needs: Needs) -> Iterator[str]:
    limit = unit.one("LimitNOFILE").rpartition(":")[2]
    if limit.isdecimal() and int(limit) < needs.files:
        yield (
            f"LimitNOFILE={limit} is less than connections_max and nofile of the settings need. Set "
            f"LimitNOFILE={needs.files}"
        )


def _memory(unit: UnitFile, _needs: Needs) -> Iterator[str]:
    policy = unit.one("OOMPolicy") or ("continue" if _delegates(unit) else "stop")
    if policy != "continue":
        yield (
            f"OOMPolicy={policy}: if the kernel ends one worker for want of memory, systemd ends all. Set "
            "OOMPolicy=continue"
        )


def _delegates(unit: UnitFile) -> bool:
    return unit.one("Delegate") not in {"", "no", "false", "off", "0"}


def _groups(unit: UnitFile, _needs: Needs) -> Iterator[str]:
    if not _delegates(unit):
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
    _stop,
    _times,
    _restart,
    _user,
    _capabilities,
    _sockets,
    _writes,
    _control,
    _preserved,
    _seen,
    _files,
    _memory,
    _groups,
)
