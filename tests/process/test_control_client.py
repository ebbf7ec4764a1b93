"""The client of the control socket, with a server that turns in a thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gwctl.control.client import ControlClient, RefusedError
from gwctl.control.protocol import Progress, Reload, Status, Stop
from gwctl.errors import ControlError
from tests.support.control import Master
from tests.support.wait import DEADLINE_S


@pytest.fixture
def served(master: Master) -> Iterator[Master]:
    """The master's loop turns in a thread; every reload gets an answer."""
    done = threading.Event()

    def run() -> None:
        answered = 0
        while not done.is_set():
            for key, mask in master.selector.select(0.02):
                if master.selector.get_map().get(key.fd) is key:
                    key.data(mask)
            for number, method in master.asked[answered:]:
                answered += 1
                if isinstance(method, Reload):
                    master.server.progress(number, "web", "boot", "FAILED")
                    master.server.answer(number, ok=False, text="not adopted", result={"traceback": "x"})
                elif isinstance(method, Stop):
                    master.server.answer(number, ok=True, text="stopped", result={})

    thread = threading.Thread(target=run)
    thread.start()
    yield master
    done.set()
    thread.join(DEADLINE_S)


def test_client_calls(served: Master) -> None:
    with ControlClient(served.path) as client:
        assert client.call("status", Status(), timeout_s=DEADLINE_S) == {"name": "shop"}
        news: list[Progress] = []
        with pytest.raises(RefusedError, match="not adopted") as caught:
            client.call("reload", Reload(), news.append, timeout_s=DEADLINE_S)
        assert caught.value.data == {"traceback": "x"}
        assert [(each.pool, each.phase, each.outcome) for each in news] == [("web", "boot", "FAILED")]
        assert client.call("stop", Stop(), timeout_s=DEADLINE_S) == {"text": "stopped"}
        assert not client.wait_gone(0)


def test_client_without_a_master(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match="no master runs at"):
        ControlClient(tmp_path / "nobody.sock")


def test_client_of_a_silent_master(master: Master) -> None:
    with ControlClient(master.path) as client, pytest.raises(ControlError, match="does not answer"):
        client.call("status", Status(), timeout_s=0.01)
