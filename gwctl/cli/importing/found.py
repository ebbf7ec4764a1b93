"""What a source says: the command of a server, or its settings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct, field

from gwctl.config.foreign.option import Server
from gwctl.config.foreign.translation import Given, Left, Line
from gwctl.errors import ExitStatus, GwctlError


class NotImported(GwctlError):  # noqa: N818 - what is shown is the text
    """What was named is nothing that can be read, or says nothing of a server."""

    exit_status = ExitStatus.SETTINGS


class Invocation(Struct):
    """A server as something starts it."""

    server: Server
    words: list[str]
    """Behind the program's name."""
    folder: Path
    """What relative paths of files that it reads are under, here."""
    place: str = ""
    """Where it was found, for comments: ``Procfile:2``. Empty: on the command line."""
    environ: Mapping[str, str] = field(default_factory=dict)
    """What is known of its environment."""
    root: str = ""
    """A folder of the image or machine that `folder` is there: ``/app``."""
    unexpanded: bool = False
    """There may be variables in it that are known at start only."""
    lines: list[Line] = field(default_factory=list)
    """What else is said there: user, working directory."""
    left: list[Left] = field(default_factory=list)


class Stated(Struct):
    """A server's settings without a command."""

    server: Server
    given: list[Given]
    folder: Path
    lines: list[Line] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)
    unexpanded: bool = False


Found = Invocation | Stated
"""One application of a source."""


class Source(Struct):
    """All that was found, by the names of the pools that it makes."""

    shown: str
    """What the head of the file calls it."""
    kind: str
    pools: dict[str, Found]
    left: list[Left] = field(default_factory=list)
    """What concerns none of them alone."""
