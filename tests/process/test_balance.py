"""Four real workers share what comes: nobody waits behind a stopped, stuck, killed or reloading one."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.load.runner import Load
from tests.support.apps import BARE
from tests.support.processes import wait_until_stopped
from tests.support.status import status_of
from tests.support.wait import until

WSGI = ("sync", "threads")
SETTINGS = {"sync": {}, "threads": {"threads": 1}}
STUCK_S = 8
SOON_S = 4.5
"""Well below the time for which the stuck ones are stuck, well above what a busy machine takes."""


class Client:
    """One kept-alive connection."""

    def __init__(self, url: str) -> None:
        self.connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)

    def get(self, path: str = "/") -> bytes:
        self.connection.request("GET", path)
        response = self.connection.getresponse()
        assert response.status == 200
        return response.read()

    def pid(self) -> int:
        return int(self.get("/pid"))

    def took_s(self, path: str = "/") -> float:
        begun = time.monotonic()
        self.get(path)
        return time.monotonic() - begun


def clients(stack: ExitStack, url: str, count: int) -> list[Client]:
    made = [Client(url) for _ in range(count)]
    for client in made:
        stack.callback(client.connection.close)
        client.get()
    return made


def connections(server) -> list[int]:
    document = status_of(server)
    return sorted(worker["connections"] for worker in document["pools"][0]["workers"])


@pytest.mark.parametrize("worker", BARE)
def test_each_worker_gets_its_share_of_connections(gwctl_server, worker):
    """Of 32 that come one after the other each of four workers gets 6 to 10.

    Connections wait a few milliseconds for a worker that is slow to wake up: where all are slow to, that
    is too short, and the clients come again. Without turns one worker has nearly all, however often.
    """
    with gwctl_server(BARE[worker], worker=worker, processes=4) as server:
        seen: list[list[int]] = []

        def fair() -> bool:
            with ExitStack() as stack:
                clients(stack, server.url, 32)
                until(lambda: sum(connections(server)) == 32, lambda: f"32: {connections(server)}")
                seen.append(connections(server))
            until(lambda: not sum(connections(server)), lambda: f"all to leave: {connections(server)}")
            return seen[-1][0] >= 6 and seen[-1][-1] <= 10

        until(fair, lambda: f"fair shares: {seen}")


def slow_and_fast(server) -> float:
    """Make two workers of four stuck for seconds; return how long the slowest of 24 kept-alive clients waits."""
    with ExitStack() as stack:
        everybody = clients(stack, server.url, 26)
        slow = [threading.Thread(target=each.get, args=(f"/sleep?s={STUCK_S}",)) for each in everybody[:2]]
        for thread in slow:
            thread.start()
        stack.callback(lambda: [thread.join() for thread in slow])
        longest = 0.0
        with ThreadPoolExecutor(24) as pool:
            while all(thread.is_alive() for thread in slow) and longest < SOON_S:
                longest = max(longest, *pool.map(Client.took_s, everybody[2:]))
                slow[0].join(0.05)  # all have asked: whoever is stuck is so, however soon they ask again
        return longest


@pytest.mark.parametrize("worker", WSGI)
def test_kept_alive_clients_do_not_wait_behind_a_stuck_request(gwctl_server, worker):
    with gwctl_server(BARE[worker], worker=worker, processes=4, **SETTINGS[worker]) as server:
        assert slow_and_fast(server) < SOON_S


WITHOUT_EXCHANGE = """
from gwctl.ipc.connection_queue import ConnectionQueue

ConnectionQueue.open = classmethod(lambda cls: None)
from gwctl.cli import main
main()
"""


@pytest.mark.parametrize("worker", WSGI)
def test_in_a_build_without_an_exchange_they_do(gwctl_server, worker, tmp_path):
    script = tmp_path / "without_exchange.py"
    script.write_text(WITHOUT_EXCHANGE)
    command = (sys.executable, str(script))
    with gwctl_server(
        BARE[worker], worker=worker, processes=4, command=command, **SETTINGS[worker]
    ) as server:
        assert slow_and_fast(server) >= SOON_S


@pytest.mark.parametrize("worker", BARE)
def test_new_connections_do_not_wait_for_a_stopped_worker(gwctl_server, worker):
    """It has the fewest connections and a fresh heartbeat: only that it does not move tells."""
    with gwctl_server(BARE[worker], worker=worker, processes=4) as server, ExitStack() as stack:

        def take_turns() -> list[float]:
            times = []
            with ExitStack() as fresh:
                for _ in range(40):
                    client = Client(server.url)
                    fresh.callback(client.connection.close)
                    times.append(client.took_s())
            return times

        kept = clients(stack, server.url, 16)
        usual = sum(take_turns())
        stopped = kept[0].pid() if worker != "asgi" else server.workers[0]
        os.kill(stopped, signal.SIGSTOP)
        try:
            times = sorted(take_turns())
            # Of those that came to the stopped one a few do not count: the machine may have been busy just then.
            assert sum(times[:-3]) < 1.5 + 3 * usual, (times, usual)
            assert times[-1] < 10, times
        finally:
            os.kill(stopped, signal.SIGCONT)


def test_a_connection_in_the_exchange_outlives_its_sender(gwctl_server):
    """Its receiver is stopped, its sender is killed: the sender's successor serves it."""
    with (
        gwctl_server(
            BARE["sync"], worker="sync", processes=2, allow_errors=["died"], allow_kill=True
        ) as server,
        ExitStack() as stack,
    ):
        by_pid: dict[int, list[Client]] = {}

        def both_have_some() -> bool:
            """While one is slow to wake up, the other takes all that come."""
            for each in clients(stack, server.url, 8):
                by_pid.setdefault(each.pid(), []).append(each)
            return len(by_pid) == 2

        until(both_have_some, "clients of both workers")
        other, sender = sorted(by_pid, key=lambda pid: len(by_pid[pid]))
        first, second, *_ = (each for each in by_pid[sender] if each.pid() == sender)
        slow = threading.Thread(target=cut_short, args=(first,))
        slow.start()
        until(lambda: busy(server) == 1, "the slow request to run")
        os.kill(other, signal.SIGSTOP)
        wait_until_stopped(other)
        try:
            with ThreadPoolExecutor() as pool:
                waiting = pool.submit(second.get, "/")
                until(lambda: in_flight(server.pid) > 0, "its connection to be in the connection queue")
                os.kill(sender, signal.SIGKILL)
                assert waiting.result(30) == b"hello"
        finally:
            os.kill(other, signal.SIGCONT)
            slow.join()


def cut_short(client: Client) -> None:
    with contextlib.suppress(OSError, http.client.HTTPException):
        client.get("/sleep?s=60")


def busy(server) -> int:
    document = status_of(server)
    return sum("/sleep" in worker["request"] for worker in document["pools"][0]["workers"])


def in_flight(pid: int) -> int:
    """Descriptors that are queued in the Unix sockets of a process."""
    count = 0
    for info in Path(f"/proc/{pid}/fdinfo").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            for line in info.read_text().splitlines():
                if line.startswith("scm_fds:"):
                    count += int(line.split()[1])
    return count


@pytest.mark.parametrize("worker", WSGI)
def test_handing_over_during_reloads_fails_no_request(gwctl_server, worker):
    """Slow calls beside fast ones, so that connections change hands, while generations do."""
    with gwctl_server(
        BARE[worker], worker=worker, processes=3, reload={"settle_s": 0.05}, **SETTINGS[worker]
    ) as server:
        stop = threading.Event()
        with ExitStack() as stack, ThreadPoolExecutor(2) as pool:
            stack.callback(stop.set)
            for _ in range(2):
                pool.submit(keep_asking, server.url, stop)
            with Load(server.url, connections=16, expect_body=b"hello") as load:
                for count in range(1, 5):
                    server.signal(signal.SIGHUP)
                    server.wait_for_log(rf"adopted generation {count + 1}\b")
                    load.wait_for_requests(50)
            stop.set()
        assert load.result.failures == {}, load.result


def keep_asking(url: str, stop: threading.Event) -> None:
    while not stop.is_set():
        client = Client(url)
        client.get("/sleep?s=0.2")
        client.connection.close()


def test_refusals_show_in_status(gwctl_server):
    settings = {"connections_max": 1, "overload": "refuse"}
    with gwctl_server(BARE["asgi"], worker="asgi", processes=2, **settings) as server, ExitStack() as stack:
        statuses = Counter[int]()

        def is_let_in() -> bool:
            each = Client(server.url)
            stack.callback(each.connection.close)
            each.connection.request("GET", "/")
            status = each.connection.getresponse().status
            statuses[status] += 1
            return status == 200

        for _ in range(2):  # a worker that is ready has yet to hear that it shall serve
            until(is_let_in, "somebody to be let in")
        assert not any(is_let_in() for _ in range(10))
        assert statuses.keys() == {200, 503}
        (pool,) = status_of(server)["pools"]
        assert pool["refused"] == statuses[503] >= 10
        assert f"{statuses[503]} refused" in server.gwctl("status").stdout
