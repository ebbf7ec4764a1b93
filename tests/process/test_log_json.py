"""The event log as JSON: whatever master, workers, templates and their children say, each line is an object."""

from __future__ import annotations

import json
import signal
import socket
from typing import Any

import pytest

from tests.support.apps import BARE
from tests.support.raw import connection_to
from tests.support.server import GwctlServer
from tests.support.wait import until

QUICK = {"settle_s": 0.05}
JSON = {"format": "json"}
KILLED = {"allow_kill": True}
"""The word stands among the figures of a record."""
CLASSES = ["sync", "threads", "asgi"]


def lines(server: GwctlServer) -> list[dict[str, Any]]:
    """All of the log; the one that is being written may be there in part."""
    return [json.loads(line) for line in server.log.splitlines(keepends=True) if line.endswith("\n")]


def refused(server: GwctlServer) -> None:
    """Send what a worker tells at the level debug."""
    with connection_to(server.url) as client:
        client.sendall(b"GET / HTTP/1.1\r\n\r\n")  # without Host
        client.shutdown(socket.SHUT_WR)
        while client.recv(65536):
            pass


@pytest.mark.parametrize("preload", [False, True])
@pytest.mark.parametrize("worker", CLASSES)
def test_every_line_is_an_object_of_the_same_names(gwctl_server, worker: str, preload: bool) -> None:
    debug = {"log_level": "debug"}
    with gwctl_server(
        BARE[worker], worker=worker, preload=preload, master=debug, log=JSON, **KILLED
    ) as server:
        server.signal(signal.SIGHUP)
        server.wait_for_log(r'"kind":"reload_adopted".*\n')
        refused(server)
        server.wait_for_log("there is no Host.*\n")
        found = lines(server)
        said = next(each for each in found if "there is no Host" in each["text"])
        told = next(each for each in found if each["kind"] == "reload_adopted")
    assert {"time", "level", "severity_number", "instance", "kind", "subject", "pid", "text"} <= said.keys()
    assert (said["kind"], said["pool"], said["slot"], said["instance"]) == ("worker", "web", 0, "test")
    assert said["generation"] in {1, 2}  # the old one may drain
    assert said["subject"] == f"web.0 g{said['generation']}"
    assert told["number"] > 1
    assert told["severity_number"] == 9


@pytest.mark.parametrize("worker", CLASSES)
def test_it_reaches_workers_that_live_on_and_goes_back(gwctl_server, worker: str) -> None:
    """From the start JSON; a reload to text, when the old generation is kept and drains later."""
    with gwctl_server(
        BARE[worker], worker=worker, reload=QUICK, master={"log_level": "debug"}, processes=2, **KILLED
    ) as server:
        server.tables["log"] = {"format": "json"}
        server.write_config()
        server.signal(signal.SIGHUP)
        server.wait_for_log(r'"kind":"reload_adopted".*\n')
        server.tables["log"] = {"format": "text"}
        server.write_config()
        server.signal(signal.SIGHUP)
        server.wait_for_log(r"^\d\d:\S+ info  master     adopted generation 3")
        before = len(server.log)

        def in_text() -> bool:
            refused(server)
            new = server.log[before:].splitlines()
            return any(line.endswith("there is no Host") and line[:1].isdigit() for line in new)

        until(in_text, "a worker to write text")


@pytest.mark.parametrize("worker", CLASSES)
def test_an_applications_exception_is_fields_of_one_line(gwctl_server, worker: str) -> None:
    app = "raises:live" if worker == "asgi" else "raises:application"
    with gwctl_server(app, worker=worker, log=JSON, **KILLED) as server:
        with connection_to(server.url) as client:
            client.sendall(b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            while client.recv(65536):
                pass
        server.wait_for_log("the application raised.*\n")
        until(lambda: server.log.endswith("\n"), "the last line to be whole")
        found = next(json.loads(line) for line in server.log.splitlines() if "the application raised" in line)
    assert found["text"] == "GET /x: the application raised: KeyError: 'price \\udcff'"
    assert found["exception_type"] == "KeyError"
    assert found["exception_stacktrace"].startswith('  File "')
    assert found["level"] == "error"


def test_it_is_json_from_the_first_line_on_and_over_an_upgrade(gwctl_server) -> None:
    with gwctl_server(BARE["sync"], worker="sync", reload=QUICK, log=JSON, **KILLED) as server:
        server.signal(signal.SIGUSR2)
        server.wait_for_log(r'"kind":"reload_adopted".*\n')
        assert {each["kind"] for each in lines(server)} >= {
            "master_started",
            "worker_ready",
            "master_upgraded",
        }


def test_a_start_that_fails_says_so_in_json(gwctl_server) -> None:
    server = gwctl_server("nosuch:application", worker="sync", log=JSON)
    server.start()
    try:
        assert server.wait_for_exit() != 0
        found = lines(server)
        assert all("text" in each for each in found)
        assert any("nosuch" in each["text"] for each in found)
    finally:
        server.destroy()
