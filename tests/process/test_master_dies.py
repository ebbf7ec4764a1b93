"""kill -9 of the master: its workers let go of the port at once, finish what they have, and are gone."""

from __future__ import annotations

import os
import signal
import threading

import httpx
import pytest

from tests.support.processes import session_of
from tests.support.status import active_requests
from tests.support.wait import until

APPS = {"sync": "wsgi_bare:application", "threads": "wsgi_bare:application", "asgi": "asgi_bare:application"}


def refuses(url: str) -> bool:
    try:
        httpx.get(url, timeout=5)
    except httpx.ConnectError:
        return True
    except httpx.HTTPError:
        return False
    return False


@pytest.mark.parametrize("worker", APPS)
def test_workers_close_listeners_finish_and_go(gwctl_server, worker):
    """The port is refused while a request that began before is still being served to its end."""
    server = gwctl_server(APPS[worker], worker=worker, processes=2)
    try:
        server.start()
        server.wait_until_serving()
        answers: list[str] = []
        url = server.url
        client = threading.Thread(target=lambda: answers.append(httpx.get(f"{url}/sleep?3", timeout=20).text))
        client.start()
        until(lambda: active_requests(server), "a worker to be busy")
        os.kill(server.pid, signal.SIGKILL)
        until(lambda: refuses(url), "the port to be refused", 2.0)
        assert not answers, "the long request had ended too early to prove anything"
        client.join(20)
        assert answers == ["slept"]
        until(lambda: not [p for p in session_of(server.pid) if not p.is_zombie], "all workers to go", 10)
    finally:
        server.destroy()
