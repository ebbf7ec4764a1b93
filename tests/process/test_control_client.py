"""The client of the control socket, with a server that turns in a thread."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import socket
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gwctl.control.client import ControlClient, RefusedError
from gwctl.control.discovery import find
from gwctl.control.protocol import Incoming, Progress, Reload, Status, Stop
from gwctl.errors import ControlError
from gwctl.supervisor.control.server import CLIENTS_MAX
from gwctl.supervisor.core import actions
from tests.support.apps import BARE
from tests.support.control import Master
from tests.support.wait import DEADLINE_S, until
from tests.tidy.checks import ROOT


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
            master.server.turn(master.now)
            for number, method in master.asked[answered:]:
                answered += 1
                if isinstance(method, Reload):
                    master.server.progress(actions.Progress(number, "web", "boot", "FAILED"))
                    master.server.answer(number, ok=False, text="not adopted", result={"traceback": "x"})
                elif isinstance(method, Stop):
                    master.server.answer(number, ok=True, text="stopped", result={})

    thread = threading.Thread(target=run)
    thread.start()
    yield master
    done.set()
    thread.join(DEADLINE_S)


def test_who_has_lost_its_place_before_it_was_heard_asks_again(served: Master) -> None:
    """However slowly an operator types: others that only sit there have come meanwhile."""
    with ControlClient(served.path) as client, contextlib.ExitStack() as stack:
        for _ in range(CLIENTS_MAX + 1):
            crowd = stack.enter_context(socket.socket(socket.AF_UNIX))
            crowd.connect(str(served.path))
        until(lambda: select.select([client], [], [], 0)[0], "the master to give its place to another")
        assert client.call("status", Status(), timeout_s=DEADLINE_S) == {"name": "shop"}


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


def test_client_that_does_not_wait(served: Master) -> None:
    """Several questions at once; answers and news as they come."""
    with ControlClient(served.path) as client:
        asked = [client.ask("status", Status()), client.ask("reload", Reload())]
        client.ask("status", Status())
        found: list[Incoming] = []
        until(lambda: found.extend(client.take()) or len(found) == 4, "all answers")
        assert [each.method for each in found if each.method is not None] == ["progress"]
        by_id = {each.id: each for each in found if each.method is None}
        assert by_id[asked[0]].result == {"name": "shop"}
        failure = by_id[asked[1]].error
        assert failure is not None
        assert failure.message == "not adopted"


def test_client_that_does_not_wait_for_a_master_that_goes(tmp_path: Path) -> None:
    """What was said before it went is told first."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "x.sock"))
        listening.listen()
        with ControlClient(tmp_path / "x.sock") as client:
            accepted, _ = listening.accept()
            client.ask("status", Status())
            accepted.sendall(b'{"jsonrpc":"2.0","id":1,"result":{"name":"shop"}}\n{"json')
            accepted.close()
            assert [each.result for each in client.take()] == [{"name": "shop"}]
            with pytest.raises(ControlError, match="went away"):
                client.take()
            with pytest.raises(ControlError, match="went away"):
                client.ask("status", Status())


def test_client_without_a_master(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match="no master runs at"):
        ControlClient(tmp_path / "nobody.sock")


def test_client_of_a_silent_master(master: Master) -> None:
    with ControlClient(master.path) as client, pytest.raises(ControlError, match="does not answer"):
        client.call("status", Status(), timeout_s=0.01)


def test_a_gw_toml_here_that_names_a_socket_means_that_master(tmp_path: Path, master: Master) -> None:
    """Also where only another master is found: a reload must not go to whoever happens to run."""
    other = {"RUNTIME_DIRECTORY": str(master.path.parent.parent)}
    ways = {"name": None, "config": None, "control": None, "environ": other, "uid": os.geteuid()}
    assert find(**ways, cwd=tmp_path) == master.path
    (tmp_path / "gw.toml").write_text('[master]\ncontrol = "run/mine.sock"\n', "utf-8")
    assert find(**ways, cwd=tmp_path) == tmp_path / "run/mine.sock"
    (tmp_path / "gw.toml").write_text('[master]\ncontrol = "auto"\n', "utf-8")
    assert find(**ways, cwd=tmp_path) == master.path


def test_client_of_a_master_that_a_signal_has_stopped(gwctl_server) -> None:
    """It is told after a second, not when patience ends, and how to mend it; then the master goes on."""
    with gwctl_server(BARE["sync"], worker="sync") as server:
        server.signal(signal.SIGSTOP)
        try:
            done = server.gwctl("status", "-c", str(server.config))
        finally:
            server.signal(signal.SIGCONT)
        assert done.returncode == 1
        stopped = f"the master (pid {server.pid}) is stopped by a signal and does nothing"
        assert done.stderr == f"{stopped}: kill -CONT {server.pid} lets it go on\n"
        assert server.gwctl("status", "-c", str(server.config)).returncode == 0


def test_the_example_of_the_page_runs(gwctl_server, capsys) -> None:
    """docs/control.md, "From Python", at a real master."""
    page = (ROOT / "docs" / "control.md").read_text("utf-8")
    example = textwrap.dedent(re.findall(r"## From Python\n\n((?:    .*\n|\n)+)", page)[0])
    reload = {"settle_s": 0.0}
    with gwctl_server(BARE["sync"], worker="sync", reload=reload) as server:
        path = find(
            name=None, config=server.config, control=None, environ=server.environ, uid=os.geteuid(), cwd=ROOT
        )
        exec(example.replace("/run/gwctl/shop.sock", str(path)), {})
    said = capsys.readouterr().out
    assert said.startswith("healthy\n")
    assert "phase='commit'" in said
    assert "adopted generation 2 in" in said
