"""``gwctl init``: a first gw.toml for the application in a folder, explained by its comments.

What is written is made from the settings' own descriptions, so it cannot say anything else
than the reference, and `gwctl check` accepts it (a test checks that for every case).
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from gwctl.config import paths, schema, toml_writer
from gwctl.config.discover import Candidate, discover
from gwctl.config.model.settings import MasterSettings, PoolSettings
from gwctl.config.schema import Setting
from gwctl.config.sources import DEFAULT_POOL
from gwctl.errors import GwctlError

_WIDTH: Final = 96
_PLACEHOLDER: Final = "module:application"
_POOL: Final = ("worker", "processes", "threads", "bind", "pythonpath", "env_file", "user", "access_log")
_TABLES: Final = {
    "timeouts": ("boot_timeout_s", "drain_timeout_s", "keepalive_timeout_s"),
    "limits": ("body_bytes_max",),
    "reload": ("settle_s", "surge"),
}
_HEAD: Final = """\
Settings of gwctl. A line that is commented out shows the default, or an example where the
default is empty. There are more settings: `gwctl config show` lists them all with where their
values come from. `gwctl check` says whether the file is right, `gwctl check --app` also
whether the application can be imported."""


class InitError(GwctlError):
    """The file cannot be written."""


class Written(msgspec.Struct, frozen=True):
    """What to tell the person."""

    summary: str
    next_step: str


def write(path: Path, *, force: bool) -> Written:
    """Write a file for what is in its folder.

    Raises:
        InitError: There is one already and not ``force``, or it cannot be written.
    """
    candidates = discover(path.parent)
    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(content(candidates))
    except (FileExistsError, IsADirectoryError):
        what = "is there already; gwctl init --force replaces it"
        if paths.is_folder(path):
            what = f"is a folder: name the file, as in -c {path / 'gw.toml'}"
        raise InitError(f"{path} {what}") from None
    except OSError as error:
        raise InitError(f"cannot write {path}: {error.strerror}") from None
    start = "gwctl start" if path.name == "gw.toml" else f"gwctl start -c {path.name}"
    if not candidates:
        return Written("found no application here", f"put its name into `app`, then {start}")
    best = candidates[0]
    return Written(f"{best.app}, {best.described}", start)


def content(candidates: Sequence[Candidate]) -> str:
    """Make the text of a file for the first of these; the others are mentioned."""
    lines = [*_comment(_HEAD), "", "[master]", *_settings(MasterSettings, ("name", "log_level"), {})]
    lines += ["", f"[pool.{DEFAULT_POOL}]", *_app(candidates)]
    given = {"pythonpath": [candidates[0].folder]} if candidates and candidates[0].folder else {}
    lines += ["", *_settings(PoolSettings, _POOL, given)]
    for table, names in _TABLES.items():
        kind = schema.settings_of(PoolSettings)[table].table
        if kind is None:
            raise TypeError(f"{table} is no table of settings")
        lines += ["", f"[pool.{DEFAULT_POOL}.{table}]", *_settings(kind, names, {})]
    return "\n".join(lines) + "\n"


def _app(candidates: Sequence[Candidate]) -> Iterator[str]:
    setting = schema.settings_of(PoolSettings)["app"]
    yield from _comment(setting.description)
    if not candidates:
        yield from _comment("None was found in this folder: write its name here.")
    for other in candidates[1:4]:
        yield f"# Also here: {other.app}, {other.described}"
    yield f"app = {toml_writer.text(candidates[0].app if candidates else _PLACEHOLDER)}"


def _settings(kind: type[msgspec.Struct], names: Sequence[str], given: dict[str, Any]) -> Iterator[str]:
    known = schema.settings_of(kind)
    for index, name in enumerate(names):
        if index:
            yield ""
        yield from _setting(known[name], given.get(name))


def _setting(setting: Setting, value: Any) -> Iterator[str]:
    yield from _comment(setting.description)
    if value is not None:
        yield f"{setting.name} = {toml_writer.value(value)}"
        return
    shown = setting.default if setting.default not in ("", ()) else setting.example
    text = toml_writer.number(shown) if isinstance(shown, float) else toml_writer.value(shown)
    yield f"# {setting.name} = {text}"


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(" ".join(text.split()), _WIDTH - 2)]
