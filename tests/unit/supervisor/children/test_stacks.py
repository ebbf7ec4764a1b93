"""Stacks as faulthandler writes them, cut down to the application's part."""

from __future__ import annotations

import faulthandler
import tempfile
import threading
from pathlib import Path

import gwctl
from gwctl.supervisor.children.stacks import fatal_frames, read_stacks

GWCTL = Path(gwctl.__file__).parent


def dumped(text: str) -> str:
    return text.replace("@", str(GWCTL))


def test_our_own_frames_and_those_from_before_the_fork_are_cut():
    text = dumped(
        "Current thread 0x00007f01 (most recent call first):\n"
        '  File "@/workers/wsgi_writing.py", line 9 in send\n'
        '  File "/srv/shop/pay.py", line 88 in charge\n'
        '  File "@/workers/sync.py", line 1 in _call\n'
        '  File "@/supervisor/fork.py", line 40 in fork_worker\n'
        '  File "/usr/lib/click/core.py", line 3 in main\n'
    )
    (thread,) = read_stacks(text)
    assert thread.main
    assert thread.ident == 0x7F01
    assert thread.frames == ['File "/srv/shop/pay.py", line 88 in charge']


def test_a_thread_without_a_frame_of_the_application_has_none():
    text = dumped(
        "Thread 0x00007f02 [waits] (most recent call first):\n"
        '  File "@/workers/threads.py", line 9 in _work\n'
        '  File "/usr/lib/python3.12/threading.py", line 1010 in run\n'
        '  File "/usr/lib/python3.12/threading.py", line 1073 in _bootstrap_inner\n'
        "\n"
        "Thread 0x00007f03 (most recent call first):\n"
        '  File "/usr/lib/python3.12/concurrent/futures/thread.py", line 81 in _worker\n'
    )
    first, second = read_stacks(text)
    assert (first.name, first.frames, second.frames) == ("waits", [], [])


def test_what_is_not_understood_is_kept():
    (thread,) = read_stacks(
        "Thread 0x1 (most recent call first):\n  Garbage-collecting\n  <no Python frame>\n"
    )
    assert thread.frames == ["Garbage-collecting", "<no Python frame>"]
    assert read_stacks("nonsense\n") == []


def test_a_real_dump_is_understood():
    """The format is this interpreter's own: a thread that waits in a function of ours by name."""
    release, begun = threading.Event(), threading.Event()

    def waits_here() -> None:
        begun.set()
        release.wait()

    thread = threading.Thread(target=waits_here)
    thread.start()
    begun.wait()
    with tempfile.TemporaryFile() as file:
        faulthandler.dump_traceback(file, all_threads=True)
        file.seek(0)
        stacks = read_stacks(file.read().decode())
    release.set()
    thread.join()
    (found,) = [each for each in stacks if each.ident == thread.ident]
    assert found.frames[-1].endswith("in waits_here")


DIED = """Fatal Python error: Segmentation fault

Thread 0x00007f02 (most recent call first):
  File "/srv/shop/poll.py", line 3 in poll

Current thread 0x00007f01 (most recent call first):
  File "/srv/shop/pay.py", line 88 in charge
  File "@/workers/sync.py", line 1 in _call

Current thread's C stack trace (most recent call first):
  Binary file "/usr/lib/libc.so.6", at abort+0x1c [0x7f]

Extension modules: yaml._yaml, lxml.etree (total: 2)
"""


def test_of_a_fault_the_frames_of_the_thread_that_died_are_taken():
    assert fatal_frames(dumped(DIED)) == ['File "/srv/shop/pay.py", line 88 in charge']
    assert [len(each.frames) for each in read_stacks(dumped(DIED))] == [1, 1]


def test_of_a_fault_outside_of_the_application_just_that_is_said():
    text = dumped(DIED).replace("/srv/shop/pay.py", f"{GWCTL}/workers/wsgi.py")
    assert fatal_frames(text) == ["not in the application's code"]
    assert fatal_frames("") == []


def test_of_a_fault_what_was_written_before_it_is_not_taken():
    """Stacks that were asked for, also late: of a worker that was to be killed, and was spared."""
    asked_for = (
        'Current thread 0x00007f01 (most recent call first):\n  File "/srv/shop/slow.py", line 1 in wait\n'
    )
    assert fatal_frames(asked_for + dumped(DIED)) == ['File "/srv/shop/pay.py", line 88 in charge']
