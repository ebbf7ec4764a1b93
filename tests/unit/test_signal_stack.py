"""Signal handlers that interrupt one another have room."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gwctl.signal_stack import SIZE

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="sigaltstack is looked at as Linux has it")

LOOK = """
import ctypes, faulthandler, sys
from gwctl import signal_stack

def present():
    stack = signal_stack._Stack()
    assert ctypes.CDLL(None).sigaltstack(None, ctypes.byref(stack)) == 0
    return stack

def access(address):
    for line in open("/proc/self/maps"):
        start, end = (int(each, 16) for each in line.split()[0].split("-"))
        if start <= address < end:
            return line.split()[1]
"""

LARGER = (
    LOOK
    + """
faulthandler.enable()
assert present().size < signal_stack.SIZE
signal_stack.enlarge()
first = present()
print(first.size, access(first.sp)[:3], access(first.sp - 1)[:3])
signal_stack.enlarge()
assert present().sp == first.sp, "one is enough"
"""
)
NONE = LOOK + "signal_stack.enlarge(); print(present().flags, len(signal_stack._kept))"

ALL_AT_ONCE = """
import faulthandler, os, signal
from gwctl import signal_stack
faulthandler.enable()
signal_stack.enlarge()
numbers = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCONT}
seen = set()
for number in numbers:
    signal.signal(number, lambda number, frame: seen.add(number))
signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
for number in numbers:
    os.kill(os.getpid(), number)
signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
assert seen == numbers, numbers - seen
print(len(seen))
"""


def output_of(code: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_it_is_larger_and_below_it_nobody_may_write() -> None:
    assert output_of(LARGER) == [str(SIZE), "rw-", "---"]


def test_who_has_none_needs_none() -> None:
    assert output_of(NONE) == ["2", "0"]


def test_all_signals_may_come_at_once() -> None:
    assert int(output_of(ALL_AT_ONCE)[0]) > 50
