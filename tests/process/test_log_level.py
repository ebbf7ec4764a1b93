"""``gwctl log-level``: the log of master and workers says more for a while, and then as before."""

from __future__ import annotations

import json
import re
import signal
import socket

import pytest

from tests.support.apps import BARE
from tests.support.raw import connection_to
from tests.support.server import GwctlServer
from tests.support.wait import until

QUICK = {"settle_s": 0.05}
REFUSED = r"^\S+ debug web\.\d g\d .* there is no Host$"


def asked(server: GwctlServer, *arguments: str) -> str:
    result = server.gwctl("log-level", *arguments, "-c", str(server.config))
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def refusals_are_told(server: GwctlServer) -> bool:
    """Send what is refused, which a worker tells at the level debug."""
    before = len(re.findall(REFUSED, server.log, re.MULTILINE))
    with connection_to(server.url) as client:
        client.sendall(b"GET / HTTP/1.1\r\n\r\n")  # without Host
        client.shutdown(socket.SHUT_WR)
        while client.recv(65536):
            pass
    return len(re.findall(REFUSED, server.log, re.MULTILINE)) > before


@pytest.mark.parametrize("worker", ["sync", "threads", "asgi"])
def test_workers_tell_more_and_then_less(gwctl_server, worker: str) -> None:
    with gwctl_server(BARE[worker], worker=worker, processes=2) as server:
        assert not refusals_are_told(server)
        assert asked(server) == "info"
        assert asked(server, "debug") == "debug until the next reload, then info"
        until(lambda: refusals_are_told(server), "the workers to tell")
        assert asked(server, "info") == "info"
        until(lambda: not refusals_are_told(server), "the workers to tell no more")


def test_its_time_is_over_reloads_or_not(gwctl_server) -> None:
    with gwctl_server(BARE["sync"], worker="sync", reload=QUICK) as server:
        assert asked(server, "debug", "--for", "1h") == "debug for 60 min, then info"
        server.signal(signal.SIGHUP)
        server.wait_for_log(r"adopted generation 2\b")
        assert refusals_are_told(server), "those of the new generation, too"
        server.signal(signal.SIGUSR2)
        server.wait_for_log(r"adopted generation 3\b")
        assert refusals_are_told(server)
        answer = json.loads(asked(server, "--json"))
        assert (answer["level"], answer["configured"]) == ("debug", "info")
        assert 3500 < answer["left_s"] < 3600
        asked(server, "debug", "--for", "1s")
        server.wait_for_log(r"log level debug -> info \(its time is over\)")
        until(lambda: not refusals_are_told(server), "the workers to tell no more")


def test_a_reload_ends_what_was_asked_for_without_a_time(gwctl_server) -> None:
    with gwctl_server(BARE["sync"], worker="sync", reload=QUICK) as server:
        asked(server, "debug")
        server.signal(signal.SIGHUP)
        server.wait_for_log(r"log level debug -> info \(reload\)")
        until(lambda: not refusals_are_told(server), "the workers to tell no more")


@pytest.mark.parametrize("preload", [False, True])
def test_the_workers_of_a_reload_that_changes_the_setting_have_it(gwctl_server, preload: bool) -> None:
    """They are started before the reload is adopted, when the level is still the one before."""
    with gwctl_server(BARE["sync"], worker="sync", reload=QUICK, preload=preload) as server:
        server.tables["master"]["log_level"] = "debug"
        server.write_config()
        server.signal(signal.SIGHUP)
        server.wait_for_log(r"log level info -> debug \(reload\)")
        until(lambda: refusals_are_told(server), "the workers to tell")


WRONG = [
    (["--for", "10m"], "--for says how long, and not which level"),
    (["debug", "--for", "0"], "it can be 1s to 7d"),
    (["loud"], "'loud' is not one of 'debug', 'info', 'warning', 'error'"),
    (["debug", "--for", "ever"], "write 90s, 10m, 2h or 1d"),
    (["debug", "--for", "9d"], "it can be 1s to 7d"),
]


def test_wrong_input(gwctl_server, subtests) -> None:
    with gwctl_server(BARE["sync"], worker="sync") as server:
        for arguments, error in WRONG:
            with subtests.test(arguments=arguments):
                result = server.gwctl("log-level", *arguments, "-c", str(server.config))
                assert result.returncode in {1, 2}
                assert error in result.stderr
                assert asked(server) == "info"
