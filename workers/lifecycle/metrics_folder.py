"""The folder in which prometheus_client keeps what the application counts, for the admin process to read.

prometheus_client chooses its multiprocess mode by a variable when it is imported, and finds its folder by
that variable whenever it notices that it runs in another process. So each worker has a folder of its own,
named by the worker's number: what it has counted is found even if another process gets its pid, and what a
template has counted during the import is not counted again in its workers.

An application that has the variable already (from the environment, `env`, `env_file`, or because it sets it
itself) is left alone.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from gwctl.config.multiproc_variable import NAMES, VARIABLE
from gwctl.ipc.assignment import Assignment
from gwctl.log.event_log import Log


def offer(assignment: Assignment, log: Log) -> None:
    """Before the import: make the folder, and set the variable; else each process counts for itself."""
    if not assignment.metrics_folder or any(name in os.environ for name in NAMES):
        return
    folder = _of(assignment)
    try:
        _make(folder)
    except OSError as error:
        log.warning(f"application_metrics: cannot make {folder}: {error.strerror}")
        return
    os.environ[VARIABLE] = str(folder)


def move(template: Assignment, assignment: Assignment, log: Log) -> None:
    """In a worker whose template has imported the application: have a folder of its own, if that had one."""
    if template.metrics_folder and os.environ.get(VARIABLE) == str(_of(template)):
        del os.environ[VARIABLE]
        offer(assignment, log)


def _of(assignment: Assignment) -> Path:
    return Path(assignment.metrics_folder, str(assignment.worker))


def _make(folder: Path) -> None:
    """Whoever may read the pool's folder may read this one: see `gwctl.supervisor.admin.metrics_folder`."""
    mode = stat.S_IMODE(folder.parent.stat().st_mode) & 0o770
    umask = os.umask(0)
    try:
        folder.mkdir(mode)
    finally:
        os.umask(umask)
