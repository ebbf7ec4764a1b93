"""Signals that somebody has blocked: whoever starts a master, or the application in a worker."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import httpx
import pytest

from tests.support.processes import look, signals, title, wait_until_stopped
from tests.support.wait import until

APP = "wsgi_bare:application"

BLOCKED = "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, {numbers})\n"
HEARD = (signal.SIGTERM, signal.SIGQUIT, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGTTIN)


@pytest.mark.parametrize(
    "numbers",
    [
        "{signal.SIGHUP, signal.SIGINT, signal.SIGUSR1, signal.SIGTERM, signal.SIGCHLD}",
        "signal.valid_signals()",
    ],
    ids=["some", "all"],
)
def test_a_master_that_is_started_with_signals_blocked_hears_them(gwctl_server, numbers):
    """All that it handles, children's deaths included, and so does the program that it upgrades to."""
    blocked = BLOCKED.format(numbers=numbers)
    with gwctl_server(APP, worker="sync", prelude=blocked, reload={"settle_s": 0.05}) as server:
        assert not signals(server.pid, "SigBlk") & {*HEARD, signal.SIGCHLD, signal.SIGTTOU, signal.SIGUSR2}
        server.signal(signal.SIGHUP)
        server.wait_for_log("adopted generation 2")
        server.signal(signal.SIGUSR1)
        server.wait_for_log("reopened the logs")
        server.signal(signal.SIGTTIN)
        until(lambda: len(server.workers) == 2, "a second worker")
        ended = server.workers[0]
        os.kill(ended, signal.SIGTERM)
        until(lambda: look(ended) is None, "the worker to be reaped")
        server.signal(signal.SIGUSR2)
        server.wait_for_log("adopted generation 3")
        assert not signals(server.pid, "SigBlk") & set(HEARD)
        assert httpx.get(server.url).text == "hello"


def test_signals_that_come_at_once_harm_no_master(gwctl_server):
    """faulthandler, which containers often turn on, has Python's handlers run on a stack that is small."""
    with gwctl_server(
        APP, worker="sync", environ={"PYTHONFAULTHANDLER": "1"}, reload={"settle_s": 0.05}
    ) as server:
        server.signal(signal.SIGSTOP)
        wait_until_stopped(server.pid)
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGTTIN, signal.SIGTTOU, signal.SIGCHLD):
            server.signal(number)
        server.signal(signal.SIGCONT)
        server.wait_for_log("reopened the logs")
        server.wait_for_log("adopted generation 2")
        assert httpx.get(server.url).text == "hello"


@pytest.mark.parametrize("preload", [False, True], ids=["", "preload"])
@pytest.mark.parametrize("when", ["import", "lifespan"])
def test_a_worker_hears_whatever_its_application_blocks_at_its_start(gwctl_server, when, preload):
    """All classes, each in a pool of its own: TERM to one is answered, and a quick stop needs no SIGKILL."""
    pools = {"asgi": "deaf:live"}
    if when == "import":
        pools |= {"sync": "deaf:application", "threads": "deaf:application"}
    common = {"chdir": str(Path(__file__).parents[1] / "apps"), "env": {"DEAF": when}, "preload": preload}
    first, *others = (
        {"app": app, "worker": worker, "bind": f"127.0.0.{number}:0", "processes": 1, **common}
        for number, (worker, app) in enumerate(pools.items(), 1)
    )
    with gwctl_server(
        first.pop("app"),
        **{**first, "chdir": Path(first["chdir"])},
        pools={each["worker"]: {**each, "bind": [each["bind"]]} for each in others},
    ) as server:
        pids = [pid for pid in server.workers if "worker" in title(pid)]
        assert len(pids) == len(pools)
        for pid in pids:
            assert not signals(pid, "SigBlk") & set(HEARD)
            os.kill(pid, signal.SIGTERM)
            until(lambda pid=pid: look(pid) is None, "it to drain and end")
        server.wait_for_log(r"\.0 g1 +pid \d+ ready in ", count=2 * len(pools))
        server.signal(signal.SIGINT)
        assert server.wait_for_exit(10) == 0


TELLS = """
import deaf, signal

def application(environ, start_response):
    def begin(status, headers):
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        start_response(status, [*headers, ("Blocked", " ".join(str(int(number)) for number in blocked))])
    return deaf.application(environ, begin)
"""
"""What a request has blocked it says itself: looked at from here, it may be let in again already."""


def test_a_worker_hears_again_after_a_request_that_blocked_them(gwctl_server, tmp_path):
    """Within seconds. Under threads the request has a thread of its own, and the main one never stops hearing."""
    (tmp_path / "tells.py").write_text(TELLS)
    chdir = Path(__file__).parents[1] / "apps"
    asgi = {
        "app": "deaf:live",
        "worker": "asgi",
        "bind": ["127.0.0.2:0"],
        "processes": 1,
        "chdir": str(chdir),
    }
    with gwctl_server(
        "tells:application",
        worker="sync",
        bind=["127.0.0.1:0"],
        pools={"asgi": asgi},
        chdir=tmp_path,
        pythonpath=[str(chdir)],
    ) as server:
        urls = [server.wait_for_log(rf"{pool}: 1 worker, (\S+)$")[1] for pool in ("web", "asgi")]
        answers = [httpx.get(f"{url}/block") for url in urls]
        pids = [int(answer.text) for answer in answers]
        blocked = {int(number) for number in answers[0].headers["blocked"].split()}
        assert set(HEARD) <= blocked, "the request did not block anything"
        until(
            lambda: not any(signals(pid, "SigBlk") & set(HEARD) for pid in pids), "the signals to be let in"
        )
        server.signal(signal.SIGINT)
        assert server.wait_for_exit(10) == 0
