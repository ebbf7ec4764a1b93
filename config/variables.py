"""Variables of ``env`` and ``env_file`` that come too late for a worker: what to say about them.

A worker is a fork of the master. What Python, the C library and the dynamic linker read when a
program starts, they have read by then, in the master's environment. TZ and the locale of
characters are applied again (`gwctl.workers.lifecycle.environment`); for the others it can only be said.
"""

from __future__ import annotations

import codecs
import locale
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from gwctl.config import env_file
from gwctl.config.model.settings import PoolSettings, Settings
from gwctl.config.problems import ConfigError

LOCALE: Final = ("LC_ALL", "LC_CTYPE", "LANG")
"""What decides about characters: the first that is set."""
_READ_LATER: Final = frozenset(
    {
        "PYTHONASYNCIODEBUG",
        "PYTHONBREAKPOINT",
        "PYTHONINSPECT",
        "PYTHONSTARTUP",
        "PYTHONTZPATH",
        "PYTHON_BASIC_REPL",
        "PYTHON_COLORS",
        "PYTHON_HISTORY",
    }
)
_AT_START: Final = re.compile("PYTHON|LD_|MALLOC_|GLIBC_TUNABLES$")
_ZONE_NAME: Final = re.compile(r":?[A-Za-z_]+(/[A-Za-z_+\-0-9]+)+")
_ZONES: Final = Path("/usr/share/zoneinfo")


def given(pool: PoolSettings) -> dict[str, str]:
    """What the pool adds to the environment; a file that cannot be read is told of elsewhere."""
    try:
        of_file = env_file.read(pool.env_file) if pool.env_file else {}
    except ConfigError:
        of_file = {}
    return {**of_file, **pool.env}


def warnings(settings: Settings, environ: Mapping[str, str]) -> Iterator[str]:
    """What to say about the pools of ``settings``, of a master that has ``environ``."""
    for name, pool in settings.pool.items():
        changed = {
            variable: value for variable, value in given(pool).items() if environ.get(variable) != value
        }
        for text in _warnings(changed, environ):
            yield f"pool.{name}: {text}"


def _warnings(changed: Mapping[str, str], environ: Mapping[str, str]) -> Iterator[str]:
    late = sorted(name for name in changed if _AT_START.match(name) and name not in _READ_LATER)
    if late:
        hint = " (for PYTHONPATH there is `pythonpath`)" if "PYTHONPATH" in late else ""
        yield (
            f"{', '.join(late)} in env or env_file: read when a program starts, so only by those that the "
            f"workers start. For the workers themselves set it where gwctl is started{hint}"
        )
    zone = changed.get("TZ", "")
    if _ZONE_NAME.fullmatch(zone) and _ZONES.is_dir() and not (_ZONES / zone.lstrip(":")).exists():
        yield f"TZ={zone} is no zone that this machine knows: the clock would be that of UTC"
    if not changed.keys().isdisjoint(LOCALE):
        yield from _locale_warnings({**environ, **changed})


def _locale_warnings(variables: Mapping[str, str]) -> Iterator[str]:
    variable = next((name for name in LOCALE if variables.get(name)), "")
    if not variable:
        return
    value = variables[variable]
    before = locale.setlocale(locale.LC_CTYPE)
    try:
        locale.setlocale(locale.LC_CTYPE, value)
    except locale.Error:
        yield f"{variable}={value} is no locale that this machine has: see locale -a"
        return
    finally:
        locale.setlocale(locale.LC_CTYPE, before)
    _, dot, encoding = value.partition("@")[0].partition(".")
    ours = sys.getfilesystemencoding()
    if dot and _codec(encoding) != _codec(ours):
        yield (
            f"{variable}={value}: names of files and standard streams stay in {ours}, as gwctl was started. "
            "Start it with that locale"
        )


def _codec(name: str) -> str:
    try:
        return codecs.lookup(name).name
    except LookupError:
        return name
