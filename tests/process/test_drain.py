"""What a stop does to what is under way, in each class of worker, over TCP, TLS and a Unix socket."""

from __future__ import annotations

import re
import signal
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.apps import by_class
from tests.support.raw import RawClient, refuses, urls
from tests.support.server import APPS as APPS_FOLDER
from tests.support.server import GwctlServer
from tests.support.status import active_requests
from tests.support.tls import Files
from tests.support.wait import until

APPS = by_class("drains:wsgi", "drains:asgi")
LINGER_S = 0.6
each_class = pytest.mark.parametrize("worker", APPS)


def serve(worker: str, folder: Path, **settings: object) -> GwctlServer:
    """With three listeners: TCP, TLS and Unix."""
    files = Files(folder, "shop.example")
    bind = ["127.0.0.1:0", "tls:127.0.0.2:0", f"unix:{folder}/web.sock"]
    tls = {"certificate": str(files.certificate), "key": str(files.key)}
    master = {"log_level": "debug"}
    return GwctlServer(APPS[worker], worker=worker, bind=bind, tls=tls, master=master, **settings)  # type: ignore[arg-type]


def begin_to_stop(server: GwctlServer) -> float:
    began = time.monotonic()
    server.signal(signal.SIGTERM)
    server.wait_for_log(r"stopping \(SIGTERM\)")
    return began


@each_class
def test_a_stop_serves_what_was_accepted_and_closes_what_is_silent(worker, tmp_path):
    """On each listener: a response under way ends whole, a connection without a byte and one that was kept
    alive are answered with Connection: close, and one that stays silent is closed, not reset, after linger_s.
    New clients are refused. The lifespan is shut down after the last response.
    """
    linger_s = 6.0  # each client asks again within it, on a busy machine, too
    with serve(worker, tmp_path, timeouts={"linger_s": linger_s}) as server, ExitStack() as stack:
        addresses = urls(server)
        assert len(addresses) == 3
        kept, silent, fresh, streams = (
            [stack.enter_context(RawClient(url)) for url in addresses] for _ in range(4)
        )
        for client in (*kept, *silent):
            assert client.get().body == b"hello"
        for client in streams:
            client.send("/stream?4")
        streams[0].begin()
        began = begin_to_stop(server)
        for client in streams:
            answer = client.answer()
            assert answer.body == b"".join(f"block {n}\n".encode() for n in range(4)) + b"end\n"
        server.wait_for_log(r"draining: \d+ requests on \d+ connections")
        for client in (*fresh, *kept):
            answer = client.get()
            assert (answer.body, answer.close) == (b"hello", True)
            assert client.ended()
        assert all(client.ended() for client in silent)
        assert time.monotonic() - began >= linger_s
        assert all(refuses(url) for url in addresses)
        assert server.wait_for_exit() == 0
        assert "; 0 requests cut" in server.log
        if worker == "asgi":
            assert server.output.endswith("response ended\nlifespan shuts down\n")


def keep_busy(server: GwctlServer, worker: str, stack: ExitStack) -> RawClient:
    """Four requests that will not end by themselves; the answer of the one that is returned has not begun.

    A sync worker has three of them: it begins a response that is not taken, may have read of the body before it,
    and may begin the last one when it has put aside what is not taken.
    """
    tcp, tls, unix = urls(server)
    part, slow, held, events = (stack.enter_context(RawClient(url)) for url in (unix, tcp, tls, tcp))
    part.send("/upload", method="POST", headers="Content-Length: 9\r\n", body=b"part")
    slow.send("/big").begin()
    if worker != "sync":
        held.send("/hold")
    events.send("/events?id=7")
    busy = {"sync": 1, "threads": 3, "asgi": 4}[worker]
    until(lambda: active_requests(server) >= busy, "the requests to be served")
    return held


@each_class
def test_a_quick_stop_counts_what_it_cuts(worker, tmp_path):
    with serve(worker, tmp_path) as server, ExitStack() as stack:
        keep_busy(server, worker, stack)
        server.signal(signal.SIGINT)
        assert server.wait_for_exit() == 0
        assert re.search(f"; {'[123]' if worker == 'sync' else '4'} requests? cut", server.log)


@each_class
def test_what_takes_too_long_is_cut_named_and_counted(worker, tmp_path):
    """A stream without end, an answer that never comes, a body that came in part, a client that does not read.

    An asgi worker cuts them itself and shuts its lifespan down. A call cannot be cut: such a worker is explained
    and killed. What a sync worker has besides its call is not known to anybody else.
    """
    with serve(worker, tmp_path, timeouts={"drain_timeout_s": 0.5, "linger_s": 0.1}) as server:
        if worker != "asgi":
            server.allow_errors, server.allow_kill = ["of draining"], True
        with ExitStack() as stack:
            held = keep_busy(server, worker, stack)
            begin_to_stop(server)
            assert server.wait_for_exit() == 0
            if worker == "asgi":
                assert held.answer().status == 503
                assert server.output.endswith("response ended\nlifespan shuts down\n")
        _assert_told(server, worker)


def _assert_told(server: GwctlServer, worker: str) -> None:
    if worker == "asgi":
        found = re.search(r"drain_timeout_s \(0\.5 s\) is over: 4 requests cut\n((?: .*\n)+)", server.log)
        assert found, server.log
        assert re.search(
            r'GET /events\?…, \d\.\d s\n(?: .*\n)*? +File ".*drains\.py", line \d+ in respond', found[1]
        )
    else:
        server.wait_for_log(r"killed: did not finish within 0\.50 s of draining, serving GET /\w+\S* for \d")
        server.wait_for_log(
            r"waiting for web\.0: GET /\w+\S*, [\d.]+ s so far, of \d requests? on \d connections"
        )
    assert f"; {1 if worker == 'sync' else 4} request" in server.log


def test_streams_go_on_across_a_reload_and_one_without_end_is_cut_and_named(gwctl_server, tmp_path):
    """Of each class: begun under generation 1, ended whole long after generation 2 was adopted."""
    timeouts = {"drain_timeout_s": 6.0, "linger_s": 0.1}
    common = {"timeouts": timeouts, "reload": {"settle_s": 0.05}, "processes": 1}
    pools = {
        worker: {"app": APPS[worker], "worker": worker, "chdir": str(APPS_FOLDER), **common}
        | {"bind": [f"unix:{tmp_path}/{worker}.sock"]}
        for worker in ("sync", "threads")
    }
    with gwctl_server(APPS["asgi"], worker="asgi", pools=pools, **common) as server, ExitStack() as stack:
        addresses = [server.url, *(f"unix:{tmp_path}/{worker}.sock" for worker in pools)]
        streams = [stack.enter_context(RawClient(url)).send("/stream?15") for url in addresses]
        for client in streams:
            client.begin()
        events = stack.enter_context(RawClient(server.url)).send("/events?for=ever")
        assert events.begin().status == 200
        server.signal(signal.SIGHUP)
        server.wait_for_log(r"adopted generation 2\b")
        for client in streams:
            assert client.answer().body.endswith(b"block 14\nend\n")
        found = server.wait_for_log(
            r"web\.0 g1 +drain_timeout_s \(6 s\) is over: 1 request cut\n +GET /events\?…, (\S+) s\n"
        )
        assert 6 <= float(found[1]) < 30
        until(lambda: len(server.workers) == 3, "the first generation to go")
        assert server.output.endswith("lifespan shuts down\n")
