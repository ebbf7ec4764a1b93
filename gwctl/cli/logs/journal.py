"""An event log that is in systemd's journal, read through journalctl."""

from __future__ import annotations

import os
import re
import select
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from typing import IO, Final, NamedTuple

from gwctl.cli.logs.entries import Entry, Wanted, of_journal
from gwctl.errors import ControlError
from gwctl.log.level import Level

_NAMESPACE: Final = re.compile(r"journal:/run/systemd/journal\.([^/]+)/socket")
_PRIORITIES: Final = {Level.DEBUG: "debug", Level.INFO: "info", Level.WARNING: "warning", Level.ERROR: "err"}
_POLL_MS: Final = 500
"""Between two looks whether anybody reads on."""
_READ_BYTES: Final = 65_536
_COMPLAINT_BYTES: Final = 4096


class Query(NamedTuple):
    """What is asked for. ``last`` is None for all."""

    instance: str
    to: str
    wanted: Wanted = Wanted()
    since_s: float | None = None
    last: int | None = None
    follow: bool = False


def command(query: Query) -> list[str]:
    """The journalctl that finds the entries of one master."""
    words = ["journalctl", "--quiet", "--no-pager", "--all", "--output=json", "--no-hostname"]
    namespace = _NAMESPACE.fullmatch(query.to)
    if namespace is not None:
        words.append(f"--namespace={namespace[1]}")
    if query.since_s is not None:
        words.append(f"--since=-{query.since_s:.0f}s")
    words.append("--lines=all" if query.last is None else f"--lines={query.last}")
    if query.follow:
        words.append("--follow")
    if query.wanted.level > Level.DEBUG:
        words.append(f"--priority={_PRIORITIES[query.wanted.level]}")
    words.append(f"GWCTL_INSTANCE={query.instance}")
    if query.wanted.pool:
        words.append(f"GWCTL_POOL={query.wanted.pool}")
    if query.wanted.slot is not None:
        words.append(f"GWCTL_SLOT={query.wanted.slot}")
    return words


def read(query: Query, show: Callable[[Entry], None], nobody_reads: Callable[[], bool]) -> None:
    """Show the entries, the oldest first.

    Raises:
        ControlError: There is no journalctl, or it cannot read the journal.
    """
    with tempfile.TemporaryFile() as complaints:  # a pipe that nobody reads meanwhile would hold it up
        _read(query, complaints, show, nobody_reads)


def _read(
    query: Query, complaints: IO[bytes], show: Callable[[Entry], None], nobody_reads: Callable[[], bool]
) -> None:
    words = command(query)
    try:
        process = subprocess.Popen(  # noqa: S603 - a list of words, no shell
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=complaints
        )
    except OSError as error:
        raise ControlError(
            f"the log is in systemd's journal, and journalctl cannot be run here ({error.strerror}). Where "
            f"it can: journalctl GWCTL_INSTANCE={query.instance}"
        ) from None
    with process:
        assert process.stdout is not None
        try:
            for line in _lines(process.stdout, nobody_reads):
                entry = of_journal(line)
                if entry is not None and query.wanted(entry):
                    show(entry)
        finally:
            process.terminate()
        if process.wait() > 0:
            complaints.seek(0)
            complaint = complaints.read(_COMPLAINT_BYTES).decode("utf-8", "replace").strip()
            raise ControlError(f"journalctl: {complaint or f'exit status {process.returncode}'}")


def _lines(source: IO[bytes], nobody_reads: Callable[[], bool]) -> Iterator[str]:
    """What journalctl writes, until it ends, or nobody reads what comes of it."""
    waiting = select.poll()
    waiting.register(source, select.POLLIN)
    begun = b""
    while not nobody_reads():
        if not waiting.poll(_POLL_MS):
            continue
        data = os.read(source.fileno(), _READ_BYTES)
        if not data:
            return
        *lines, begun = (begun + data).split(b"\n")
        for line in lines:
            yield line.decode("utf-8", "backslashreplace")
