"""What the end of a worker waits for: work, and not services."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from gwctl.workers.app.background_work import Background, busy_threads, told_task, told_thread
from gwctl.workers.app.own_threads import OwnTask, start_thread
from tests.support.wait import until


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What threads of these tests wait for."""
    gate = threading.Event()
    yield gate
    gate.set()


@pytest.fixture
def others() -> set[threading.Thread]:
    return set(threading.enumerate())


def busy(others: set[threading.Thread]) -> set[str]:
    return {thread.name for thread in busy_threads() if thread not in others}


def test_threads_that_do_something_are_work(gate, others):
    threading.Thread(target=gate.wait, name="work").start()
    threading.Thread(target=gate.wait, name="daemon", daemon=True).start()
    start_thread(gate.wait, "own")  # type: ignore[arg-type]
    assert busy(others) == {"work"}


def test_a_thread_that_was_started_by_one_of_ours_is_no_daemon(gate, others):
    start_thread(lambda: threading.Thread(target=gate.wait, name="work").start(), "own")
    until(lambda: busy(others) == {"work"}, "the thread to be seen")


def test_threads_of_an_executor_are_work_while_they_have_a_job(gate, others):
    with ThreadPoolExecutor(1, "jobs") as executor:
        executor.submit(int).result()
        until(lambda: not busy(others), "its thread to wait")
        executor.submit(gate.wait)
        executor.submit(int)
        until(lambda: busy(others) == {"jobs_0"}, "its thread to work")
        gate.set()
        until(lambda: not busy(others), "its thread to wait again")


@pytest.mark.parametrize("timeout", [None, 60.0])
def test_a_thread_that_waits_in_a_queue_is_no_work(others, timeout, gate):
    jobs: queue.Queue[threading.Event | None] = queue.Queue()

    def consume() -> None:
        while (job := jobs.get(timeout=timeout)) is not None:
            job.wait()

    threading.Thread(target=consume, name="consumer").start()
    until(lambda: not busy(others), "it to wait")
    jobs.put(gate)
    until(lambda: busy(others) == {"consumer"}, "it to work")
    gate.set()
    jobs.put(None)


def test_where_they_stand_is_told(gate, others):
    thread = threading.Thread(target=lambda: gate.wait(), name="work")  # noqa: PLW0108 - a frame of the application's
    thread.start()
    until(lambda: len(told_thread(thread)) > 1, "it to run")
    head, frame = told_thread(thread)
    assert head == "thread work"
    assert "test_background_work.py" in frame
    assert frame.endswith("in <lambda>")


async def _forever() -> None:
    await asyncio.Event().wait()


def names(tasks: list[asyncio.Task[None]]) -> set[str]:
    return {task.get_name() for task in tasks}


def test_tasks_that_are_older_than_a_drain_takes_or_were_there_at_the_start_are_services():
    async def run() -> None:
        loop = asyncio.get_running_loop()
        background = Background(30.0)
        kept = [loop.create_task(_forever(), name="startup")]
        background.started(loop, 0.0)
        kept.append(loop.create_task(_forever(), name="old"))
        own = OwnTask(_forever(), name="own")
        assert names(background.tasks(loop)) == {"old"}
        background.check(loop, 29.0)
        background.check(loop, 30.0)  # is seen
        kept.append(loop.create_task(_forever(), name="young"))
        background.check(loop, 59.0)
        assert names(background.tasks(loop)) == {"old", "young"}
        background.check(loop, 60.0)  # is seen again
        assert names(background.tasks(loop)) == {"young"}
        assert told_task(kept[2])[0] == "task young"
        for task in kept:
            task.cancel()
        own.end()

    asyncio.run(run())


def test_our_own_tasks_are_cancelled_by_nobody_else():
    async def run() -> None:
        task = OwnTask(_forever())
        await asyncio.sleep(0)
        assert not task.cancel()
        await asyncio.sleep(0)
        assert not task.done()
        assert task.end()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
