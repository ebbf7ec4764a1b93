"""The token that a change over the admin listener takes, as its file has it."""

from __future__ import annotations

from gwctl.config import admin_token
from gwctl.records.admin import AdminTokenUnusable
from gwctl.supervisor.recorder import Recorder


def read_token(path: str, recorder: Recorder) -> str:
    """Read it. Empty, so that nobody may change anything: there is no file, or none of use, which is told."""
    try:
        return admin_token.read(path) if path else ""
    except admin_token.TokenError as error:
        recorder.write(AdminTokenUnusable(path=path, reason=str(error)))
        return ""
