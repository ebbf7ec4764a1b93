"""The service unit for a gw.toml: pure. Each directive has its reason, for ``--explain``."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from gwctl.cli.unit.needs import Needs
from gwctl.cli.unit.unit_file import INSTANCE, Directive, plain, word
from gwctl.config.model.types import MASTER_GROUP
from gwctl.errors import ExitStatus

HOMES: Final = (Path("/home"), Path("/root"), Path("/run/user"))
FOLDERS: Final = {
    "RuntimeDirectory": Path("/run"),
    "StateDirectory": Path("/var/lib"),
    "CacheDirectory": Path("/var/cache"),
    "LogsDirectory": Path("/var/log"),
}
"""Folders that systemd makes for the service, owned by its user: systemd.exec(5)."""
_FILES_LEAST: Final = 8192
_WATCHDOG_S: Final = 30
_ROOT_CAPABILITIES: Final = "CAP_SETUID CAP_SETGID CAP_CHOWN CAP_FOWNER CAP_DAC_OVERRIDE CAP_KILL CAP_SETPCAP"


class Wanted(Struct, frozen=True):
    """What was asked for besides the settings."""

    of_user: bool = False
    """For the user manager (``systemctl --user``)."""
    template: bool = False
    """``gwctl@.service``: one unit for many folders."""
    notify_reload: bool = False
    """systemd itself sends SIGHUP at a reload; it then does not learn how it ended."""
    user: str = ""
    """To run as, where the settings name nobody; empty: a user that systemd makes up."""
    sockets: tuple[str, ...] = ()
    """The socket units that belong to it."""

    def with_sockets(self, units: tuple[str, ...]) -> Wanted:
        return replace(self, sockets=units)


def service(needs: Needs, wanted: Wanted) -> list[Directive]:
    """All lines, in the order in which one reads them."""
    sections: tuple[tuple[str, Iterable[tuple[str, ...]]], ...] = (
        ("Unit", _unit(needs, wanted)),
        ("Service", _service(needs, wanted)),
        ("Install", _install(wanted)),
    )
    return [Directive(section, *each) for section, lines in sections for each in lines]


def unit_name(needs: Needs, wanted: Wanted) -> str:
    """Of the service, without its suffix."""
    return "gwctl@" if wanted.template else f"gwctl-{needs.name}"


def folder_name(needs: Needs, wanted: Wanted) -> str:
    """Of its folders in /run and elsewhere."""
    return f"gwctl-{_name(needs, wanted)}"


def _name(needs: Needs, wanted: Wanted) -> str:
    return INSTANCE if wanted.template else needs.name


# ---- [Unit] and [Install]


def _unit(needs: Needs, wanted: Wanted) -> Iterator[tuple[str, ...]]:
    yield "Description", f"{plain(_name(needs, wanted))}, served by gwctl"
    sockets = [_instance_of(each) if wanted.template else each for each in wanted.sockets]
    if after := [*([] if wanted.of_user else ["network.target"]), *sockets]:
        yield "After", " ".join(after)
    if sockets:
        why = "The sockets are systemd's: they stay open whatever the service does."
        yield "Requires", " ".join(sockets), why
    why = "A start that fails is tried again 5 times in a minute; then it is for a person."
    yield "StartLimitIntervalSec", "60", why
    yield "StartLimitBurst", "5"


def _install(wanted: Wanted) -> Iterator[tuple[str, ...]]:
    yield "WantedBy", "default.target" if wanted.of_user else "multi-user.target"


def _instance_of(unit: str) -> str:
    """``gwctl@.socket``: that of the same instance."""
    return unit.replace("@.", "@%i.")


# ---- [Service]


def _service(needs: Needs, wanted: Wanted) -> Iterator[tuple[str, ...]]:
    yield from _commands(needs, wanted)
    yield from _times(needs)
    yield from _ends(needs, wanted)
    yield from _whose(needs, wanted)
    if wanted.sockets:
        yield "Sockets", " ".join(_instance_of(each) if wanted.template else each for each in wanted.sockets)
    yield from _places(needs, wanted)
    yield from _limits(needs, wanted)
    yield from _sandbox(needs, wanted)


def _commands(needs: Needs, wanted: Wanted) -> Iterator[tuple[str, ...]]:
    program = " ".join(word(_placed(part, needs, wanted), command=True) for part in needs.command)
    config = word(_placed(str(needs.config), needs, wanted), command=True)
    ready = "It is active when all pools have their workers, and not before."
    if wanted.notify_reload:
        yield (
            "Type",
            "notify-reload",
            f"{ready} A reload is a SIGHUP, whose end systemd waits for, not its outcome.",
        )
    else:
        yield "Type", "notify", ready
    yield "NotifyAccess", "main", "No worker can speak for the service."
    yield "ExecStart", f"{program} start -c {config}"
    if not wanted.notify_reload:
        why = "Waits for the outcome: one that is refused fails, with the reason, and the old code serves on."
        yield "ExecReload", f"{program} reload -c {config}", why
    yield "WorkingDirectory", plain(_placed(str(needs.folder), needs, wanted))


def _times(needs: Needs) -> Iterator[tuple[str, ...]]:
    why = "bind_retry_s and boot_timeout_s of the settings. More is asked for while the start moves on."
    yield "TimeoutStartSec", str(math.ceil(needs.start_s)), why
    why = "drain_delay_s and drain_timeout_s of the settings, and the end of what does not finish."
    yield "TimeoutStopSec", str(math.ceil(needs.stop_s)), why
    why = "The master says twice in this time that its loop turns; else it is ended and started again."
    yield "WatchdogSec", str(_WATCHDOG_S), why


def _ends(needs: Needs, wanted: Wanted) -> Iterator[tuple[str, ...]]:
    yield "Restart", "on-failure"
    yield "RestartSec", "500ms"
    mistakes = f"{int(ExitStatus.SETTINGS)} {int(ExitStatus.APP_NOT_IMPORTED)}"
    why = (
        f"{int(ExitStatus.SETTINGS)}: mistakes in gw.toml. {int(ExitStatus.APP_NOT_IMPORTED)}: the "
        "application cannot be imported. Neither mends itself; take the latter out if the import needs "
        "services that may come later."
    )
    yield "RestartPreventExitStatus", mistakes, why
    why = (
        "The master ends its workers itself. If it is killed, they finish the requests they have within "
        "drain_timeout_s, beside the next master, and are not killed with them in hand."
    )
    yield "KillMode", "process", why
    if needs.listeners:
        why = (
            "systemd keeps the listeners while there is no master: a restart or a crash refuses no "
            "connection, it waits. Some more than there are, for reloads that add one."
        )
        yield "FileDescriptorStoreMax", str(_rounded(needs.listeners + 4)), why
    why = "A worker that the kernel ends for want of memory is replaced; the others serve on."
    yield "OOMPolicy", "continue", why
    if needs.groups:
        why = (
            "Each worker gets a control group of its own, in which the kernel holds memory_hard_bytes. It "
            "takes systemd 254; before, all is as without."
        )
        yield "Delegate", "memory", why
        yield "DelegateSubgroup", MASTER_GROUP
    if not wanted.of_user:
        why = "Other processes first. Workers raise theirs: the kernel takes one of them before the master."
        yield "OOMScoreAdjust", "-100", why


def _rounded(count: int) -> int:
    return 1 << (count - 1).bit_length()


def _whose(needs: Needs, wanted: Wanted) -> Iterator[tuple[str, ...]]:
    if wanted.of_user:
        return
    if needs.needs_root:
        named = ", ".join(each or "root" for each in needs.users)
        yield "User", "root", f"Workers become {named}: the settings name different users."
    elif user := needs.user or wanted.user:
        yield "User", plain(user), "" if not needs.user else "As the settings have it."
        if needs.group and needs.user:
            yield "Group", plain(needs.group)
    else:
        why = (
            "A user of its own that exists while the service runs. It reads what everybody may read; "
            "`gwctl unit --run-as NAME` writes a unit for a user that owns files."
        )
        yield "DynamicUser", "yes", why
    if needs.socket_groups and not needs.needs_root:
        groups = " ".join(map(word, needs.socket_groups))
        yield "SupplementaryGroups", groups, "Whom the settings give Unix sockets to (socket_group)."
    if needs.low_ports:
        why = "For a port below 1024."
        if not needs.needs_root:
            yield "AmbientCapabilities", "CAP_NET_BIND_SERVICE", why


def _places(needs: Needs, wanted: Wanted) -> Iterator[tuple[str, ...]]:
    ours = folder_name(needs, wanted)
    made: dict[str, list[str]] = {"RuntimeDirectory": [ours]}
    others: list[str] = []
    for path in needs.writes:
        kind, name = _made_by_systemd(path, wanted)
        if not kind:
            others.append(_placed(str(path.parent), needs, wanted))
        elif (name := _of_instance(name, needs, wanted)) not in made.setdefault(kind, []):
            made[kind].append(name)
    for kind, names in made.items():
        why = {
            "RuntimeDirectory": "For the control socket; and what the settings have in /run.",
            "LogsDirectory": "What the settings have in /var/log.",
        }.get(kind, "What the settings write there.")
        yield kind, " ".join(map(word, names)), why
    yield from _preserved(needs, wanted)
    if others:
        places = " ".join(word(each) for each in dict.fromkeys(others))
        yield "ReadWritePaths", places, "What the settings write elsewhere."


def _preserved(needs: Needs, wanted: Wanted) -> Iterator[tuple[str, ...]]:
    """A folder that is not named after this service may be another unit's, too."""
    kind, name = _made_by_systemd(Path(needs.control), wanted)
    if kind == "RuntimeDirectory" and Path(name).parts[0] != f"gwctl-{needs.name}":
        why = (
            "A Unix socket keeps its file while the service restarts; and where another unit takes over by "
            "that control socket, the end of this one does not take the folder along."
        )
        yield "RuntimeDirectoryPreserve", "yes", why
    elif needs.control == "auto" or any(path.is_relative_to("/run") for path in needs.writes):
        yield (
            "RuntimeDirectoryPreserve",
            "restart",
            "A Unix socket keeps its file while the service restarts.",
        )


def _of_instance(folder: str, needs: Needs, wanted: Wanted) -> str:
    """In a template, a folder that is called as this instance is called as each of them."""
    parts = [INSTANCE if wanted.template and part == needs.name else part for part in Path(folder).parts]
    return str(Path(*parts))


def _made_by_systemd(path: Path, wanted: Wanted) -> tuple[str, str]:
    """Which of systemd's folders a file is in, and its name there; empty if it is in none."""
    if wanted.of_user:
        return "", ""
    for kind, top in FOLDERS.items():
        if path.is_relative_to(top) and len(path.relative_to(top).parts) > 1:
            return kind, str(path.relative_to(top).parent)
    return "", ""


def _limits(needs: Needs, wanted: Wanted) -> Iterator[tuple[str, ...]]:
    why = "connections_max and nofile of the settings, and some for files." if not wanted.of_user else ""
    yield "LimitNOFILE", str(max(_FILES_LEAST, _rounded(needs.files))), why
    yield "UMask", "0077", "Files that workers make are theirs alone; pool.umask says otherwise."


def _sandbox(needs: Needs, wanted: Wanted) -> Iterator[tuple[str, ...]]:
    yield "NoNewPrivileges", "yes", "Nothing in the service gains rights by a setuid program."
    if not wanted.of_user:
        yield from _sandbox_of_system(needs)
    why = "No memory is written and executed. Take it out for what compiles at run time (numba)."
    yield "MemoryDenyWriteExecute", "yes", why
    yield "LockPersonality", "yes"
    yield "RestrictRealtime", "yes"
    yield "RestrictSUIDSGID", "yes"
    yield "RestrictNamespaces", "yes"
    yield "SystemCallArchitectures", "native"
    yield (
        "SystemCallFilter",
        "@system-service",
        "What services use; a call beyond it fails, and kills nobody.",
    )
    if needs.needs_root:
        yield "SystemCallFilter", "~@resources"
    else:
        yield "SystemCallFilter", "~@privileged @resources"
        if needs.socket_groups:
            yield "SystemCallFilter", "@chown", "socket_group is set."
    yield "SystemCallErrorNumber", "EPERM"


def _sandbox_of_system(needs: Needs) -> Iterator[tuple[str, ...]]:
    yield from _capabilities(needs)
    yield "ProtectSystem", "strict", "The whole file system is read-only, but for the folders above and /tmp."
    at_home = any(path.is_relative_to(home) for path in needs.outside for home in HOMES)
    if at_home:
        yield "ProtectHome", "read-only", "gwctl, the settings or the application are there."
    else:
        yield "ProtectHome", "yes"
    yield "PrivateTmp", "yes"
    yield "PrivateDevices", "yes"
    yield "PrivateMounts", "yes"
    yield "PrivateIPC", "yes"
    yield "ProtectKernelTunables", "yes"
    yield "ProtectKernelModules", "yes"
    yield "ProtectKernelLogs", "yes"
    if not needs.groups:
        yield "ProtectControlGroups", "yes"
    yield "ProtectClock", "yes"
    yield "ProtectHostname", "yes"
    yield "ProtectProc", "invisible"
    why = "/proc has processes alone. Take it out if the application reads /proc/meminfo and such (psutil)."
    yield "ProcSubset", "pid", why
    yield "RemoveIPC", "yes"
    yield "KeyringMode", "private"
    yield "DevicePolicy", "closed"
    yield "RestrictAddressFamilies", "AF_UNIX AF_INET AF_INET6"
    why = (
        "Where packets may go to and come from. As it is, everywhere: name the networks that the "
        "application needs instead of any, such as localhost 10.0.0.0/8."
    )
    yield "IPAddressDeny", "any", why
    yield "IPAddressAllow", "any"


def _capabilities(needs: Needs) -> Iterator[tuple[str, ...]]:
    if needs.needs_root:
        more = " CAP_NET_BIND_SERVICE" if needs.low_ports else ""
        yield "CapabilityBoundingSet", f"{_ROOT_CAPABILITIES}{more}", "What it takes to change users."
    elif needs.low_ports:
        yield "CapabilityBoundingSet", "CAP_NET_BIND_SERVICE"
    else:
        yield "CapabilityBoundingSet", ""
        if not needs.knows_users:  # in a name space of its own it could not tell them apart
            yield "PrivateUsers", "yes", "Other users do not exist for it."


def _placed(text: str, needs: Needs, wanted: Wanted) -> str:
    """In a template, paths in the folder of the settings are of the instance's folder."""
    return text if not wanted.template else _instance(text, needs.folder)


def _instance(text: str, folder: Path) -> str:
    path = Path(text)
    if not path.is_relative_to(folder):
        return text
    return str(folder.parent / INSTANCE / path.relative_to(folder))
