"""What a unit has to know of the settings: pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from msgspec import Struct

from gwctl.config import addresses
from gwctl.config.addresses import SystemdAddress, TcpAddress, UnixAddress
from gwctl.config.load import Loaded
from gwctl.config.model.settings import PoolSettings, Settings
from gwctl.log import destination

_STREAMS: Final = frozenset({"off", "stdout"})
_FILES_OF_PROCESS: Final = 1024
"""Descriptors besides connections: listeners, channels, modules, an application's own."""
_FIRST_FREE_PORT: Final = 1024
_END_MARGIN_S: Final = 10.0


class Needs(Struct, frozen=True):
    """All durations in seconds."""

    name: str
    command: tuple[str, ...]
    """How gwctl is called; without what it is to do."""
    interpreter: Path
    """The Python that it runs on, links resolved."""
    config: Path
    folder: Path
    """The working directory."""
    users: tuple[str, ...]
    """Those that pools or the admin process change to; empty in it: one that does not."""
    group: str
    low_ports: bool
    tcp: bool
    sockets: tuple[str, ...]
    """Names of sockets that a socket unit is to pass."""
    listeners: int
    """That gwctl binds itself."""
    writes: tuple[Path, ...]
    """Files that the settings have it write."""
    unix_sockets: tuple[Path, ...]
    """Of `writes`, the listeners."""
    socket_users: tuple[str, ...]
    """Whom Unix sockets are given to."""
    socket_groups: tuple[str, ...]
    allowed_users: tuple[str, ...]
    """Those of ``control.allow_users``."""
    start_s: float
    stop_s: float
    files: int
    """Descriptors that one process may need."""
    control: str
    """As the setting ``master.control`` says."""
    groups: bool
    """Workers have a hard limit of memory, which the kernel can hold in control groups of their own."""

    @property
    def needs_root(self) -> bool:
        """Workers become different users, or a socket is another user's."""
        return len(self.users) > 1 or not set(self.socket_users) <= set(self.users)

    @property
    def knows_users(self) -> bool:
        """It has to tell other users apart, or give them something."""
        return bool(self.socket_groups or self.allowed_users)

    @property
    def user(self) -> str:
        """The one that all workers become; empty: none is set."""
        return self.users[0] if len(self.users) == 1 else ""

    @property
    def outside(self) -> tuple[Path, ...]:
        """Places that must be seen: the working directory, the settings, gwctl itself and its Python."""
        return (self.folder, self.config, Path(self.command[0]), self.interpreter)


def needs_of(
    loaded: Loaded, config: Path, command: Iterable[str], interpreter: Path, *, pools_bind: bool = True
) -> Needs:
    """Read them from ``loaded``, whose file is ``config``; not ``pools_bind``: systemd does it."""
    settings = loaded.settings
    pools = list(settings.pool.values())
    binds = [addresses.parse(addresses.bare(each)) for each in _binds(settings)]
    own = binds if pools_bind else [addresses.parse(addresses.bare(each)) for each in settings.admin.bind]
    tcp = [each for each in own if isinstance(each, TcpAddress)]
    users = {pool.user for pool in pools} | ({settings.admin.user} if settings.admin.user else set())
    return Needs(
        name=settings.master.name,
        command=tuple(command),
        interpreter=interpreter,
        config=config,
        folder=config.parent,
        users=tuple(sorted(users)),
        group=next((pool.group for pool in pools if pool.group), ""),
        low_ports=any(0 < each.port < _FIRST_FREE_PORT for each in tcp),
        tcp=any(isinstance(each, TcpAddress | SystemdAddress) for each in binds),
        sockets=tuple(dict.fromkeys(each.name for each in binds if isinstance(each, SystemdAddress))),
        listeners=sum(2 if not each.host else 1 for each in tcp)
        + sum(isinstance(each, UnixAddress) for each in own),
        writes=tuple(dict.fromkeys(_writes(settings))),
        unix_sockets=tuple(dict.fromkeys(_unix_sockets(settings))),
        socket_users=_set([*(each.socket_user for each in pools), settings.admin.socket_user]),
        socket_groups=_set([*(each.socket_group for each in pools), settings.admin.socket_group]),
        allowed_users=tuple(settings.control.allow_users),
        start_s=settings.master.bind_retry_s + max(pool.timeouts.boot_timeout_s for pool in pools),
        stop_s=settings.master.drain_delay_s
        + max(pool.timeouts.drain_timeout_s for pool in pools)
        + _END_MARGIN_S,
        files=max(map(_files, pools)),
        control=settings.master.control,
        groups=settings.master.cgroups == "auto" and any(pool.recycle.memory_hard_bytes for pool in pools),
    )


def _set(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(filter(None, names)))


def _files(pool: PoolSettings) -> int:
    return max(pool.nofile, pool.connections_max + _FILES_OF_PROCESS)


def _binds(settings: Settings) -> Iterator[str]:
    for pool in settings.pool.values():
        yield from pool.bind
    yield from settings.admin.bind


def _writes(settings: Settings) -> Iterator[Path]:
    texts = [settings.master.pidfile]
    if settings.master.control not in {"auto", "off"}:
        texts.append(settings.master.control)
    texts += [pool.access_log for pool in settings.pool.values() if pool.access_log not in _STREAMS]
    if destination.is_file(settings.log.to):
        texts.append(settings.log.to)
    yield from (Path(text) for text in texts if text.startswith("/"))
    yield from _unix_sockets(settings)


def _unix_sockets(settings: Settings) -> Iterator[Path]:
    for address in _binds(settings):
        parsed = addresses.parse(addresses.bare(address))
        if isinstance(parsed, UnixAddress) and parsed.path.startswith("/"):
            yield Path(parsed.path)
