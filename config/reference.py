"""``python -m gwctl.config.reference`` prints docs/configuration.md, made from the settings themselves.

``make docs`` writes it; a test fails when the file in the repository is not what this prints.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from inspect import cleandoc
from typing import Any, Final

import msgspec

from gwctl.config import schema, toml_writer
from gwctl.config.model.settings import PoolSettings
from gwctl.config.schema import Path, Setting

_INTRODUCTION: Final = """\
# Configuration

Made by `make docs` from the settings' own descriptions (config/model/settings.py); edit those.

Settings come from four places, and the later wins: defaults, `gw.toml`, `GWCTL_*` variables,
the command line. `gwctl check` says whether they are right, all mistakes at once, each with
its line; `gwctl config show` prints those in force and where each came from; `gwctl init`
writes a first file. An editor completes and explains settings by their JSON Schema:
`gwctl config schema > gw.schema.json`, and `#:schema ./gw.schema.json` as the first line of
gw.toml (Even Better TOML in VS Code, taplo, and others).

    [master]                                  # the master process itself
    name = "shop"

    [log]                                     # the event log
    format = "json"

    [control]                                 # who may use `gwctl reload` and the others
    allow_users = ["deploy"]

    [admin]                                   # probes, metrics, the dashboard
    bind = ["127.0.0.1:9100"]

    [statsd]                                  # figures for statsd
    to = "udp://127.0.0.1:8125"

    [pool.web]                                # an application; NAME is yours to choose
    app = "shop.wsgi:application"
    bind = ["127.0.0.1:8000"]

    [pool.web.timeouts]
    drain_timeout_s = 60

    [pool.live]                               # a file may hold several
    app = "shop.asgi:application"
    bind = ["127.0.0.1:8001"]

**Paths** in the settings are relative to the folder of gw.toml; without a file, to the working
directory. Links in them are kept, so that a worker that starts after a deployment follows them
to the new release.

**Units.** Names ending in `_s` are seconds (fractions are fine), `_bytes` bytes; `_max` is a limit.

**Variables** are `GWCTL_` and the path of the setting in capitals: `GWCTL_MASTER_LOG_LEVEL`,
`GWCTL_POOL_WEB_PROCESSES` (a `-` in a pool's name becomes `_`). With a single pool its name can be
left out, as the tables below do: `GWCTL_PROCESSES`. A list is written with commas:
`GWCTL_BIND=127.0.0.1:8000,unix:/run/shop.sock`. An entry of `env` is `GWCTL_ENV_` and its name. A
variable that is empty counts as not set; one that names no setting is a mistake, and is told.

**Flags.** Some settings have a flag of `gwctl start`; `--set` takes any:
`--set timeouts.drain_timeout_s=60`, `--set pool.live.processes=2`, `--set env.DEBUG=1`.

**At a reload** (SIGHUP, `gwctl reload`) the file is read again, with the variables and flags of the
start. Settings of a pool apply to the new generation, those of `[log]`, `[control]`, `[admin]` and `[statsd]`
when it is adopted. `name`, `pidfile` and `control` of the master and `to` of `[log]` take a restart.
"""

_ENV_FILE: Final = """\
## The file that `env_file` names

    # a comment
    NAME=value                 up to the end of the line; # after a blank ends it
    export NAME=value          the same
    NAME='as it is'            nothing is special; may go over several lines
    NAME="a \\"b\\"\\n"           \\n \\r \\t \\" \\\\ \\$ are escapes; may go over several lines

Nothing is expanded: `$HOME` is those five characters. It is read as the user of the workers.
"""


def reference() -> str:
    """Make the whole page."""
    lines = [*_INTRODUCTION.splitlines(), ""]
    for name, table in schema.TABLES.items():
        lines += _table(f"[{name}]", table, (name,))
    lines += _table("[pool.NAME]", PoolSettings, ())
    for name, setting in schema.settings_of(PoolSettings).items():
        if (kind := setting.table or setting.otherwise) is not None:
            lines += _table(f"[pool.NAME.{name}]", kind, (name,))
    return "\n".join([*lines, *_ENV_FILE.splitlines()]) + "\n"


def _table(title: str, kind: type[msgspec.Struct], path: Path) -> Iterator[str]:
    yield f"## {title}"
    yield ""
    yield cleandoc(kind.__doc__ or "")  # as Python 3.13 keeps it
    yield ""
    for name, setting in schema.settings_of(kind).items():
        if setting.table is None:
            yield from _setting(setting, (*path, name))


def _setting(setting: Setting, path: Path) -> Iterator[str]:
    yield f"### {setting.name}"
    yield ""
    yield setting.description
    yield ""
    yield f"- type: {_type(setting)}"
    yield f"- default: {_default(setting)}"
    yield f"- example: `{setting.name} = {toml_writer.value(setting.example)}`"
    variable = "GWCTL_" + "_".join(path).upper()
    yield f"- variable: `{variable}{'_NAME' if setting.name == 'env' else ''}`"
    yield f"- command line: {_flag(setting, path)}"
    yield ""


def _type(setting: Setting) -> str:
    bounds = schema.bounds(setting.kind)
    form = setting.extra.get("form")
    kind = "a table of texts" if setting.name == "env" else setting.expected
    kind = form if form and kind == "text" else kind
    if setting.extra.get("path"):
        kind += f" ({setting.extra['path'].replace('place', 'path')})"
    return f"{kind}, {bounds}" if bounds else kind


def _default(setting: Setting) -> str:
    if setting.default is schema.REQUIRED:
        return "none, it must be set"
    return f"`{_value(setting.default)}`"


def _value(value: Any) -> str:
    return toml_writer.number(value) if isinstance(value, float) else toml_writer.value(value)


def _flag(setting: Setting, path: Path) -> str:
    flag = setting.extra.get("flag")
    if flag == "APP":
        return "`gwctl start APP`"
    name = ".".join((*path, "NAME") if setting.name == "env" else path)
    text = f"`--set {name}=...`"
    return f"`{flag}`, {text}" if flag else text


if __name__ == "__main__":
    sys.stdout.write(reference())
