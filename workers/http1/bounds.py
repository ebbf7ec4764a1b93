"""How much a connection may hold, and how long it may go on after its last response."""

from __future__ import annotations

from typing import Final

SLICE_BYTES: Final = 16384
"""Most that is fed to the parser at once: what follows a head is copied back, so pipelines come in slices."""
TAIL_BYTES_MAX: Final = 65536
"""Reading pauses while more than this waits for the request in progress."""
DISCARD_BYTES_MAX: Final = 65536
"""So much of an unread body is skipped to keep a connection; beyond it closing is cheaper."""
LINGER_S: Final = 10.0
"""Longest lingering close; `LINGER_SILENCE_S` without a byte ends it earlier."""
LINGER_SILENCE_S: Final = 2.0
