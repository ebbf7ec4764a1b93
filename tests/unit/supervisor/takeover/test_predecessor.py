"""What a new master is given is believed only of its own user, and only as far as it fits together."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gwctl.config.model.settings import PoolSettings, Settings
from gwctl.control import protocol
from gwctl.errors import ControlError
from gwctl.supervisor.takeover import predecessor

SETTINGS = Settings(pool={"web": msgspec.convert({"app": "shop:app"}, PoolSettings)})


@contextmanager
def answering(path: Path, answer: dict[str, Any], passed: int) -> Iterator[list[dict[str, Any]]]:
    """A master that answers one request so, with so many descriptors."""
    asked: list[dict[str, Any]] = []
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()

        def serve() -> None:
            client, _ = listening.accept()
            with client, client.makefile("rb") as lines, socket.socket() as given:
                line = lines.readline()
                if line:
                    asked.append(json.loads(line))
                    said = json.dumps({"jsonrpc": "2.0", "id": 1, **answer}).encode() + b"\n"
                    socket.send_fds(client, [said], [given.fileno()] * passed)

        thread = threading.Thread(target=serve)
        thread.start()
        yield asked
        thread.join()


def test_who_answers_with_what_it_says_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "shop.sock"
    offer = protocol.Offer(7, "gwctl 0.2.0", (1, 2), (protocol.Offered("a", 2), protocol.Offered("b", 1)))
    with answering(path, {"result": msgspec.to_builtins(offer) | {"text": ""}}, 5) as asked:
        found = predecessor.ask(path, SETTINGS)
    assert found is not None
    assert (found.pid, found.count, found.control.inode) == (7, 3, (1, 2))
    assert list(map(len, found.listeners.values())) == [2, 1]
    assert asked[0]["params"] == {"pid": os.getpid(), "patience_s": predecessor.patience_s(SETTINGS)}
    found.line.close()
    found.control.sock.close()
    for fds in found.listeners.values():
        for fd in fds:
            os.close(fd)


@pytest.mark.parametrize(
    ("answer", "passed", "says"),
    [
        ({"error": {"code": 1, "message": "a takeover is under way"}}, 1, "a takeover is under way"),
        ({"error": {"code": -32601, "message": "no method 'take_over'"}}, 1, "no method 'take_over'"),
        ({"result": {"text": ""}}, 2, "does not speak this protocol"),
        (
            {"result": msgspec.to_builtins(protocol.Offer(7, "x", (1, 2), ()))},
            3,
            "passed other descriptors than it says",
        ),
    ],
)
def test_anything_else_is_refused_and_costs_no_descriptor(
    tmp_path: Path, answer: dict[str, Any], passed: int, says: str
) -> None:
    before = set(Path("/proc/self/fd").iterdir())
    with answering(tmp_path / "shop.sock", answer, passed), pytest.raises(ControlError, match=says):
        predecessor.ask(tmp_path / "shop.sock", SETTINGS)
    assert set(Path("/proc/self/fd").iterdir()) == before


def test_a_master_of_another_user_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: own + 1)
    with answering(tmp_path / "shop.sock", {}, 1) as asked, pytest.raises(ControlError, match="own user"):
        predecessor.ask(tmp_path / "shop.sock", SETTINGS)
    assert not asked


def test_where_nobody_listens_there_is_none(tmp_path: Path) -> None:
    assert predecessor.ask(tmp_path / "none.sock", SETTINGS) is None
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "left.sock"))
    assert predecessor.ask(tmp_path / "left.sock", SETTINGS) is None
