"""How many descriptors this process may have: what connections, and responses that wait in files, share."""

from __future__ import annotations

import resource
from typing import Final

UNLIMITED: Final = 1 << 62


def descriptors_max() -> int:
    """Return how many it may have now."""
    return number_of(resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def number_of(limit: int) -> int:
    """Return what a limit of the kernel's is as a number."""
    return UNLIMITED if limit == resource.RLIM_INFINITY else limit
