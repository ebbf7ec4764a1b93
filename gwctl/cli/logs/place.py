"""Where the event log of a master is: as the master says, or, if none runs, as its settings say."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

from gwctl.cli.options import DEFAULT_FILE, read, reader
from gwctl.cli.targeted import control_socket
from gwctl.config import paths
from gwctl.control.client import ControlClient
from gwctl.control.protocol import Status
from gwctl.errors import ControlError
from gwctl.log.destination import STDERR, is_file

_ANSWER_TIMEOUT_S = 10.0


class Place(NamedTuple):
    """Of the log of the master that is called ``instance``; ``pid`` 0: it does not run."""

    instance: str
    to: str
    """As `gwctl.log.destination.settled` has it, or a file."""
    pid: int = 0


def place_of(config: Path | None, name: str | None, control: Path | None) -> Place:
    """Find it.

    Raises:
        ControlError: Neither a master nor settings can be found, or the master is older than this command.
    """
    try:
        with ControlClient(control_socket(config, name, control)) as client:
            document = client.call("status", Status(), timeout_s=_ANSWER_TIMEOUT_S)
    except ControlError:
        settings = _settings(config, name, control)
        if settings is None:
            raise
        return settings
    return _told(document)


def _told(document: dict[str, Any]) -> Place:
    instance, to, pid = (document.get(each) for each in ("name", "log_to", "pid"))
    if not isinstance(instance, str) or not isinstance(to, str) or not isinstance(pid, int) or not to:
        raise ControlError("the master does not say where its log is: it is older than this command")
    return Place(instance, to, pid)


def _settings(config: Path | None, name: str | None, control: Path | None) -> Place | None:
    """As a file says that was named, or that is here; None: there is none, or another master is meant."""
    if control is not None or (config is None and (name is not None or not paths.exists(Path(DEFAULT_FILE)))):
        return None
    loaded = read(reader(None, config, []))
    settings = loaded.settings
    if name is not None and settings.master.name != name:
        return None
    return Place(settings.master.name, settings.log.to)


def elsewhere(place: Place) -> str:
    """Where a log is that cannot be read from here, and how to read it there."""
    if place.to == "syslog":
        return (
            f"the log goes to syslog (/dev/log), as {place.instance}. Read it where that puts it: "
            f"grep -F '{place.instance}[' /var/log/syslog (or /var/log/messages), or journalctl -t "
            f"{place.instance} where the journal takes it"
        )
    if place.to != STDERR:
        return f"the log goes to {place.to}, as {place.instance}: read it there"
    if not place.pid:
        return (
            "the log goes to the stderr that it is started with, and no master runs. Of a systemd service: "
            f"journalctl -t {place.instance}; of a container: docker logs or kubectl logs --previous"
        )
    return f"the log goes to the stderr of pid {place.pid}, {_stderr_of(place.pid)}"


def _stderr_of(pid: int) -> str:
    try:
        target = os.readlink(f"/proc/{pid}/fd/2")  # noqa: PTH115 - it need not be a path
    except OSError:
        return "which whoever started it reads"
    if target.startswith("pipe:"):
        return (
            "a pipe, which whoever started it reads: docker logs or kubectl logs of a container, or "
            "whatever the pipe leads to"
        )
    if target.startswith("socket:"):
        return "a socket, which whoever started it reads"
    if target.startswith(("/dev/pts/", "/dev/tty", "/dev/console")):
        return f"the terminal {target}"
    if target == os.devnull:
        return f'{target}: nobody reads it. [log] to = "journal" or a file keeps it'
    return f"the file {target}: tail -F {target}"


def is_readable(place: Place) -> bool:
    """It is where `journal` or `files` finds it."""
    return is_file(place.to) or place.to.partition(":")[0] == "journal"
