"""A request over its limit under threads costs no other request, and its worker is replaced for it."""

from __future__ import annotations

import httpx
import pytest

from tests.support.clients import AskingThreads
from tests.support.raw import request_on
from tests.support.wait import until

THINK_S = 0.005
TIMEOUTS = {"request_timeout_s": 0.8, "request_timeout_paths": ["/short 20", "/fine 20", "/extended 3"]}
"""Only what is to be stuck has the short one: any other may take its time on a busy machine."""
EXPECTED = ["request timeout: GET /stuck"]
APP = (
    "import os, threading\n"
    "def application(environ, start_response):\n"
    "    path = environ['PATH_INFO']\n"
    "    if path == '/stuck':\n"
    "        threading.Event().wait()\n"
    "    if path == '/stuck-in-mid-response':\n"
    "        start_response('200 OK', [('Content-Length', '10')])\n"
    "        return stuck()\n"
    "    if path == '/extended':\n"
    "        environ['gwctl.extend_timeout'](20)\n"
    "        threading.Event().wait(4)\n"
    "    if path == '/short':\n"
    "        threading.Event().wait(1.5)\n"
    "    start_response('200 OK', [])\n"
    "    return [str(os.getpid()).encode()]\n"
    "def stuck():\n"
    "    yield b'half'\n"
    "    threading.Event().wait()\n"
)


@pytest.fixture
def server(gwctl_server, tmp_path):
    (tmp_path / "shop.py").write_text(APP)
    options = {"worker": "threads", "threads": 2, "timeouts": TIMEOUTS, "allow_errors": EXPECTED}
    with gwctl_server("shop:application", chdir=tmp_path, **options) as running:
        yield running


class Load(AskingThreads):
    """Clients that go on asking on kept-alive connections; what went wrong is in ``failures``."""

    def __init__(self, url: str, count: int) -> None:
        self.failures: list[str] = []
        self.answers = 0
        self._url = url
        super().__init__(count)

    def ask(self) -> None:
        with httpx.Client(timeout=20) as client:
            while not self.over.is_set():
                try:
                    response = client.get(self._url)
                except httpx.HTTPError as error:
                    self.failures.append(repr(error))
                    continue
                self.answers += response.status_code == 200
                if response.status_code != 200:
                    self.failures.append(str(response.status_code))
                self.over.wait(THINK_S)


def test_a_stuck_request_is_answered_504_and_costs_no_other(server):
    """Its worker is replaced by one that serves first; nobody is killed, and nothing else fails."""
    (before,) = server.workers
    with Load(f"{server.url}/fine", 3) as load:
        response = httpx.get(f"{server.url}/stuck", timeout=20)
        assert response.status_code == 504
        server.wait_for_log(rf"web\.0 g1 +pid {before} is replaced: it cannot end a request: GET /stuck")
        until(lambda: before not in server.workers, "the worker to be gone")
        answers = load.answers
        until(lambda: load.answers > answers + 20, "the successor to serve")
    assert load.failures == []
    assert "killed" not in server.log
    record = server.wait_for_log(
        r"error web\.0 g1 +request timeout: GET /stuck has run [\d.]+ s \(limit 0\.8 s\); answered with 504\. .*\n"
        r'  thread of the request .*:\n(?:    File .*\n)*?    File ".*shop\.py", line 5 in application\n'
    )
    assert "gwctl/workers" not in record[0]


def test_all_threads_stuck_at_once_are_all_replaced(server):
    """Requests that wait behind them are served: other threads take their place at once."""
    clients = [request_on(server.url, "/stuck") for _ in range(2)]
    server.wait_for_log(r"request timeout: GET /stuck", count=2)
    assert httpx.get(f"{server.url}/fine", timeout=20).status_code == 200
    for client in clients:
        with client:
            assert client.recv(1000).startswith(b"HTTP/1.1 504 ")


def test_in_mid_response_the_connection_is_cut(server):
    server.allow_errors.append("request timeout: GET /stuck-in-mid-response")
    with request_on(server.url, "/stuck-in-mid-response") as client, pytest.raises(ConnectionResetError):
        while client.recv(1000):
            pass
    server.wait_for_log("connection cut in mid-response")


def test_other_limits_by_path_and_more_time_for_who_asks(server):
    (before,) = server.workers
    for path in ("/short", "/extended"):
        assert httpx.get(server.url + path, timeout=20).text == str(before)
    assert "request timeout" not in server.log
