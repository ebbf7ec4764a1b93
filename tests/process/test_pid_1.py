"""gwctl as pid 1 of a container: it buries strangers, can be stopped, and ends with the right status."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from typing import Final

import httpx
import pytest

from tests.support.clients import ask_in_vain
from tests.support.processes import children, signals
from tests.support.server import ROOT, GwctlServer
from tests.support.status import active_requests
from tests.support.wait import until

CONTAINER = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")


class PidOne(GwctlServer):
    """A master that is pid 1 in a namespace of its own."""

    inside = CONTAINER

    @property
    def master(self) -> int:
        """Its pid as seen from here. While other processes come and go the kernel's list can lack one."""
        return until(lambda: children(self.pid), "the master to be listed")[0]

    @property
    def workers(self) -> list[int]:
        return children(self.master)

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.master, number)


@pytest.fixture(autouse=True, scope="module")
def namespaces() -> None:
    """Skips where this user may not make them."""
    tried = subprocess.run([*CONTAINER, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"no pid namespace can be made here: {tried.stderr.strip()}")


def test_strangers_are_buried_without_a_word():
    """Orphans of the application become its children: none stays a zombie, is logged or taken for a worker."""
    with PidOne("strangers:application", worker="sync", processes=2, reload={"settle_s": 0.05}) as server:
        assert " pid 1," in server.log
        master, workers, before = server.master, server.workers, server.log
        httpx.get(f"{server.url}/?20", timeout=20)
        until(lambda: len(children(master)) >= 22, "the orphans to be the master's children")
        until(lambda: len(children(master)) == 2, lambda: f"these to be buried: {children(master)}")
        assert (server.workers, server.log) == (workers, before)
        os.kill(workers[0], signal.SIGTERM)  # what is ours among them is still told apart
        server.wait_for_log(r"web\.0 g1 +pid \d+ (ready|drains)", count=2)
        server.signal(signal.SIGHUP)
        server.wait_for_log(r"adopted generation 2\b")


def test_term_stops_it_and_a_further_one_escalates():
    """A process with pid 1 gets only the signals for which it has handlers."""
    server = PidOne("wsgi_bare:application", worker="sync", allow_errors=["."], allow_kill=True)
    with server:
        client = threading.Thread(target=ask_in_vain, args=(f"{server.url}/sleep?30",), daemon=True)
        client.start()
        until(lambda: active_requests(server), "the request to be served")
        server.signal(signal.SIGTERM)
        server.wait_for_log(r"stopping \(SIGTERM\): 1 worker finishes")
        server.signal(signal.SIGINT)
        server.wait_for_log("ending 1 worker at once")
        assert server.wait_for_exit(10) == 0


@pytest.mark.parametrize(("app", "status"), [("no_such_module:application", 4), ("wsgi_bare:nothing", 4)])
def test_the_status_says_that_nothing_could_be_started(app, status):
    server = PidOne(app, worker="sync", allow_errors=["."])
    try:
        server.start()
        assert server.wait_for_exit(20) == status
        server.assert_no_process_left()
    finally:
        server.destroy()


WAITS: Final = """
import sys, threading
class Waits:
    def find_spec(self, name, path=None, target=None):
        if name == "gwctl.cli.start":
            threading.Event().wait()
sys.meta_path.insert(0, Waits())
"""


def test_it_can_be_stopped_before_it_has_read_its_settings(tmp_path):
    """While it starts, TERM has no default action for pid 1: without a handler it would be lost."""
    (tmp_path / "sitecustomize.py").write_text(WAITS)
    server = PidOne("wsgi_bare:application", environ={"PYTHONPATH": f"{tmp_path}:{ROOT}"})
    try:
        server.start()
        until(lambda: signal.SIGTERM in signals(server.master, "SigCgt"), "a handler for TERM")
        server.signal(signal.SIGTERM)
        assert server.wait_for_exit(10) == 128 + signal.SIGTERM
    finally:
        server.destroy()
