"""What can only be judged with all settings in hand, or by looking at the machine.

Each check sees settings whose types are right. One that concerns a value that was already
refused is left out: one mistake, one problem.
"""

from __future__ import annotations

import grp
import os
import pwd
import re
import sys
from collections.abc import Iterator
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any, Final

from gwctl.config import (
    access_format,
    addresses,
    admin_token,
    app_spec,
    env_file,
    hints,
    paths,
    schema,
    statsd_target,
    tls_checks,
    trusted_proxies,
    users,
)
from gwctl.config.addresses import Address, AddressError
from gwctl.config.model import request_limits
from gwctl.config.model.admin import AdminSettings
from gwctl.config.model.control import ControlSettings
from gwctl.config.model.lifecycle import Reload
from gwctl.config.model.log import LogSettings
from gwctl.config.model.scaling import Scaling
from gwctl.config.model.settings import PoolSettings, Settings
from gwctl.config.model.statsd import StatsdSettings
from gwctl.config.model.types import NOFILE_MIN, POOL_NAME
from gwctl.config.model.worker_class import chosen
from gwctl.config.positions import Path
from gwctl.config.problems import ConfigError
from gwctl.config.sources import Tree
from gwctl.log import destination

if TYPE_CHECKING:
    from gwctl.config.certificates import Identity

_POOL_NAME: Final = re.compile(POOL_NAME)
_RESERVED: Final = frozenset({"master"})
"""In log lines this is the master itself."""
_UNSET_RELOAD: Final = Reload()
_UNSET_STATSD: Final = StatsdSettings()
"""What differs from these was set."""


def check(settings: Settings, tree: Tree, bad: set[Path], *, elsewhere: bool = False) -> dict[str, Identity]:
    """Tell the tree about everything that is wrong; return what the pools that speak TLS serve with.

    Args:
        settings: With its paths made absolute.
        tree: Where each value came from; takes the problems.
        bad: Paths that have been told about.
        elsewhere: They are for another machine, whose files and users are not to be found on this one.
    """
    checks = _Checks(tree, bad, elsewhere)
    for name, pool in settings.pool.items():
        checks.pool(name, pool)
        checks.metrics(("pool", name), pool, settings)
    checks.admin(settings.admin)
    checks.statsd(settings.statsd)
    checks.log(settings.log)
    checks.control(settings.control)
    checks.addresses(settings)
    if elsewhere:
        return {}
    return {
        name: tls for name, pool in settings.pool.items() if (tls := tls_checks.check(name, pool, tree, bad))
    }


class _Checks:
    def __init__(self, tree: Tree, bad: set[Path], elsewhere: bool) -> None:
        self._tree = tree
        self._bad = bad
        self._elsewhere = elsewhere

    def pool(self, name: str, pool: PoolSettings) -> None:
        """Check what concerns one pool alone."""
        at = ("pool", name)
        if not _POOL_NAME.fullmatch(name):
            form = "at most 32 letters, digits, and _ - inside"
            self._tree.complain(at, f"a pool's name has {form}", show=False)
        elif name in _RESERVED:
            self._tree.complain(at, f"{name} cannot be the name of a pool", show=False)
        self._app(at, pool)
        self._worker(at, pool)
        if pool.preload and sys.platform != "linux" and self._ok((*at, "preload")):
            hint = "Leave it out: each worker then imports the application itself"
            self._tree.complain((*at, "preload"), "needs Linux, where the master can adopt a worker", hint)
        self._numbers(at, pool)
        self._timeouts(at, pool)
        self._users(at, pool)
        self._variables(at, pool)
        self._proxies(at, pool)
        self._access_log(at, pool)
        for path, kind, place in _paths(at, pool):
            self._exists(path, kind, place)

    def admin(self, admin: AdminSettings) -> None:
        """Check the admin listener, but for what its addresses have to do with those of pools."""
        self._users(("admin",), admin)
        for path, text in self._items(("admin", "bind"), admin.bind):
            if text.startswith(addresses.TLS):
                hint = "Bind 127.0.0.1 or a Unix socket, and have a proxy or `ssh -L` in front of it"
                self._tree.complain(path, "the admin listener does not speak TLS", hint)
        path = ("admin", "token_file")
        if not admin.token_file or self._elsewhere or not self._ok(path):
            return
        try:
            admin_token.read(admin.token_file)
        except admin_token.TokenError as error:
            self._tree.complain(path, str(error), error.hint)

    def metrics(self, at: Path, pool: PoolSettings, settings: Settings) -> None:
        """Check that somebody tells the application's metrics, and may read them."""
        path, admin = (*at, "application_metrics"), settings.admin
        if not pool.application_metrics or not self._ok(path, ("admin", "bind")):
            return
        if not admin.bind:
            hint = 'Write bind = "127.0.0.1:9100" in [admin], or leave this out'
            self._tree.complain(path, "needs the admin listener, which tells them", hint)
            return
        umask, first = (*at, "umask"), next(iter(settings.pool.values()))
        reader = admin.user if admin.user or admin.group else first.user
        if self._elsewhere or not self._ok(umask, (*at, "user"), ("admin", "user"), ("admin", "group")):
            return
        if pool.umask and int(pool.umask, 8) & 0o040 and not _reads_all_of(reader, pool.user):
            hint = "Write 027, or have both run as one user"
            why = "the admin process, another user, cannot read what application_metrics keeps"
            self._tree.complain(umask, why, hint)

    def statsd(self, statsd: StatsdSettings) -> None:
        """Check where figures are sent, and what is put to them."""
        path = ("statsd", "to")
        if statsd.to and self._ok(path):
            try:
                statsd_target.parse(statsd.to)
            except statsd_target.TargetError as error:
                self._tree.complain(path, str(error))
        if not statsd.to and self._ok(path):
            self._sent_nowhere(statsd)
            return
        path = ("statsd", "prefix")
        if statsd.prefix and self._ok(path) and not statsd_target.NAME.fullmatch(statsd.prefix):
            self._tree.complain(path, "a prefix has letters, digits, _ and -, with dots inside")
        for place, tag in self._items(("statsd", "tags"), statsd.tags):
            if not statsd_target.TAG.fullmatch(tag):
                self._tree.complain(place, "a tag is NAME:VALUE or NAME, without blanks, commas, | and #")
        if statsd.tags and statsd.format == "plain" and self._ok(("statsd", "tags"), ("statsd", "format")):
            self._tree.complain(("statsd", "tags"), 'there are no tags with format = "plain"')

    def _sent_nowhere(self, statsd: StatsdSettings) -> None:
        """Complain of what is set for figures that are not sent."""
        for name in statsd.__struct_fields__:
            path: Path = ("statsd", name)
            if getattr(statsd, name) != getattr(_UNSET_STATSD, name) and self._ok(path):
                hint = 'Set to = "udp://127.0.0.1:8125", or leave this out'
                self._tree.complain(path, "nothing is sent: statsd.to is empty", hint)

    def control(self, control: ControlSettings) -> None:
        """Check that those who may use the control socket are there."""
        for path, text in self._items(("control", "allow_users"), control.allow_users):
            if not self._elsewhere and users.uid(text) is None:
                self._no_such_user(path, text)

    def log(self, log: LogSettings) -> None:
        """Check where the event log is to go."""
        path = ("log", "to")
        if not self._ok(path):
            return
        written = str(self._tree.get(path) or log.to)
        bare = "/" not in written and "." not in written
        near = hints.nearest(written.lower(), destination.WORDS) if bare else ""
        if not destination.is_file(log.to):
            if problem := destination.problem(log.to):
                self._tree.complain(path, problem)
        elif written in {"", "-", "stdout"} or near:
            expected = f"expected {schema.one_of(destination.WORDS)}, or a file"
            self._tree.complain(path, expected, f'Did you mean "{near or destination.STDERR}"?')
        elif paths.is_folder(log.to):
            self._tree.complain(path, "is a folder", f'Write "{written}/events.log"')
        elif self._elsewhere:
            return
        elif not paths.is_folder(FilePath(log.to).parent) and not paths.exists(FilePath(log.to).parent):
            self._tree.complain(path, f"there is no folder {FilePath(log.to).parent}")

    def _ok(self, *paths: Path) -> bool:
        return not any(path[:length] in self._bad for path in paths for length in range(1, len(path) + 1))

    def _app(self, at: Path, pool: PoolSettings) -> None:
        path = (*at, "app")
        if not self._ok(path):
            return
        try:
            app_spec.parse(pool.app)
        except app_spec.AppSpecError as error:
            self._tree.complain(path, str(error), error.hint)

    def _worker(self, at: Path, pool: PoolSettings) -> None:
        classes = chosen(pool.worker)
        path = (*at, "threads")
        if (
            all(each.holds_loop for each in classes)
            and path in self._tree.origins
            and self._ok(path, (*at, "worker"))
        ):
            hint = 'Leave it out, or set worker = "threads"'
            self._tree.complain(path, f"a {pool.worker} worker has no threads", hint)

        path = (*at, "websocket")
        able = any(each.has_websockets for each in classes)
        if not able and self._ok(path, (*at, "worker")) and self._is_set(path):
            hint = 'Leave the table out, or set worker = "asgi"'
            self._tree.complain(path, f"a {pool.worker} worker has no WebSockets", hint, show=False)

    def _watch(self, at: Path, pool: PoolSettings) -> None:
        """A watch has to compare something, and what is about one needs one."""
        reload = pool.reload
        watch = (*at, "reload", "watch_s")
        if not self._ok(watch):
            return
        if reload.watch_s:
            if reload.errors_max == reload.latency_max == "off":
                self._tree.complain(watch, "nothing is compared: errors_max and latency_max are both off")
            return
        for name in ("errors_max", "latency_max", "requests_min"):
            path = (*at, "reload", name)
            if getattr(reload, name) != getattr(_UNSET_RELOAD, name) and self._ok(path):
                hint = "Set watch_s, or leave this out"
                self._tree.complain(path, "no reload is watched: watch_s is 0", hint)

    def _is_set(self, table: Path) -> bool:
        return any(path[: len(table)] == table for path in self._tree.origins)

    def _numbers(self, at: Path, pool: PoolSettings) -> None:
        """Numbers that must fit each other."""
        self._processes(at, pool)
        self._watch(at, pool)
        path = (*at, "nofile")
        if 0 < pool.nofile < NOFILE_MIN and self._ok(path):
            hint = f"A worker needs at least {NOFILE_MIN}, and one for each connection"
            self._tree.complain(path, "too few", hint)
        low, high = (*at, "crash", "backoff_min_s"), (*at, "crash", "backoff_max_s")
        if self._ok(low, high) and pool.crash.backoff_min_s > pool.crash.backoff_max_s:
            if low in self._tree.origins:
                self._tree.complain(low, f"more than backoff_max_s ({pool.crash.backoff_max_s:g})")
            else:
                self._tree.complain(high, f"less than backoff_min_s ({pool.crash.backoff_min_s:g})")
        self._memory(at, pool)
        for name in ("request_line_bytes_max", "header_bytes_max"):
            part, whole = (*at, "limits", name), (*at, "limits", "head_bytes_max")
            size, most = getattr(pool.limits, name), pool.limits.head_bytes_max
            if part in self._tree.origins and size > most and self._ok(part, whole):
                hint = f"Set head_bytes_max too, which bounds all of a head: at least {size}"
                self._tree.complain(part, f"more than head_bytes_max ({most})", hint)
        linger, drain = (*at, "timeouts", "linger_s"), (*at, "timeouts", "drain_timeout_s")
        both = linger in self._tree.origins and drain in self._tree.origins and self._ok(linger, drain)
        if both and pool.timeouts.linger_s >= pool.timeouts.drain_timeout_s:
            self._tree.complain(linger, f"not less than drain_timeout_s ({pool.timeouts.drain_timeout_s:g})")

    def _timeouts(self, at: Path, pool: PoolSettings) -> None:
        paths = (*at, "timeouts", "request_timeout_paths")
        for path, text in self._items(paths, pool.timeouts.request_timeout_paths):
            try:
                request_limits.parse(text)
            except ValueError:
                self._tree.complain(path, f"expected {request_limits.FORM}")

    def _processes(self, at: Path, pool: PoolSettings) -> None:
        processes = (*at, "processes")
        most = pool.processes
        if isinstance(most, Scaling):
            least, most = most.min, most.max
            if isinstance(most, int) and least > most and self._ok((*processes, "min"), (*processes, "max")):
                self._tree.complain((*processes, "max"), f"less than min ({least})")
        for name in ("surge", "canaries"):
            path, count = (*at, "reload", name), getattr(pool.reload, name)
            if (
                isinstance(most, int)
                and isinstance(count, int)
                and count > most
                and self._ok(path, processes)
            ):
                self._tree.complain(path, f"more than there are processes ({most})")

    def _memory(self, at: Path, pool: PoolSettings) -> None:
        soft, hard = (*at, "recycle", "memory_soft_bytes"), (*at, "recycle", "memory_hard_bytes")
        most = pool.recycle.memory_hard_bytes
        if most and pool.recycle.memory_soft_bytes >= most and self._ok(soft, hard):
            hint = "A worker that is killed at the one never comes to be replaced at the other"
            self._tree.complain(soft, f"not less than memory_hard_bytes ({most})", hint)

    def _users(self, at: Path, whose: PoolSettings | AdminSettings) -> None:
        if self._elsewhere:
            return
        for name in ("user", "socket_user"):
            path, user = (*at, name), getattr(whose, name)
            if user and self._ok(path) and users.uid(user) is None:
                self._no_such_user(path, user)
        for name in ("group", "socket_group"):
            path, group = (*at, name), getattr(whose, name)
            if group and self._ok(path) and users.group(group) is None and not users.is_id(group):
                near = hints.nearest(group, [entry.gr_name for entry in grp.getgrall()])
                self._tree.complain(path, "there is no such group", f'Did you mean "{near}"?' if near else "")
        path = (*at, "user")
        if users.is_id(whose.user) and not whose.group and self._ok(path) and users.user(whose.user) is None:
            self._tree.complain(
                path, "this number has no entry and so no group of its own", "Set `group` too"
            )

    def _no_such_user(self, path: Path, user: str) -> None:
        near = hints.nearest(user, [entry.pw_name for entry in pwd.getpwall()])
        self._tree.complain(path, "there is no such user", f'Did you mean "{near}"?' if near else "")

    def _variables(self, at: Path, pool: PoolSettings) -> None:
        for name, value in pool.env.items():
            path = (*at, "env", name)
            if not name or "=" in name or "\0" in name:
                self._tree.complain(path, "this cannot be the name of a variable")
            elif "\0" in value:
                self._tree.complain(path, "has a NUL in it")
        path = (*at, "env_file")
        if pool.env_file and not self._elsewhere and self._ok(path) and paths.is_file(pool.env_file):
            try:
                env_file.read(pool.env_file)
            except ConfigError as error:
                self._tree.problems.extend(error.problems)

    def _proxies(self, at: Path, pool: PoolSettings) -> None:
        for path, text in self._items((*at, "trusted_proxies"), pool.trusted_proxies):
            try:
                trusted_proxies.Trusted([text])
            except AddressError as error:
                self._tree.complain(path, str(error), error.hint)
        path, trusted = (*at, "proxy_protocol"), (*at, "trusted_proxies")
        if pool.proxy_protocol and not pool.trusted_proxies and self._ok(path, trusted):
            self._tree.complain(path, "nobody may connect: trusted_proxies is empty")
        known = {name.lower(): name for name in trusted_proxies.HEADERS}
        for path, text in self._items((*at, "forwarded_headers"), pool.forwarded_headers):
            if text.lower() not in known:
                near = hints.nearest(text.lower().replace("_", "-"), known)
                hint = f'Did you mean "{known[near]}"?' if near else ""
                self._tree.complain(path, f"expected {schema.one_of(trusted_proxies.HEADERS)}", hint)

    def _access_log(self, at: Path, pool: PoolSettings) -> None:
        path = (*at, "access_log")
        written = self._tree.get(path)
        if isinstance(written, str) and written in {
            "-",
            "stderr",
        }:  # ours is the log of events, which is on stderr
            self._tree.complain(path, 'expected "off", "stdout" or a file', 'Write "stdout"')
        elif pool.access_log not in {"off", "stdout"} and paths.is_folder(pool.access_log):
            self._tree.complain(path, "is a folder", f'Write "{written}/access.log"')
        path = (*at, "access_log_format")
        if pool.access_log_format not in access_format.WORDS and self._ok(path):
            try:
                access_format.parse(pool.access_log_format)
            except access_format.FormatError as error:
                self._tree.complain(path, str(error), error.hint)
        for place, text in self._items((*at, "access_log_exclude"), pool.access_log_exclude):
            if not text.startswith("/"):
                hint = f'Write "/{text}"' if text and not text.startswith("*") else ""
                self._tree.complain(place, "a path begins with /", hint)
            elif "*" in text[:-1]:
                self._tree.complain(place, "* can only stand at the end")

    def _items(self, path: Path, texts: tuple[str, ...]) -> Iterator[tuple[Path, str]]:
        """The texts of a list with their paths, without those that were complained of."""
        listed = isinstance(self._tree.get(path), list)
        for index, text in enumerate(texts):
            place = (*path, index) if listed else path
            if self._ok(place):
                yield place, text

    def _exists(self, path: Path, kind: str, place: str) -> None:
        if isinstance(path[-1], int) and not isinstance(self._tree.get(path[:-1]), list):
            path = path[:-1]  # a text alone, which counts as a list of one
        if self._elsewhere or not self._ok(path):
            return
        found = FilePath(place)
        try:
            there = found.is_dir() if kind == "folder" else found.is_file()
            anything = there or found.exists()
        except OSError as error:  # no permission to look
            self._tree.complain(path, f"{place}: {error.strerror}")
            return
        if not there:
            missing = f"{place} is not a {kind}" if anything else f"there is no {kind} {place}"
            self._tree.complain(path, missing)

    # ---- addresses

    def addresses(self, settings: Settings) -> None:
        """Check each address, and that no two are the same."""
        seen: list[tuple[str, Address]] = []
        for name, pool in settings.pool.items():
            bind = ("pool", name, "bind")
            if self._ok(bind) and not pool.bind:
                self._tree.complain(bind, "a pool listens on at least one address")
            self._bind(bind, f"pool.{name}", pool.bind, seen)
        self._bind(("admin", "bind"), "admin", settings.admin.bind, seen)

    def _bind(self, bind: Path, whose: str, texts: tuple[str, ...], seen: list[tuple[str, Address]]) -> None:
        if not self._ok(bind):
            return
        for path, text in self._items(bind, texts):
            address = self._address(path, text)
            if address is not None:
                self._not_twice(path, whose, address, seen)
                seen.append((whose, address))

    def _address(self, path: Path, text: str) -> Address | None:
        try:
            return addresses.parse(addresses.bare(text))
        except AddressError as error:
            self._tree.complain(path, str(error), error.hint)
            return None

    def _not_twice(self, path: Path, whose: str, address: Address, seen: list[tuple[str, Address]]) -> None:
        for others, other in seen:
            if other == address and addresses.is_any_port(address):
                continue
            if other == address:
                by = "" if others == whose else f" by {others}"
            elif addresses.overlap(address, other):
                by = f" by {other}" if others == whose else f" by {other} of {others}"
            else:
                continue
            unset = self._tree.get(path) is None  # then the default is meant, which the message must name
            self._tree.complain(path, f"{address} is bound already{by}" if unset else f"is bound already{by}")
            return


def _reads_all_of(reader: str, owner: str) -> bool:
    """Tell whether ``reader`` may read each file of ``owner``. Empty: as the master."""
    uid, other = (users.uid(name) if name else os.geteuid() for name in (reader, owner))
    return uid in {None, 0, other} or other is None  # None is told of where it is set


def _paths(at: Path, pool: PoolSettings) -> Iterator[tuple[Path, str, str]]:
    """The settings of a pool that name a file or folder which must be there."""
    for leaf, setting in schema.pool_leaves().items():
        kind = setting.extra.get("path")
        if kind in {"folder", "file"}:
            value: Any = pool
            for name in leaf:
                value = getattr(value, name)
            listed = enumerate(value) if isinstance(value, tuple) else [(None, value)]
            for index, place in listed:
                if place:
                    yield ((*at, *leaf) if index is None else (*at, *leaf, index)), kind, place
