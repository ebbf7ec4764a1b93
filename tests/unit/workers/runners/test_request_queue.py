"""Who is woken for a request, and that somebody always is: with a clock of the test's own, and with real threads.

Requests are numbers and texts here, which compiled code does not take: it is tested by those with an `Engine`.
"""

from __future__ import annotations

import heapq
import itertools
import random
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextvars import copy_context
from queue import SimpleQueue
from typing import Any

import pytest

from gwctl.workers.runners import request_queue
from gwctl.workers.runners.request_queue import RequestQueue
from gwctl.workers.runners.request_thread import RequestThread
from gwctl.workers.runners.threads import ThreadsRunner
from gwctl.workers.runners.wake_policy import FIRST_S
from tests.support.compiled import pure_only
from tests.support.engine import Engine
from tests.support.wait import until

WAIT_S = 0.002
"""What a request may wait while a thread is idle."""
FLUSH_S = 0.02
GET = b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n"


class World:
    """A loop, its clock and threads, none of which is real. Calls take as long as their request says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
        self.now = 100.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self.threads = [RequestThread() for _ in range(threads)]
        self.checks = self.woken = 0
        self.longest_s = self.longest_slow_s = 0.0
        """How long a request has waited while a thread was idle all the time; and calls were known as slow."""
        self._parked: set[int] = set()
        self._all_busy_at = self._fast_at = self.now
        self._ended = 0
        monkeypatch.setattr(request_queue, "monotonic", lambda: self.now)
        self.queue = RequestQueue(self, copy_context(), self.threads)  # type: ignore[arg-type]
        for thread in self.threads:
            self._go_on(thread)
        self.at(self.now + FLUSH_S, self._flush)

    def at(self, when: float, do: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._order), do))

    def call_later(self, delay_s: float, do: Callable[[], None], context: Any) -> None:
        assert context is not None
        self.checks += 1
        self.at(self.now + delay_s, do)

    def ask(self, when: float, takes_s: float) -> None:
        self.at(when, lambda: self.queue.put((when, takes_s), self.now))  # type: ignore[arg-type]

    def make_fast(self) -> None:
        self._ended, self.threads[0].seconds = 1_000_000, 1.0
        self.queue.learn(self._ended)
        assert not self.queue.policy.slow

    def run(self, until_s: float) -> None:
        end = self.now + until_s
        while self._events and self._events[0][0] <= end:
            when, _, do = heapq.heappop(self._events)
            self.now = max(self.now, when)
            do()
            for thread in self.threads:
                while not thread.tokens.empty():
                    thread.tokens.get()
                    self.woken += 1
                    self._parked.discard(id(thread))
                    self.at(self.now, lambda thread=thread: self._come(thread))
        self.now = end

    def _come(self, thread: RequestThread) -> None:
        self.queue.come(thread)
        self._go_on(thread)

    def _go_on(self, thread: RequestThread) -> None:
        """Take the next request, or wait."""
        if not self.queue.requests:
            if self.queue.enter(thread):
                self._parked.add(id(thread))
            self._note()
            return
        self._note()
        _, takes_s = self.queue.requests.popleft()  # type: ignore[misc]
        thread.call = object()  # type: ignore[assignment]
        thread.start = self.now
        self.at(self.now + takes_s, lambda: self._end(thread, takes_s))

    def _end(self, thread: RequestThread, takes_s: float) -> None:
        thread.call = None
        thread.seconds += takes_s
        self._ended += 1
        self._go_on(thread)

    def _note(self) -> None:
        """A thread goes on: how long has the first request waited for one, while others were idle?"""
        if not self._parked:
            self._all_busy_at = self.now
        if not self.queue.policy.slow:
            self._fast_at = self.now
        if self._parked and self.queue.requests:
            asked_at: float = self.queue.requests[0][0]  # type: ignore[assignment]
            waited_s = self.now - max(asked_at, self._all_busy_at)
            self.longest_s = max(self.longest_s, waited_s)
            self.longest_slow_s = max(self.longest_slow_s, min(waited_s, self.now - self._fast_at))

    def _flush(self) -> None:
        self.queue.learn(self._ended)
        self.at(self.now + FLUSH_S, self._flush)


@pure_only
def test_fast_calls_keep_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bursts of 32 requests that one thread serves in time: the others sleep."""
    world = World(monkeypatch, 8)
    world.make_fast()
    for burst in range(100):
        for _ in range(32):
            world.ask(world.now + burst * 0.001, 0.00001)
    world.run(0.5)
    assert not world.queue.requests
    assert world.woken == 100  # one for each burst: nobody was awake
    assert world.checks <= 200


@pure_only
def test_no_timer_runs_while_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, 8)
    world.make_fast()
    for request in range(100):
        world.ask(world.now + request * 0.01, 0.001)
    world.run(2.0)
    assert world.checks == 0


@pure_only
@pytest.mark.parametrize("takes_s", [0.005, 0.05, 1.0])
def test_the_first_calls_that_wait_do_not_hold_others(
    monkeypatch: pytest.MonkeyPatch, takes_s: float
) -> None:
    """Calls have been fast; from one moment on they wait for something."""
    world = World(monkeypatch, 8)
    world.make_fast()
    for request in range(8):
        world.ask(world.now + request * 0.0001, takes_s)
    world.run(WAIT_S + 0.0008)
    assert not world.queue.requests  # each has a thread
    world.run(2.0)
    assert world.longest_s <= WAIT_S
    assert world.queue.policy.slow


@pure_only
@pytest.mark.parametrize("takes_s", [0.0002, 0.001, 0.01])
def test_calls_that_become_slow_are_known_as_slow_soon(
    monkeypatch: pytest.MonkeyPatch, takes_s: float
) -> None:
    world = World(monkeypatch, 8)
    world.make_fast()
    for request in range(1000):
        world.ask(world.now + request * 0.0001, takes_s)
    world.run(2 * FLUSH_S)
    assert world.queue.policy.slow


@pure_only
@pytest.mark.parametrize("seed", range(10))
def test_no_request_waits_while_a_thread_is_idle(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Calls that are fast, slow, or either; that become so and change again."""
    chance = random.Random(seed)
    world = World(monkeypatch, chance.choice([2, 3, 8]))
    if seed % 2:
        world.make_fast()
    at = world.now
    for _ in range(30):
        usual_s, long_s = chance.choice([0.00001, 0.0002, 0.001]), chance.choice([0.001, 0.01, 0.1])
        share, pace_s = chance.choice([0.0, 0.01, 0.5, 1.0]), chance.choice([0.00002, 0.0005, 0.005])
        for _ in range(50):
            at += chance.expovariate(1 / pace_s)
            world.ask(at, long_s if chance.random() < share else usual_s)
    world.run(at - world.now + 100.0)
    assert not world.queue.requests
    assert world.longest_slow_s <= WAIT_S
    assert world.longest_s <= 2 * FLUSH_S + WAIT_S  # until they are known as slow


# ---- who comes between two steps of another


class Meanwhile(deque[Any]):
    """``do`` runs once, at the first append or, if ``at_len``, after the first len()."""

    def __init__(self, do: Callable[[], object], at_len: bool = False) -> None:
        super().__init__()
        self._do: list[Callable[[], object]] = [do]
        self._at_len = at_len

    def append(self, item: Any) -> None:
        if self._do and not self._at_len:
            self._do.pop()()
        super().append(item)

    def __len__(self) -> int:
        length = super().__len__()
        if self._do and self._at_len:
            self._do.pop()()
        return length


class Idle(list[RequestThread]):
    """``do`` runs before a thread is among them."""

    def __init__(self, do: Callable[[], object]) -> None:
        super().__init__()
        self._do = do

    def append(self, thread: RequestThread) -> None:
        self._do()
        super().append(thread)


class Timers:
    """A loop whose timers are kept."""

    def __init__(self) -> None:
        self.set: list[Callable[[], None]] = []

    def call_later(self, _delay_s: float, do: Callable[[], None], **_more: Any) -> None:
        self.set.append(do)


@pytest.fixture
def timers() -> Timers:
    return Timers()


@pytest.fixture
def queue(timers: Timers) -> Any:
    """With two threads, and calls that count as slow. Its requests are texts."""
    return RequestQueue(timers, copy_context(), [RequestThread(), RequestThread()])  # type: ignore[arg-type]


def woken(queue: RequestQueue) -> int:
    return sum(thread.tokens.qsize() for thread in queue._threads)


def enter(queue: RequestQueue, *places: int) -> None:
    for place in places:
        assert queue.enter(queue._threads[place])


@pure_only
def test_a_request_that_comes_before_a_thread_is_idle_is_seen_by_it(queue: Any) -> None:
    queue._idle = Idle(lambda: queue.put("request", 0.0))
    assert not queue.enter(queue._threads[0])
    assert not woken(queue)
    assert not queue._idle


@pure_only
def test_a_thread_that_becomes_idle_before_the_request_is_there_is_woken(queue: Any) -> None:
    queue.requests = Meanwhile(lambda: enter(queue, 0))
    queue.put("request", 0.0)
    assert woken(queue) == 1


@pure_only
def test_a_thread_that_is_woken_wakes_the_next_if_more_wait(queue: Any) -> None:
    enter(queue, 0, 1)
    queue.put("one", 0.0)
    queue.put("another", 0.0)
    assert woken(queue) == 1
    queue.come(queue._threads[1])
    assert woken(queue) == 2


@pure_only
def test_a_thread_that_is_woken_wakes_nobody_if_no_more_wait(queue: Any) -> None:
    enter(queue, 0, 1)
    queue.put("one", 0.0)
    queue.come(queue._threads[1])
    assert woken(queue) == 1
    queue.put("another", 0.0)
    assert woken(queue) == 2


@pure_only
def test_a_request_that_comes_while_a_thread_does_is_seen_by_it_or_wakes_another(queue: Any) -> None:
    enter(queue, 0, 1)
    queue.put("one", 0.0)
    queue.requests = Meanwhile(lambda: queue.put("another", 0.0), at_len=True)
    queue.come(queue._threads[1])
    assert woken(queue) == 2


@pure_only
def test_what_waits_for_a_thread_that_comes_is_looked_after_when_calls_have_become_fast(
    queue: Any, timers: Timers
) -> None:
    """By the loop, as the thread that comes wakes no other any more."""
    enter(queue, 0, 1)
    queue.put("one", 0.0)
    queue.put("another", 0.0)
    assert not timers.set
    queue.policy.learn(1_000_000, 1.0)
    queue.learn(1_000_001)
    assert len(timers.set) == 1


@pure_only
def test_requests_that_are_put_back_are_first_and_wake_threads(queue: Any) -> None:
    queue.requests.extend(["one", "another", "last"])
    kept = [queue.requests.popleft(), queue.requests.popleft()]
    assert queue.requests.popleft() == "last"
    enter(queue, 0, 1)
    queue.put_back(kept)
    assert list(queue.requests) == ["one", "another"]
    assert woken(queue) == 2


@pure_only
def test_a_thread_thrown_out_of_its_wait_is_woken_no_more(queue: Any) -> None:
    """By an exception from outside. What it was woken for is taken, and wakes the next."""
    enter(queue, 0, 1)
    queue.put("one", 0.0)
    assert queue._coming
    queue.come(queue._threads[0])
    assert not queue._coming
    queue.come(queue._threads[1])
    queue.put("another", 0.0)
    assert woken(queue) == 1


@pure_only
def test_a_thread_with_a_token_too_many_is_not_idle_while_it_serves(queue: Any) -> None:
    enter(queue, 0)
    queue.come(queue._threads[0])
    queue.put("request", 0.0)
    assert not queue._idle
    assert not woken(queue)


# ---- real threads


@pytest.fixture
def restless() -> Iterator[None]:
    """Threads take the interpreter from each other as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pure_only
@pytest.mark.usefixtures("restless")
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("slow", [True, False])
def test_no_wakeup_is_lost(slow: bool, seed: int) -> None:
    """Many short rounds: all of what is put in is taken, without a check, and all threads end."""
    chance = random.Random(seed)
    threads = [RequestThread() for _ in range(4)]
    queue = RequestQueue(Timers(), copy_context(), threads)  # type: ignore[arg-type]
    if not slow:
        queue.policy.learn(1_000_000, 1.0)
    taken: SimpleQueue[int] = SimpleQueue()

    def work(thread: RequestThread) -> None:
        going = True
        while going:
            try:
                for request in iter(queue.requests.popleft, None):
                    taken.put(request)  # type: ignore[arg-type]
            except IndexError:
                going = queue.wait(thread)

    workers = [threading.Thread(target=work, args=(each,), daemon=True) for each in threads]
    for worker in workers:
        worker.start()
    for _ in range(300):
        count = chance.randint(1, 5)
        for request in range(count):
            queue.put(request, 0.0)  # type: ignore[arg-type]
        assert sorted([taken.get(timeout=20) for _ in range(count)]) == list(range(count))
    queue.close()
    for worker in workers:
        worker.join(30)
    assert not any(worker.is_alive() for worker in workers)
    assert taken.empty()


def make_fast(engine: Engine) -> None:
    """Have the worker believe that its calls are fast, and go on to."""
    runner = engine.server.runner
    assert isinstance(runner, ThreadsRunner)
    policy = runner._queue.policy
    engine.call(lambda: policy.learn(10**9, 1.0))
    assert not policy.slow


@pytest.mark.parametrize("how", ["in the call", "for a client that does not read"])
def test_a_call_that_waits_holds_nobody_while_a_thread_is_idle(how: str) -> None:
    """All threads but one wait, one after the other; requests are served all the same, by those left."""
    go = threading.Event()

    def application(environ: Any, start_response: Any) -> Any:
        waits = environ["PATH_INFO"] == "/waits"
        size = 8_000_000 if waits and how != "in the call" else 1
        if waits and how == "in the call":
            assert go.wait(30)
        start_response("200 OK", [("Content-Length", str(size))])
        return [bytes(size)]

    with Engine(application, "threads", threads=3) as engine:
        clients = []
        make_fast(engine)
        for waiting in range(1, 3):
            clients.append(engine.connect(receive_buffer=4096))
            clients[-1].send(GET % b"/waits")
            until(lambda count=waiting: engine.under_way == count, "its call")
            with engine.connect() as other, engine.connect() as another:
                for each in (other, another):
                    each.send(GET % b"/")
                assert [each.response().body for each in (other, another)] == [b"\0", b"\0"]
        go.set()
        for client in clients:
            assert client.response().status == 200
            client.sock.close()


def test_the_worker_learns_how_long_its_calls_take() -> None:
    def application(_environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Length", "0")])
        return []

    with Engine(application, "threads") as engine, engine.connect() as client:
        runner = engine.server.runner
        assert isinstance(runner, ThreadsRunner)
        assert runner._queue.policy.average_s == FIRST_S
        assert client.get().status == 200
        until(lambda: runner._queue.policy.average_s != FIRST_S, "the call to be added up")
