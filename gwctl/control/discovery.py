"""Which master a command means: by name, by its settings file, by its socket, or the only one.

A settings file is matched against what the running masters say they run, rather than by
working out the name again: that also works when the file has become wrong since, which is
just when somebody asks for a reload to learn what is wrong with it.
"""

from __future__ import annotations

import shlex
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from gwctl.config import paths
from gwctl.control.client import ControlClient
from gwctl.control.paths import Instance, instances
from gwctl.control.protocol import Status
from gwctl.errors import ControlError
from gwctl.json_text import readable

DEFAULT_FILE: Final = "gw.toml"
ASK_TIMEOUT_S: Final = 5.0


def find(
    *,
    name: str | None,
    config: Path | None,
    control: Path | None,
    environ: Mapping[str, str],
    uid: int,
    cwd: Path,
    root: Path = Path("/"),
) -> Path:
    """The control socket to talk to. The first of ``control``, ``name``, ``config`` that is given counts.

    Where none is, a gw.toml in ``cwd`` that names a control socket means that one, whoever else runs.

    Raises:
        ControlError: None, or more than one; says which there are.
    """
    if control is not None:
        return control
    found = instances(environ, uid, root)
    if name is not None:
        return _only([each for each in found if each.name == name], found, f"named {_shown(name)}")
    if config is not None:
        return _by_config(config, found)
    if (named := _named_control(cwd / DEFAULT_FILE)) is not None:
        return named
    if len(found) > 1 and paths.exists(cwd / DEFAULT_FILE):
        here = _running(cwd / DEFAULT_FILE, found)
        if len(here) == 1:
            return here[0].path
    return _only(found, found, "")


def _by_config(config: Path, found: Sequence[Instance]) -> Path:
    if (named := _named_control(config)) is not None:
        return named
    given, unreadable = _master_table(config)
    running = _running(config, found)
    if not running and isinstance(given.get("name"), str):
        running = [each for each in found if each.name == given["name"]]
    try:
        return _only(running, found, f"with {_shown(config)}")
    except ControlError as error:
        if not unreadable:
            raise
        hint = "If it named a control socket, give that: --control PATH"
        if paths.is_file(config / DEFAULT_FILE):
            hint = f"Did you mean {_shown(config / DEFAULT_FILE)}?"
        raise ControlError(f"{error}\n{_shown(config)} cannot be read ({unreadable}). {hint}") from None


def _named_control(config: Path) -> Path | None:
    """The socket that the file itself names, wherever it is."""
    control = _master_table(config)[0].get("control")
    return (
        config.parent / control if isinstance(control, str) and control not in {"", "auto", "off"} else None
    )


def _running(config: Path, found: Sequence[Instance]) -> list[Instance]:
    """The masters that were started with this file."""
    wanted = readable(str(config.resolve()))  # as masters name theirs
    return [each for each in found if (path := _config_of(each)) and str(path.resolve()) == wanted]


def _config_of(instance: Instance) -> Path | None:
    try:
        with ControlClient(instance.path) as client:
            path = client.call("status", Status(), timeout_s=ASK_TIMEOUT_S).get("config")
    except ControlError:
        return None  # another user's, or hung: not the one that can be talked to
    return Path(path) if isinstance(path, str) and path else None


def _master_table(config: Path) -> tuple[dict[str, Any], str]:
    """[master] of the file, and why it cannot be read; its other mistakes are not our business."""
    if paths.exists(config) and not paths.is_file(config):
        return {}, "it is not a file"  # a pipe could be waited for for ever
    try:
        table = tomllib.loads(config.read_text("utf-8")).get("master", {})
    except OSError as error:
        return {}, error.strerror or str(error)
    except ValueError as error:
        return {}, str(error)
    return (table if isinstance(table, dict) else {}), ""


def _shown(name: str | Path) -> str:
    """As a shell takes it: quoted where it could be read as more than one word."""
    return shlex.quote(readable(str(name)))


def _only(matching: Sequence[Instance], found: Sequence[Instance], which: str) -> Path:
    if len(matching) == 1:
        return matching[0].path
    if len(matching) > 1:
        lines = "\n".join(f"  {_shown(each.name)}  --control {_shown(each.path)}" for each in matching)
        raise ControlError(
            f"{len(matching)} masters run {which}".rstrip() + f"; say which, by --name:\n{lines}"
        )
    if not found:
        what = f"found no master that runs {which}".rstrip()
        raise ControlError(f"{what}. Start one with gwctl start; of one that runs, give --control PATH")
    names = ", ".join(_shown(each.name) for each in found)
    raise ControlError(f"no master runs {which}; running: {names}")
