"""What the master imports for its workers, once, before the first fork.

A module that the master has imported is in memory once, however many workers there are, and costs none
of them time. One that each worker imports for itself is there as often.

Rules
    - Only the standard library and modules of gwctl that import nothing else. uvloop, uvicorn and the
      parsers stay with the workers, as the application does: what is installed anew is used by the
      workers of the next reload. For gwctl itself it is better so: a worker has half of its code from
      the master in any case, and the other half had better be of the same version.
    - Importing does nothing but define: no thread, no descriptor, no event loop. The master never uses
      what is imported here.
    - What no pool asks for is not imported. A worker imports whatever else it turns out to need (after
      a reload with other settings, say) before it says that it is ready.
"""

from __future__ import annotations

import asyncio  # noqa: F401
import concurrent.futures.thread  # noqa: F401 - uvloop wants it
import sys
from collections.abc import Iterable

from gwctl.config.addresses import TLS
from gwctl.config.model.settings import PoolSettings
from gwctl.config.model.worker_class import ASGI, chosen
from gwctl.workers import server  # noqa: F401
from gwctl.workers.http1 import parser  # noqa: F401
from gwctl.workers.lifecycle import boot  # noqa: F401
from gwctl.workers.runners import registry

if sys.version_info >= (3, 13):
    import importlib.metadata  # noqa: F401 - importlib.invalidate_caches does, with email and zipfile


def import_for(pools: Iterable[PoolSettings]) -> None:
    """Import what the workers of ``pools`` have in common."""
    for pool in pools:
        classes = chosen(pool.worker)
        for worker_class in classes:
            registry.runner_class(worker_class, worker_class.interface)
        if classes == (ASGI,):
            _import_for_uvicorn()
        has_tls = any(address.startswith(TLS) for address in pool.bind)
        if has_tls:
            from gwctl.workers.transport import tls  # noqa: F401, PLC0415
        if "h2" in pool.http or (has_tls and not pool.http):
            from gwctl.workers.http2 import frame_reader, stream  # noqa: F401, PLC0415 - what needs no hpack
            from gwctl.workers.transport import first_bytes  # noqa: F401, PLC0415
        if pool.proxy_protocol:
            from gwctl.workers.transport import proxy_protocol  # noqa: F401, PLC0415


def _import_for_uvicorn() -> None:
    """Import what its lifespan brings along of the standard library: 0.7 MiB for each worker.

    Not multiprocessing: its exit function must be registered in the process that uses it.
    """
    import configparser  # noqa: F401, PLC0415
    import email.utils  # noqa: F401, PLC0415
    import logging.config  # noqa: F401, PLC0415
    import pickle  # noqa: F401, PLC0415
