"""kill -9 of the master: its workers let go of the port at once, finish what they have, and are gone."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import subprocess
import sys
import threading

import httpx
import pytest

from gwctl.workers.lifecycle import parent_death
from tests.support.apps import BARE
from tests.support.clients import ask_in_vain
from tests.support.processes import has_ended, look, session_of, wait_until_stopped
from tests.support.raw import refuses
from tests.support.server import GwctlServer
from tests.support.status import active_requests
from tests.support.wait import until


def nobody_is_left(server: GwctlServer, within_s: float = 15.0) -> None:
    """Every process of the master's session ends by itself."""
    until(lambda: not living(server), lambda: f"these to go: {living(server)}\n{server.log}", within_s)


def living(server: GwctlServer) -> list[str]:
    return [str(process) for process in session_of(server.pid) if not process.is_zombie]


@pytest.mark.parametrize("worker", BARE)
def test_workers_close_listeners_finish_and_go(gwctl_server, worker):
    """The port is refused while a request that began before is still being served to its end."""
    server = gwctl_server(BARE[worker], worker=worker, processes=2)
    try:
        server.start()
        server.wait_until_serving()
        answers: list[str] = []
        url = server.url
        client = threading.Thread(target=lambda: answers.append(httpx.get(f"{url}/sleep?6", timeout=30).text))
        client.start()
        until(lambda: active_requests(server), "a worker to be busy")
        os.kill(server.pid, signal.SIGKILL)
        until(lambda: refuses(url), "the port to be refused", 5.0)
        assert not answers, "the long request had ended too early to prove anything"
        client.join(20)
        assert answers == ["slept"]
        nobody_is_left(server)
        gone = rf"warn  web\.\d g1 +the master \(pid {server.pid}\) is gone: accepts no more, finishes what it has"
        assert len(re.findall(gone, server.log)) == 2, server.log
    finally:
        server.destroy()


@pytest.mark.parametrize("kind", ["c", "loop"])
def test_the_port_is_free_at_once_whatever_the_request_is_stuck_in(gwctl_server, tmp_path, kind):
    """A main thread that is in a C library takes no signal: another thread lets go of the listeners."""
    started = tmp_path / "started"
    server = gwctl_server(
        "hangs:application", worker="sync", processes=1, environ={"HANGS_STARTED": str(started)}
    )
    try:
        server.start()
        server.wait_until_serving()
        url = server.url
        client = threading.Thread(target=ask_in_vain, args=(f"{url}/{kind}",), daemon=True)
        client.start()
        until(started.exists, "the request to hang")
        os.kill(server.pid, signal.SIGKILL)
        until(lambda: refuses(url), "the port to be refused", 5.0)
        assert session_of(server.pid), "the worker had ended too early to prove anything"
    finally:
        server.destroy()


def test_nobody_survives_the_time_limit_of_the_drain(gwctl_server, tmp_path):
    """Stuck for ever, and gone within ``drain_timeout_s`` all the same, its stacks in the log."""
    started = tmp_path / "started"
    server = gwctl_server(
        "hangs:application",
        worker="sync",
        environ={"HANGS_STARTED": str(started)},
        timeouts={"drain_timeout_s": 0.5},
    )
    try:
        server.start()
        server.wait_until_serving()
        threading.Thread(target=ask_in_vain, args=(f"{server.url}/c",), daemon=True).start()
        until(started.exists, "the request to hang")
        os.kill(server.pid, signal.SIGKILL)
        nobody_is_left(server)
        assert "in wait_in_c" in server.log
    finally:
        server.destroy()


@pytest.mark.parametrize("takes", ["20", "c"], ids=["in Python", "in C"])
def test_a_worker_that_still_boots_just_goes(gwctl_server, takes):
    """Nothing was promised to anybody yet."""
    server = gwctl_server("boot_takes:application", worker="sync", environ={"BOOT_TAKES_S": takes})
    try:
        server.start()
        until(lambda: len(session_of(server.pid)) > 1, "a worker")
        os.kill(server.pid, signal.SIGKILL)
        nobody_is_left(server)
    finally:
        server.destroy()


def test_a_new_master_starts_while_the_last_request_of_the_one_before_is_served(gwctl_server):
    """On the same address, at once: it waits for the listeners to be closed, not for their workers."""
    server = gwctl_server(BARE["sync"], worker="sync", bind="127.0.7.2:0")  # where nobody else takes the port
    try:
        server.start()
        server.wait_until_serving()
        url = server.url
        answers: list[str] = []
        client = threading.Thread(target=lambda: answers.append(httpx.get(f"{url}/sleep?9", timeout=30).text))
        client.start()
        until(lambda: active_requests(server), "a worker to be busy")
        os.kill(server.pid, signal.SIGKILL)
        with gwctl_server(BARE["sync"], worker="sync", bind=url.removeprefix("http://")) as successor:
            assert httpx.get(f"{url}/pid").text in map(str, successor.workers)
            assert not answers, "the long request had ended too early to prove anything"
            client.join(20)
            assert answers == ["slept"]
        nobody_is_left(server)
    finally:
        server.destroy()


@pytest.mark.parametrize("seed", range(4))
def test_nobody_is_left_in_whatever_order_they_are_killed(gwctl_server, seed):
    """Workers that boot, serve, are parked, drain or are stopped; some of them killed, then the master, or after it."""
    rng = random.Random(seed)
    server = gwctl_server(
        "boot_takes:application",
        worker=rng.choice(("sync", "threads")),
        processes=3,
        environ={"BOOT_TAKES_S": "0.3"},
        timeouts={"drain_timeout_s": 1.0},
        reload={"settle_s": 0.1},
    )
    try:
        server.start()
        server.wait_until_serving()
        for _ in range(rng.randrange(3)):
            server.signal(rng.choice((signal.SIGHUP, signal.SIGTTIN)))
        threading.Thread(target=ask_in_vain, args=(f"{server.url}/sleep?9",), daemon=True).start()
        until(lambda: rng.random() < 0.05, "some moment")
        victims = [process.pid for process in session_of(server.pid)]
        victims = rng.sample(victims, rng.randrange(len(victims) + 1))
        for victim in {*victims} - {server.pid}:
            kill(victim, rng.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP)))
        until(lambda: rng.random() < 0.2, "some moment")
        os.kill(server.pid, signal.SIGKILL)
        for process in rng.sample(session_of(server.pid), rng.randrange(2)):
            kill(process.pid, signal.SIGKILL)
        nobody_is_left(server)
    finally:
        server.destroy()


def kill(pid: int, number: signal.Signals) -> None:
    """Who is to be stopped is so at the return: the kernel wakes those whom it finds stopped at the master's end.

    It does so where they are a process group of their own. Who was forked a moment ago is not yet one, and
    nobody would ever wake it.
    """
    with contextlib.suppress(ProcessLookupError):
        if number == signal.SIGSTOP and os.getpgid(pid) != pid:
            number = signal.SIGKILL
        os.kill(pid, number)
        if number == signal.SIGSTOP:
            wait_until_stopped(pid)


HOLDER = """
import ctypes, os, signal, sys, threading
sys.setswitchinterval(60)  # a thread that wants the interpreter does not get it for asking
from gwctl.workers.lifecycle import parent_death as deathwatch
if os.fork():
    signal.pause()
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
armed = threading.Event()
def watch():
    deathwatch.die_by_alarm(4)
    armed.set()
    threading.Event().wait()
threading.Thread(target=watch, daemon=True).start()
armed.wait()
library = ctypes.PyDLL(None)
mutex = ctypes.create_string_buffer(256)
library.pthread_mutex_lock(mutex)
said = b"%d\\n" % os.getpid()
library.write(1, said, len(said))  # as C does: print would give the interpreter away meanwhile
library.pthread_mutex_lock(mutex)  # for ever, and nobody else gets the interpreter
"""


def test_code_that_never_gives_the_interpreter_back_is_ended_without_it():
    """Some seconds after its parent, by a handler that is in C: no Python runs in there any more."""
    parent = subprocess.Popen([sys.executable, "-c", HOLDER], stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    holder = int(parent.stdout.readline())
    try:
        until(lambda: (process := look(holder)) is None or process.state == "S", "it to wait for the lock")
        kill(holder, signal.SIGTERM)  # has a handler in Python, which is never run
        parent.kill()
        parent.wait()
        assert look(holder)
        until(lambda: has_ended(holder), "it to end", 20.0)
    finally:
        kill(holder, signal.SIGKILL)
        parent.stdout.close()


@pytest.mark.parametrize(("drain_timeout_s", "number"), [(1, 40), (30, 40), (40, 41), (62.5, 63), (64, 0)])
def test_it_comes_after_the_time_for_the_drain(drain_timeout_s, number):
    assert parent_death.alarm_after(drain_timeout_s) == number
