"""What a worker has from its template of multiprocessing, and is not its own.

`multiprocessing` does this in the children it starts itself: children, finalizers and connections are those
of the process that made them, and objects that are shared are to know that there is one process more.
Without it, the end of a worker would end, and try to join, the children of its template.
"""

from __future__ import annotations

import sys
import weakref


def leave_to_template() -> None:
    """In a worker that was just forked. Nothing that was not imported is imported."""
    weakref.finalize._registry.clear()  # type: ignore[attr-defined]  # noqa: SLF001 - they are run by who made them
    process, util = sys.modules.get("multiprocessing.process"), sys.modules.get("multiprocessing.util")
    if process is not None:
        process._children.clear()  # noqa: SLF001 - as BaseProcess._bootstrap
    if util is not None:
        util._finalizer_registry.clear()  # noqa: SLF001 - as above
        util._run_after_forkers()  # noqa: SLF001 - as above
