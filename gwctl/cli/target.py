"""Which master a command means: ``-c``, ``--name``, ``--control``, or the only one."""

from __future__ import annotations

import os
from pathlib import Path

from gwctl.cli.folder import logical_cwd
from gwctl.control.discovery import find


def control_socket(config: Path | None, name: str | None, control: Path | None) -> Path:
    """Return the path of its control socket.

    Raises:
        GwctlError: There is none, or several, or no folder to look from.
    """
    elsewhere = control or name or (config is not None and config.is_absolute())
    return find(
        name=name,
        config=config,
        control=control,
        environ=os.environ,
        uid=os.geteuid(),
        cwd=Path("/") if elsewhere else logical_cwd(os.environ),
    )
