"""What is known of one option of another server, and of the server."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

from msgspec import Struct

Near = Mapping[str, Any]
"""All that was given, by the names of the options: what some mean depends on others."""
Convert = Callable[[Any, Near], Any]
"""From its value to ours: a value of the option's target, `Several`, or `COVERED`. Raises `NoCounterpart`."""


class NoCounterpart(Exception):  # noqa: N818 - it says what there is not
    """There is nothing here for this value. Its text is a sentence without its full stop: why, and what instead."""


class Several(Struct, frozen=True):
    """Settings by their names below the pool, or with their table in front (``master.name``)."""

    settings: Mapping[str, Any]
    note: str = ""
    """What to know of it, as a sentence without its full stop."""


COVERED: Final = Several({})
"""It says what is so already, or another option's conversion takes it along."""


class Option(Struct, frozen=True):
    """One option of a server."""

    name: str
    """As in its settings file; of one that there is on the command line only, that with underscores."""
    flags: tuple[str, ...] = ()
    takes: Literal["value", "nothing", "list", "maybe"] = "value"
    """What follows on the command line. list: it may be repeated. maybe: a value may follow."""
    target: str = ""
    """The setting that it becomes; empty: none."""
    convert: Convert | None = None
    """None with a target: as it is. None without: there is no counterpart, and ``told`` says why."""
    told: str = ""
    """Of one with a target: what is converted. Else why there is none, and what to do instead. No full stop."""
    const: Any = True
    """What it means where nothing follows."""
    hook: bool = False
    """Its value is a function that the server calls."""
    variable: str = ""
    """A variable that has the same effect."""


class Server(Struct, frozen=True):
    """Another server: its options, and what it does unless it is told."""

    name: str
    commands: tuple[str, ...]
    """Programs that are it, and modules that ``python -m`` runs as it."""
    options: tuple[Option, ...]
    defaults: Mapping[str, tuple[Any, str]] = {}
    """What it does unless told, where that differs from gwctl's default and is noticed: by our setting, with a
    sentence about it."""
    prefix: str = ""
    """Of variables that set its options; empty: there are none."""
    unless: Mapping[str, str] = {}
    """What to say where an option is not given: its default means something that is not had here."""

    @property
    def by_flag(self) -> dict[str, Option]:
        return {flag: option for option in self.options for flag in option.flags}

    @property
    def by_name(self) -> dict[str, Option]:
        return {option.name: option for option in self.options}


def becomes(
    name: str,
    target: str,
    flags: str = "",
    convert: Convert | None = None,
    told: str = "",
    *,
    takes: Literal["value", "nothing", "list", "maybe"] = "value",
    const: Any = True,
    variable: str = "",
) -> Option:
    """Describe an option that has a counterpart; ``flags`` has blanks between them."""
    return Option(name, tuple(flags.split()), takes, target, convert, told, const, False, variable)


def nothing(
    name: str,
    told: str,
    flags: str = "",
    *,
    takes: Literal["value", "nothing", "list", "maybe"] = "value",
    variable: str = "",
) -> Option:
    """Describe an option without a counterpart."""
    return Option(name, tuple(flags.split()), takes, "", None, told, True, False, variable)


def hook(name: str, told: str) -> Option:
    """Describe a function that the server calls: ``told`` says where its work goes."""
    return Option(name, (), "value", "", None, told, True, True, "")
