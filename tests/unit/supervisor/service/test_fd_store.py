"""What is put into systemd's store, what is taken out of it, and when it does not fit."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from gwctl.log.event_log import Log
from gwctl.supervisor.history import History
from gwctl.supervisor.listeners.inherited import STORED
from gwctl.supervisor.listeners.stored import Stored, name_of
from gwctl.supervisor.listeners.syn_filter import reject_new_connections
from gwctl.supervisor.recorder import Recorder
from gwctl.supervisor.service.fd_store import FdStore
from gwctl.supervisor.service.sd_notify import Notifier
from tests.support.service_manager import ServiceManager


class Keeping:
    def __init__(self, folder: Path) -> None:
        self.manager = ServiceManager(str(folder / "notify"))
        self.log_path = folder / "log"
        self.log = self.log_path.open("wb")
        self.recorder = Recorder(Log(self.log.fileno()), History.of("shop"))
        self.notifier = Notifier(self.manager.environ, self.recorder)
        self.socks = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
        self.a, self.b, self.c = (sock.fileno() for sock in self.socks)

    def store(self, room: str = "8") -> FdStore:
        return FdStore(self.notifier, {"FDSTORE": room}, self.recorder)

    def kept(self) -> dict[str, list[int]]:
        """By name, the ports."""
        self.manager.received()
        kept: dict[str, list[int]] = {}
        for name, fd in self.manager.store:
            with socket.socket(fileno=os.dup(fd)) as sock:
                kept.setdefault(name, []).append(sock.getsockname()[1])
        return kept

    def port(self, number: int) -> int:
        return int(self.socks[number].getsockname()[1])

    def close(self) -> None:
        self.manager.close()
        self.log.close()
        for sock in self.socks:
            sock.close()


@pytest.fixture
def keeping(tmp_path: Path) -> Iterator[Keeping]:
    keeping = Keeping(tmp_path)
    yield keeping
    keeping.close()


def test_what_is_in_force_is_kept_and_nothing_else(keeping: Keeping) -> None:
    store = keeping.store()
    assert store.keep({"x": (keeping.a, keeping.b)})
    assert keeping.kept() == {"x": [keeping.port(0), keeping.port(1)]}
    assert store.keep({"x": (keeping.a, keeping.b), "y": (keeping.c,)})
    assert keeping.kept() == {"x": [keeping.port(0), keeping.port(1)], "y": [keeping.port(2)]}
    assert store.keep({"y": (keeping.c,)})
    assert keeping.kept() == {"y": [keeping.port(2)]}
    assert store.keep({"y": (keeping.a,)}), "bound anew"
    assert keeping.kept() == {"y": [keeping.port(0)]}
    store.empty()
    assert keeping.kept() == {}


def test_what_was_there_at_the_start_and_is_not_wanted_goes(keeping: Keeping) -> None:
    before = keeping.store()
    before.keep({"old": (keeping.a,), "x": (keeping.b,)})
    after = keeping.store()
    after.resume(("old", "x"))
    assert after.keep({"x": (keeping.b,)})
    assert keeping.kept() == {"x": [keeping.port(1)]}


def test_an_upgrade_sends_it_again_and_still_knows_what_to_take_out(keeping: Keeping) -> None:
    before = keeping.store()
    before.keep({"x": (keeping.a,), "y": (keeping.b,)})
    after = keeping.store()
    after.resume(before.snapshot())
    assert after.keep({"x": (keeping.a,)})
    assert keeping.kept() == {"x": [keeping.port(0)]}


def test_without_room_for_all_there_is_none_and_it_is_said_once(keeping: Keeping) -> None:
    """Half of them would be refused, and half wait: nobody could tell why."""
    store = keeping.store("2")
    assert store.keep({"x": (keeping.a, keeping.b)})
    assert not store.keep({"x": (keeping.a, keeping.b), "y": (keeping.c,)})
    assert not store.keep({"x": (keeping.a, keeping.b), "y": (keeping.c,)})
    assert keeping.kept() == {}
    text = keeping.log_path.read_text("utf-8")
    assert text.count("systemd keeps at most 2 of 3 listeners") == 1
    assert "FileDescriptorStoreMax=3" in text


@pytest.mark.parametrize("room", ["", "0", "many", "-1", "\u0663"])
def test_a_unit_without_a_store(keeping: Keeping, room: str) -> None:
    store = keeping.store(room)
    assert not store.enabled
    assert not store.keep({"x": (keeping.a,)})
    assert keeping.kept() == {}


def test_a_manager_that_is_slow_gets_all_in_the_end(keeping: Keeping) -> None:
    while not keeping.notifier.pending:
        keeping.notifier.send("STATUS=busy")
    store = keeping.store("64")
    assert store.keep({f"x{number}": (keeping.a,) for number in range(30)})
    assert store.next_at == float("inf")
    kept: set[str] = set()
    while store.next_at < 0 or keeping.notifier.pending:
        keeping.manager.received()
        keeping.notifier.flush()
        store.turn()
    keeping.manager.received()
    kept.update(name for name, _ in keeping.manager.store)
    assert len(kept) == 1, "the stand-in keeps a socket once, as systemd does"


def test_a_listener_that_is_closed_while_its_message_waits(keeping: Keeping) -> None:
    """A reload has removed it; the messages after it are not lost for that."""
    while not keeping.notifier.pending:
        keeping.notifier.send("RELOADING=1")
    gone = socket.create_server(("127.0.0.1", 0))
    keeping.notifier.send("FDSTORE=1", "FDNAME=x", "FDPOLL=0", fds=(gone.fileno(),))
    gone.close()
    keeping.notifier.send("READY=1")
    heard: list[str] = []
    while keeping.notifier.pending:
        heard += keeping.manager.received()
        keeping.notifier.flush()
    heard += keeping.manager.received()
    assert heard[-1] == "READY=1"
    assert [name for name, _ in keeping.manager.store] == ["x"]
    assert keeping.log_path.read_text("utf-8") == ""


def test_a_socket_unit_may_be_called_gwctl(keeping: Keeping) -> None:
    assert not "gwctl.socket".startswith(STORED)
    assert name_of("127.0.0.1:1").startswith(STORED)


def test_what_was_to_be_closed_can_be_connected_to_again(keeping: Keeping) -> None:
    """The filter that lets nobody in belongs to the socket, whoever holds it."""
    reject_new_connections(keeping.socks[0])
    stored = Stored({name_of("127.0.0.1:0"): [os.dup(keeping.a)]})
    (taken,) = stored.take("127.0.0.1:0")
    with socket.create_connection(taken.getsockname(), timeout=30):
        pass
    stored.settle([])
    taken.detach()


def test_names_are_what_systemd_allows() -> None:
    assert name_of("127.0.0.1:8000") == "gwctl;127.0.0.1%3A8000"
    assert name_of("[::1]:80") == "gwctl;[%3A%3A1]%3A80"
    assert name_of("unix:/run/a b.sock", (26, 1042)) == "gwctl;unix%3A/run/a%20b.sock;26.1042"
    for address in ("unix:/" + "\u00fc" * 50, "unix:@\udcff\n:"):
        name = name_of(address, (1, 2))
        assert len(name) <= 255
        assert name.isascii()
        assert name.isprintable()
        assert ":" not in name


def test_a_socket_that_listens_no_more_is_not_taken(keeping: Keeping) -> None:
    keeping.socks[0].shutdown(socket.SHUT_RDWR)
    dead, alive = os.dup(keeping.a), os.dup(keeping.b)
    stored = Stored({name_of("127.0.0.1:0"): [dead, alive, os.dup(keeping.b)]})
    (taken,) = stored.take("127.0.0.1:0")
    assert taken.getsockname()[1] == keeping.port(1)
    stored.settle([taken.fileno()])
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(dead)
    taken.close()
