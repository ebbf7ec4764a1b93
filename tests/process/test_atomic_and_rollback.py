"""The switch of an atomic reload and of a rollback: no request fails, and the generations do not mix."""

from __future__ import annotations

import json
import signal
import time
from math import inf

import httpx
import pytest

from tests.load.runner import Load
from tests.support.apps import write_shop
from tests.support.clients import AskingThreads
from tests.support.status import status_of
from tests.support.wait import until

GOOD = """
def application(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [b'first']
"""
ATOMIC = {"settle_s": 0.3, "strategy": "atomic"}


@pytest.fixture
def shop(tmp_path):
    return write_shop(tmp_path, GOOD)


class FreshConnections(AskingThreads):
    """Clients that open a connection for each request: when it was begun and answered, and by whom."""

    def __init__(self, url: str, clients: int = 4) -> None:
        self._url = url
        self.answers: list[tuple[float, float, str]] = []
        super().__init__(clients)

    def ask(self) -> None:
        while not self.over.is_set():
            began_at = time.monotonic()
            body = httpx.get(self._url, headers={"connection": "close"}).text
            self.answers.append((began_at, time.monotonic(), body))

    def wait_for(self, body: str) -> None:
        until(lambda: any(each[2] == body for each in list(self.answers)), f"an answer from the {body}")

    def stragglers(self, before: str, after: str) -> list[tuple[float, float, str]]:
        """Connections begun when ``after`` had answered one, and answered by ``before``."""
        answers = list(self.answers)
        first = min((ended_at for _, ended_at, body in answers if body == after), default=inf)
        return [each for each in answers if each[2] == before and each[0] > first]


def test_an_atomic_reload_and_a_rollback_mix_no_generations_and_fail_no_request(gwctl_server, shop):
    """Kept-alive clients move over, too: after the switch their next response closes the connection."""
    options = {"master": {"keep_s": 600}, "reload": ATOMIC, "processes": 3, "worker": "threads"}
    with gwctl_server("shop:application", chdir=shop, **options) as server:
        (shop / "shop.py").write_text(GOOD.replace("first", "second"))
        with Load(server.url, connections=8) as load:
            with FreshConnections(server.url) as forward:
                forward.wait_for("first")
                assert server.gwctl("reload", "-c", str(server.config)).returncode == 0
                forward.wait_for("second")
            with FreshConnections(server.url) as back:
                back.wait_for("second")
                result = server.gwctl("rollback", "--json", "-c", str(server.config))
                back.wait_for("first")
            load.wait_for_requests(100)
        assert load.result.failures == {}, load.result
        assert {body for *_, body in forward.answers} == {"first", "second"}
        assert forward.stragglers("first", "second") == []
        assert back.stragglers("second", "first") == []
        assert json.loads(result.stdout)["kept"] == 2
        server.wait_for_log(r"rolled back to generation 1 in .*; generation 2 is kept for 10 min")
        status = status_of(server)
        assert status["degraded"] == "disk differs from what runs (rolled back from generation 2)"
        assert status["kept"]["workers"] == {"web": 3}
        assert httpx.get(server.url).text == "first"
        scaled = server.gwctl("scale", "web", "+1", "-c", str(server.config))
        assert scaled.returncode == 1, scaled.stdout
        assert scaled.stderr == (
            "web: 3 -> 4 workers. No worker is started before the next reload: "
            "disk differs from what runs (rolled back from generation 2)\n"
        )


def test_a_rolling_reload_does_mix_them(gwctl_server, shop):
    """The zero above is not the clients' blindness."""
    with gwctl_server("shop:application", chdir=shop, processes=3, reload={"settle_s": 30}) as server:
        (shop / "shop.py").write_text(GOOD.replace("first", "second"))
        with FreshConnections(server.url) as clients:
            server.signal(signal.SIGHUP)
            until(lambda: clients.stragglers("first", "second"), "both generations to answer side by side")


def test_with_nothing_kept_a_rollback_says_so(gwctl_server, shop):
    with gwctl_server("shop:application", chdir=shop) as server:
        result = server.gwctl("rollback", "-c", str(server.config))
        assert result.returncode == 1
        assert result.stderr == (
            "not rolled back: no generation is kept. Set master.keep_s to keep one after each reload\n"
        )
