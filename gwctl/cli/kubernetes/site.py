"""What manifests have to know of the settings, and what in them is in the way: pure."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from msgspec import Struct

from gwctl.cli.kubernetes.wanted import ManifestError, OptionError, Wanted, label, label_of, quantity
from gwctl.cli.unit.needs import Needs, needs_of
from gwctl.config import addresses
from gwctl.config.addresses import TcpAddress
from gwctl.config.load import Loaded
from gwctl.config.model.scaling import Scaling
from gwctl.config.model.settings import PoolSettings, Settings

WORKER_BYTES: Final = 128 << 20
"""What a worker is assumed to need where no limit says more: as ``processes = "auto"`` assumes it."""
_AUTO_CPUS: Final = 2.0
_FIXED_CPUS: Final = 1.0
_MEMORY_STEP: Final = 64 << 20
_RUNTIME_BYTES: Final = 16 << 20
_METRICS_BYTES: Final = 16 << 20
"""The most that a worker's own metrics may take (docs/monitoring.md), of two generations at a reload."""
_PORT_NAME_MAX: Final = 15
_TMP: Final = PurePosixPath("/tmp")  # noqa: S108 - a place in the container, which has a volume there
_ADMIN: Final = '[admin]\n    bind = ["0.0.0.0:9100"]'


class Port(Struct, frozen=True):
    """Where the pods' IP addresses are listened at."""

    name: str
    number: int
    pool: str
    tls: bool = False
    health_path: str = ""


class PoolLoad(Struct, frozen=True):
    """By what figure the pool's load is seen, and what each pod should have of it."""

    pool: str
    metric: str
    target: float
    why: str


class Secret(Struct, frozen=True):
    """Files that come from a Secret, and not with the image."""

    name: str
    folder: str
    items: tuple[tuple[str, str], ...]
    """Key in the Secret, and name of the file."""
    setting: str


class Site(Struct, frozen=True):
    """All of it. ``notes`` is what somebody should know who goes on with it as it is."""

    name: str
    ports: tuple[Port, ...]
    admin_port: int
    """0: there is none that others reach."""
    start_s: float
    stop_s: float
    settle_s: float
    drain_delay_s: float
    cpus: float
    needs_quota: bool
    """The number of processes follows from the quota."""
    workers: int
    memory_bytes: int
    worker_bytes: int
    runtime_bytes: int
    """Of what is in the folder of the control socket."""
    writes: tuple[str, ...]
    """Folders in the container, besides /tmp and that of the control socket."""
    secrets: tuple[Secret, ...]
    low_port: int
    """The lowest below 1024; 0: none."""
    loads: tuple[PoolLoad, ...]
    route_to: Port | None
    notes: tuple[str, ...]


def site_of(loaded: Loaded, config: Path, wanted: Wanted) -> Site:
    """Read it from ``loaded``, whose file is ``config``.

    Raises:
        ManifestError: With all that is in the way, and what to do.
    """
    reading = _Reading(loaded, config, wanted)
    found = reading.site()
    if reading.problems:
        raise ManifestError("\n".join(reading.problems))
    return found


class _Reading:
    """The settings as they are read, with what is found on the way."""

    def __init__(self, loaded: Loaded, config: Path, wanted: Wanted) -> None:
        self.problems: list[str] = []
        self.notes: list[str] = []
        self._settings: Settings = loaded.settings
        self._sources = loaded.sources
        self._pools = loaded.settings.pool
        self._config = config
        self._wanted = wanted
        self._needs: Needs = needs_of(loaded, config, ("gwctl",), Path("/usr/bin/python3"))

    def site(self) -> Site:
        wanted, needs = self._wanted, self._needs
        cpus = quantity("--cpu", wanted.cpu) if wanted.cpu else self._cpus()
        sizes = {name: _workers(pool, cpus) for name, pool in self._pools.items()}
        worker_bytes = max(map(_worker_bytes, self._pools.values()))
        ports = tuple(self._ports())
        admin_port = self._admin_port()
        self._check_probes(ports, admin_port)
        self._check_users()
        self._check_environment()
        self._check_traffic()
        secrets = tuple(self._secrets())
        memory = sum(sizes.values()) * worker_bytes + worker_bytes + WORKER_BYTES
        return Site(
            name=label("--name", wanted.name) if wanted.name else label_of(needs.name),
            ports=ports,
            admin_port=admin_port,
            start_s=needs.start_s,
            stop_s=needs.stop_s,
            settle_s=max(pool.reload.settle_s for pool in self._pools.values()),
            drain_delay_s=self._settings.master.drain_delay_s,
            cpus=cpus,
            needs_quota=any(_is_auto(pool) for pool in self._pools.values()),
            workers=sum(sizes.values()),
            memory_bytes=math.ceil(memory / _MEMORY_STEP) * _MEMORY_STEP,
            worker_bytes=worker_bytes,
            runtime_bytes=_RUNTIME_BYTES
            + sum(
                2 * sizes[name] * _METRICS_BYTES
                for name, pool in self._pools.items()
                if pool.application_metrics
            ),
            writes=tuple(dict.fromkeys(self._writes())),
            secrets=secrets,
            low_port=min((each.number for each in ports if each.number < 1024), default=0),
            loads=tuple(self._loads(sizes)),
            route_to=self._route_to(ports),
            notes=tuple(self.notes),
        )

    # ---- processes

    def _cpus(self) -> float:
        return _AUTO_CPUS if any(map(_is_auto, self._pools.values())) else _FIXED_CPUS

    def _loads(self, sizes: dict[str, int]) -> Iterator[PoolLoad]:
        """Busy shares; how many workers it needs of a pool that sets its size, as that keeps its share."""
        if not (self._wanted.by_busy or self._wanted.keda):
            return
        for name, pool in self._pools.items():
            if isinstance(pool.processes, Scaling):
                target = round(0.75 * sizes[name], 2)
                why = f"pool.{name} sets its size: of {sizes[name]} workers at most, three quarters in need."
                yield PoolLoad(name, "gwctl_pool_needed", target, why)
                continue
            if pool.worker == "asgi" and not pool.requests_max:
                self.problems.append(
                    f"pool.{name}: nobody knows how busy an asgi worker is that has no limit. Set "
                    "requests_max, the requests that a worker has at once, or scale by processor time"
                )
            elif pool.worker == "auto" and not pool.requests_max:
                self.notes.append(
                    f"pool.{name}: if the application is ASGI, set requests_max: else there is no busy share"
                )
            yield PoolLoad(
                name, "gwctl_busy_ratio", 0.7, f"How much of the workers of pool.{name} is in use."
            )

    # ---- addresses

    def _ports(self) -> Iterator[Port]:
        names: set[str] = set()
        for pool_name, pool in self._pools.items():
            asked = "" if pool.proxy_protocol else pool.health_path  # the kubelet speaks no PROXY
            found = list(self._reachable(f"pool.{pool_name}", pool.bind))
            for number, (address, tls) in enumerate(found):
                name = _port_name(pool_name, number, names)
                names.add(name)
                yield Port(name, address.port, pool_name, tls, asked)

    def _reachable(self, table: str, bind: tuple[str, ...]) -> Iterator[tuple[TcpAddress, bool]]:
        """Those that a pod's address has; a problem if there is none."""
        parsed = [(addresses.parse(addresses.bare(each)), each.startswith(addresses.TLS)) for each in bind]
        tcp = [(each, tls) for each, tls in parsed if isinstance(each, TcpAddress)]
        good = [(each, tls) for each, tls in tcp if each.is_wildcard and each.port]
        yield from good
        if good:
            return
        port = next((each.port for each, _ in tcp if each.port), 8000 if table != "admin" else 9100)
        what = f"binds {', '.join(map(addresses.shown, bind))}" if bind else "binds nothing"
        self.problems.append(
            f"{table} {what}, which nobody outside of the pod reaches: "
            f'set bind = ["0.0.0.0:{port}"] in [{table}]'
        )

    def _admin_port(self) -> int:
        if not self._settings.admin.bind:
            if any(pool.health_path for pool in self._pools.values()):
                self.notes.append(
                    "there is no admin listener: readiness is asked of health_path, of one pool's workers, "
                    f"and nobody sees a master that stands still. Better, in gw.toml:\n\n    {_ADMIN}\n"
                )
            return 0
        return next((each.port for each, _ in self._reachable("admin", self._settings.admin.bind)), 0)

    def _route_to(self, ports: tuple[Port, ...]) -> Port | None:
        wanted = self._wanted
        if wanted.pool and wanted.pool not in self._pools:
            raise OptionError(f"--pool {wanted.pool}: there is {', '.join(self._pools)}")
        if wanted.route is None:
            if wanted.pool:
                raise OptionError("--pool says where --ingress or --gateway leads to: add one of them")
            return None
        if not wanted.pool and len(self._pools) > 1:
            raise OptionError(f"--pool: which one is {wanted.route.host}? There is {', '.join(self._pools)}")
        of_pool = [each for each in ports if wanted.pool in {"", each.pool}]
        return next((each for each in of_pool if not each.tls), of_pool[0] if of_pool else None)

    # ---- what is in the way

    def _check_probes(self, ports: tuple[Port, ...], admin_port: int) -> None:
        if self._settings.admin.bind:
            return
        if not any(each.health_path for each in ports):
            why = "there is nothing to probe: no admin listener, no health_path"
            if any(pool.health_path for pool in self._pools.values()):
                why = "Kubernetes cannot ask health_path of a pool with proxy_protocol"
            self.problems.append(f"{why}. Add to gw.toml:\n\n    {_ADMIN}\n")
        if (self._wanted.service_monitor or self._wanted.keda or self._wanted.by_busy) and not admin_port:
            self.problems.append(
                f"there are no metrics without an admin listener. Add to gw.toml:\n\n    {_ADMIN}\n"
            )

    def _check_users(self) -> None:
        for name, pool in self._pools.items():
            if pool.user or pool.group:
                self._no_users(f"pool.{name}.{'user' if pool.user else 'group'}")
            if pool.socket_user:
                self._no_users(f"pool.{name}.socket_user")
        for key in ("user", "group", "socket_user"):
            if getattr(self._settings.admin, key):
                self._no_users(f"admin.{key}")

    def _no_users(self, setting: str) -> None:
        self.problems.append(
            f"{setting} is set: to become another user takes root, which the container is not. Leave it out, "
            f"or say --set {setting}="
        )

    def _check_traffic(self) -> None:
        if not self._settings.master.drain_delay_s:
            self.notes.append(
                "master.drain_delay_s is 0: a pod that is stopped closes its door while some still send to "
                "it. Set drain_delay_s = 5 in [master], or say --set master.drain_delay_s=5"
            )
        for name, pool in self._pools.items():
            default = set(pool.trusted_proxies) <= {"127.0.0.1", "::1", "unix"}
            led_to = self._wanted.route is not None and self._wanted.pool in {"", name}
            if led_to and default:
                self.notes.append(
                    f"pool.{name}.trusted_proxies does not have what is in front: the application sees its "
                    "address instead of the clients', and http instead of https. Set it to the network of "
                    "the cluster's pods"
                )
            if pool.access_log not in {"off", "stdout"}:
                self.notes.append(
                    f"pool.{name}.access_log is a file, which ends with the pod: kubectl logs shows stdout"
                )

    def _check_environment(self) -> None:
        """What comes from variables here does not come with the image."""
        here = sorted({each for each in self._sources.values() if each.startswith("GWCTL_")})
        if here:
            self.notes.append(
                f"{', '.join(here)}: set here, not in the pods. Say it in gw.toml, or with --set"
            )

    # ---- files

    def _writes(self) -> Iterator[str]:
        for path in self._needs.writes:
            placed = self._placed(path, "what is written there")
            if placed is not None and _TMP not in placed.parents:
                yield str(placed.parent)

    def _secrets(self) -> Iterator[Secret]:
        name = self._wanted.name or label_of(self._needs.name)
        if self._settings.admin.token_file:
            yield from self._secret(
                f"{name}-admin-token", "admin.token_file", (("token", self._settings.admin.token_file),)
            )
        for pool_name, pool in self._pools.items():
            tls = pool.tls
            keys = [
                ("tls.crt" if not n else f"tls-{n + 1}.crt", path) for n, path in enumerate(tls.certificate)
            ]
            keys += [("tls.key" if not n else f"tls-{n + 1}.key", path) for n, path in enumerate(tls.key)]
            keys += [("password", tls.password_file)] if tls.password_file else []
            keys += [("ca.crt", tls.client_ca)] if tls.client_ca else []
            if keys:
                yield from self._secret(
                    f"{name}-{label_of(pool_name)}-tls", f"pool.{pool_name}.tls", tuple(keys)
                )

    def _secret(self, name: str, setting: str, files: tuple[tuple[str, str], ...]) -> Iterator[Secret]:
        """A volume for each folder: what a Secret has mounted there is renewed with it."""
        folders: dict[str, list[tuple[str, str]]] = {}
        for key, path in files:
            placed = self._placed(Path(path), setting)
            if placed is None:
                return
            if placed.parent == PurePosixPath(self._wanted.folder or "/"):
                self.problems.append(
                    f"{setting}: {placed} is in a folder with other things, which a Secret would hide. "
                    "Give it a folder of its own, as in /etc/shop/secrets"
                )
                return
            folders.setdefault(str(placed.parent), []).append((key, placed.name))
        for folder, items in folders.items():
            yield Secret(name, folder, tuple(items), setting)

    def _placed(self, path: Path, what: str) -> PurePosixPath | None:
        """Where it is in the container; a problem if that cannot be told."""
        if not path.is_relative_to(self._config.parent):
            return PurePosixPath(path)
        if self._wanted.folder:
            return PurePosixPath(self._wanted.folder) / path.relative_to(self._config.parent)
        text = (
            f"{what}: {path.relative_to(self._config.parent)} is beside gw.toml. Say where that is in the "
            "image: --folder /srv"
        )
        if text not in self.problems:
            self.problems.append(text)
        return None


def _is_auto(pool: PoolSettings) -> bool:
    processes = pool.processes
    return processes == "auto" or (isinstance(processes, Scaling) and processes.max == "auto")


def _workers(pool: PoolSettings, cpus: float) -> int:
    """At most, with so many processors."""
    if _is_auto(pool):
        return max(1, math.ceil(cpus))
    processes = pool.processes
    most = processes.max if isinstance(processes, Scaling) else processes
    return int(most)


def _worker_bytes(pool: PoolSettings) -> int:
    return pool.recycle.memory_hard_bytes or pool.recycle.memory_soft_bytes or WORKER_BYTES


def _port_name(pool: str, number: int, taken: set[str]) -> str:
    """As Kubernetes has names of ports: 15 small letters, digits and - inside, a letter among them."""
    base = label_of(pool)[:_PORT_NAME_MAX].rstrip("-")
    name, count = base, number
    while name in taken or name == "admin" or (count and name == base):
        count += 1
        suffix = f"-{count}"
        name = f"{base[: _PORT_NAME_MAX - len(suffix)].rstrip('-')}{suffix}"
    return name
