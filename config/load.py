"""Settings from all their sources: defaults, gw.toml, GWCTL_ variables, flags; later wins.

`load` looks at nothing but its arguments and the files they name, so that a reload can call
it again with the same ones. It tells every problem at once, and it is the only way to
settings: whatever holds a `Settings` knows that it has been checked.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from gwctl.config import (
    addresses,
    app_spec,
    checks,
    multiproc_variable,
    schema,
    temporary_folder,
    toml_writer,
    variables,
)
from gwctl.config.convert import Walk
from gwctl.config.model.admin import AdminSettings
from gwctl.config.model.settings import MasterSettings, PoolSettings, Settings
from gwctl.config.problems import COMMAND_LINE, ConfigError, Problem, in_order
from gwctl.config.sources import (
    DEFAULT_POOL,
    Override,
    Tree,
    apply_environment,
    apply_overrides,
    read_file,
)
from gwctl.log import destination

if TYPE_CHECKING:
    from gwctl.config.certificates import Identity

DEFAULT_NAME: Final = "gwctl"
_NO_FILE: Final = "settings"
"""What problems call the place where a setting is missing when there is no file."""


class Loaded(msgspec.Struct, frozen=True):
    """Settings that have been checked.

    All paths in them are absolute, the name is known, and addresses are in their one form.
    ``processes`` and ``worker`` may still be ``auto``: they depend on machine and application.
    """

    settings: Settings
    sources: Mapping[str, str]
    """Where each setting came from that somebody has set, by its dotted name: ``gw.toml:7``,
    ``GWCTL_PROCESSES``, ``--bind``. What is not in it has its default."""
    path: Path | None
    """Of the file, absolute."""
    identities: Mapping[str, Identity] = msgspec.field(default_factory=dict)
    """What the pools that speak TLS serve with, by their names, as the files were when they were checked."""

    notices: Sequence[str] = ()
    """Of the machine as it was then."""

    @property
    def warnings(self) -> list[str]:
        """What is no mistake and should be seen to."""
        found = [text for identity in self.identities.values() for text in identity.warnings]
        return [*found, *self.notices]


def load(
    path: Path | None,
    *,
    app: str | None = None,
    overrides: Sequence[Override] = (),
    environ: Mapping[str, str],
    cwd: Path,
    elsewhere: bool = False,
) -> Loaded:
    """Read, merge and check.

    Args:
        path: The file, as the person named it; None to do without.
        app: The application as given on the command line, for the only pool there is.
        overrides: Further settings from the command line.
        environ: For the GWCTL_ variables.
        cwd: What relative paths are under when there is no file, and ``path`` itself.
        elsewhere: For another machine: files and users that they name are not looked for on this one.

    Raises:
        ConfigError: With all problems.
    """
    file = _absolute(cwd, path) if path is not None else None
    tree = read_file(file, str(path)) if file is not None else Tree(_NO_FILE)
    declared = tree.values.get("pool")
    apply_environment(tree, environ)
    if app is not None:
        overrides = [Override("app", app, "APP"), *overrides]
    apply_overrides(tree, overrides)
    if not declared:
        _require_a_pool(tree)
    walk = Walk(tree)
    settings = walk.settings()
    settings = _complete(settings, file.parent if file else cwd, file is not None)
    identities = checks.check(settings, tree, walk.bad, elsewhere=elsewhere)
    if tree.problems:
        raise ConfigError(in_order(tree.problems))
    sources = {
        toml_writer.dotted(place): str(origin) for place, origin in tree.origins.items() if _is_leaf(place)
    }
    notices = (
        ()
        if elsewhere
        else (
            *temporary_folder.warnings(settings, environ),
            *variables.warnings(settings, environ),
            *multiproc_variable.warnings(settings, environ),
        )
    )
    return Loaded(settings, sources, file, identities, notices)


def _absolute(cwd: Path, path: Path) -> Path:
    """Keep links as they are: in ``/srv/shop/current/gw.toml`` the link is what a deployment changes."""
    whole = cwd / path
    return whole.resolve() if ".." in whole.parts else whole


def _require_a_pool(tree: Tree) -> None:
    """Without a pool in the file, one comes into being by its application; anything else is too little."""
    has_app = tree.get(("pool", DEFAULT_POOL, "app")) is not None
    told_otherwise = not isinstance(tree.values.get("pool", {}), dict) or tree.values.keys() - {
        "pool",
        *schema.TABLES,
    }
    if has_app or told_otherwise:
        return
    if tree.file == _NO_FILE:
        problem = Problem(COMMAND_LINE, 0, "APP", "", "is missing", "Write gwctl start module:application")
    else:
        hint = f'Write [pool.{DEFAULT_POOL}] and under it app = "module:application"'
        problem = Problem(tree.file, 0, "", "", "there is no pool: nothing to serve", hint)
    tree.problems.append(problem)
    tree.values["pool"] = {}


def _is_leaf(place: tuple[str | int, ...]) -> bool:
    names = tuple(part for part in place if isinstance(part, str))
    return len(names) == len(place) and schema.setting_at(names) is not None


# ---- what is relative or left open


def _complete(settings: Settings, folder: Path, has_file: bool) -> Settings:
    """Make paths absolute, addresses canonical, and give the instance its name."""
    seen = Counter[str]()
    pools = {name: _complete_pool(pool, folder, seen) for name, pool in settings.pool.items()}
    admin = _replace_paths(settings.admin, schema.table_leaves("admin"), folder)
    admin = msgspec.structs.replace(admin, bind=_addresses(admin.bind, folder, seen))
    master = _replace_paths(settings.master, schema.table_leaves("master"), folder)
    if not master.name:
        master = msgspec.structs.replace(master, name=_instance_name(pools, folder, has_file))
    log = settings.log
    if log.to and destination.is_file(log.to):
        log = msgspec.structs.replace(log, to=str(folder / log.to))
    return msgspec.structs.replace(settings, pool=pools, master=master, admin=admin, log=log)


def _complete_pool(pool: PoolSettings, folder: Path, seen: Counter[str]) -> PoolSettings:
    pool = _replace_paths(pool, schema.pool_leaves(), folder)
    bind = _addresses(pool.bind, folder, seen)
    return msgspec.structs.replace(pool, bind=bind, chdir=pool.chdir or str(folder))


def _addresses(bind: tuple[str, ...], folder: Path, seen: Counter[str]) -> tuple[str, ...]:
    """``seen`` counts, over all that bind, the addresses that mean another port each time."""
    whole = (_canonical(addresses.make_absolute(address, folder)) for address in bind)
    return tuple(addresses.numbered(address, seen) for address in whole)


def _canonical(address: str) -> str:
    try:
        return addresses.canonical(address)
    except addresses.AddressError:
        return address  # the checks will tell


Table = TypeVar("Table", PoolSettings, MasterSettings, AdminSettings)
Struct = TypeVar("Struct", bound=msgspec.Struct)


def _replace_paths(table: Table, settings: Mapping[schema.Path, schema.Setting], folder: Path) -> Table:
    for path, setting in settings.items():
        if "path" in setting.extra:
            table = _replace_path(table, path, folder, setting.extra.get("words", ()))
    return table


def _replace_path(table: Struct, path: schema.Path, folder: Path, words: Sequence[str]) -> Struct:
    """Make the paths of one setting absolute; ``path`` is where it is below ``table``."""
    name, *below = path
    value: Any = getattr(table, name)
    if below:
        value = _replace_path(value, tuple(below), folder, words)
    elif isinstance(value, tuple):
        value = tuple(_under(folder, text, words) for text in value)
    else:
        value = _under(folder, value, words)
    return msgspec.structs.replace(table, **{name: value})


def _under(folder: Path, text: str, words: Sequence[str]) -> str:
    return text if not text or text in words else str(folder / text)


def _instance_name(pools: Mapping[str, PoolSettings], folder: Path, has_file: bool) -> str:
    """Name a master by its folder, or by its application's package when it was started without a file."""
    if has_file and (name := _safe(folder.name)):
        return name
    for pool in pools.values():
        try:
            return _safe(app_spec.parse(pool.app).module.partition(".")[0]) or DEFAULT_NAME
        except app_spec.AppSpecError:
            continue
    return DEFAULT_NAME


def _safe(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).lstrip("_.-")[:64]
