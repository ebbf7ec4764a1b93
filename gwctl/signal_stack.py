"""Room for signal handlers that interrupt one another.

faulthandler gives the main thread a stack of its own for signals (sigaltstack(2)), made for one handler.
Python's handlers run on it as well, and each further signal that is pending interrupts the handler before:
3.5 KiB each where the processor has AVX-512, beside what the dynamic linker takes at its first call. Five
different ones at once, as when a stopped process goes on, overflow the 11 KiB of CPython 3.11 to 3.13 into
whatever lies below: objects of the heap.

Imported by `supervisor`, `workers.lifecycle`. Knows nothing of either.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from typing import Final

SIZE: Final = 256 * 1024
"""Bytes; what no handler has used costs no memory. For all of the 62 signals at once."""
_SS_DISABLE: Final = 2
_kept: list[mmap.mmap] = []


class _Stack(ctypes.Structure):
    """``stack_t`` of Linux."""

    _fields_ = (("sp", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


def enlarge() -> None:
    """Give this thread a stack for signals that is large enough, if it has one at all.

    To be called after `faulthandler.enable`, which makes it; of the main thread, where Python's handlers run.
    What overflows this one meets a page that nobody may write to.

    Raises:
        OSError: The kernel refuses.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    present = _Stack()
    _check(libc.sigaltstack(None, ctypes.byref(present)))
    if present.flags & _SS_DISABLE or present.size >= SIZE:
        return
    memory = mmap.mmap(-1, SIZE + mmap.PAGESIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    _check(libc.mprotect(ctypes.c_void_p(start), ctypes.c_size_t(mmap.PAGESIZE), 0))
    _check(libc.sigaltstack(ctypes.byref(_Stack(start + mmap.PAGESIZE, 0, SIZE)), None))
    _kept.append(memory)


def _check(result: int) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"no stack for signals: errno {code}")
