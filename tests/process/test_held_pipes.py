"""What the kernel lets a worker do to who reads its pipe, and docs/security.md says so."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Final

import pytest

from tests.support.processes import thread_states
from tests.support.wait import until

_NOT_HERE: Final = 77
_WRITER: Final = """
import ctypes, fcntl, mmap, os, struct, sys

NUMBERS = {"x86_64": 323, "aarch64": 282}
libc = ctypes.CDLL(None, use_errno=True)
faults = libc.syscall(NUMBERS.get(os.uname().machine, -1), 0)
if faults < 0:
    sys.exit(77)
fcntl.ioctl(faults, 0xC018AA3F, bytearray(struct.pack("QQQ", 0xAA, 0, 0)))
page = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
address = ctypes.addressof(ctypes.c_char.from_buffer(page))
fcntl.ioctl(faults, 0xC020AA00, bytearray(struct.pack("QQQQ", address, mmap.PAGESIZE, 1, 0)))
print("writes", flush=True)
libc.write(int(sys.argv[1]), ctypes.c_void_p(address), ctypes.c_size_t(mmap.PAGESIZE))
"""
"""It writes a page that nobody ever gives it: the kernel waits for that, with the pipe locked."""


_READER: Final = """
import os, sys

while True:
    try:
        os.read(int(sys.argv[1]), 1)
    except BlockingIOError:
        pass
"""


def _started(program: str, fd: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", program, str(fd)],
        pass_fds=[fd],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_who_reads_a_pipe_waits_for_who_writes_from_memory_that_is_not_there() -> None:
    """If this fails, the better: then docs/security.md is to be mended."""
    read, write = os.pipe()
    os.set_blocking(read, False)
    writer, reader = _started(_WRITER, write), None
    try:
        assert writer.stdout is not None
        if writer.stdout.read(6) != b"writes":
            assert writer.wait() == _NOT_HERE
            pytest.skip("userfaultfd(2) is not for this user, or not on this machine")
        reader = _started(_READER, read)
        until(lambda: thread_states(reader.pid) == ["D"], "what never blocks to wait in the kernel")
        writer.kill()
        until(lambda: thread_states(reader.pid) == ["R"], "it to go on")
    finally:
        for process in (writer, reader):
            if process is not None:
                process.kill()
                process.communicate()
        os.close(read)
        os.close(write)
