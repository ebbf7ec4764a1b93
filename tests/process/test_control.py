"""The control server against clients that are good, slow, rude, gone or somebody else."""

from __future__ import annotations

import json
import os
import resource
import select
import socket
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from gwctl.control.paths import InstanceError
from gwctl.control.protocol import REQUEST_BYTES_MAX, Reload, Scale, Stop
from gwctl.supervisor.control import client_slots, connection, server
from gwctl.supervisor.core.actions import Progress
from tests.support import child
from tests.support.control import Master, Peer, request
from tests.support.wait import DEADLINE_S, until


@pytest.fixture
def peer(master: Master) -> Iterator[Peer]:
    peer = Peer(master)
    yield peer
    peer.sock.close()


def test_permissions(master: Master) -> None:
    assert stat.S_IMODE(master.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(master.path.parent.stat().st_mode) == 0o700


def test_status_is_answered_at_once(peer: Peer) -> None:
    peer.send(request("status"))
    assert peer.line() == {"jsonrpc": "2.0", "id": 1, "result": {"name": "shop"}}
    assert peer.master.server.waiting == 0


def test_a_reload_with_progress_and_its_end(master: Master, peer: Peer) -> None:
    peer.send(request("reload", "r1"))
    master.until_asked(1)
    number, method = master.asked[0]
    assert (method, number > 0) == (Reload(), True)
    master.server.progress(Progress(number, "web", "boot", "ok", "0.44 s"))
    master.server.answer(number, ok=True, text="adopted generation 2", result={"generation": 2})
    news = peer.line()
    assert news["method"] == "progress"
    assert news["params"] == {"id": "r1", "pool": "web", "phase": "boot", "outcome": "ok", "detail": "0.44 s"}
    assert peer.line() == {
        "jsonrpc": "2.0",
        "id": "r1",
        "result": {"text": "adopted generation 2", "generation": 2},
    }


def test_a_refused_reload_carries_the_traceback(master: Master, peer: Peer) -> None:
    peer.send(request("reload"))
    master.until_asked(1)
    master.server.answer(master.asked[0][0], ok=False, text="not adopted", result={"traceback": "File ..."})
    error = peer.line()["error"]
    assert error == {"code": 1, "message": "not adopted", "data": {"traceback": "File ..."}}


def test_parameters_arrive(master: Master, peer: Peer) -> None:
    peer.send(request("scale", 1, pool="web", delta=-1), request("stop", 2, quick=True))
    master.until_asked(2)
    assert [method for _, method in master.asked] == [Scale("web", delta=-1), Stop(quick=True)]


def test_a_request_can_be_refused_at_once(peer: Peer) -> None:
    peer.send(request("scale", pool="nope", size=2))
    assert peer.line()["error"]["message"] == "no pool 'nope'"
    assert peer.master.server.waiting == 0


@pytest.mark.parametrize(
    ("line", "code", "text"),
    [
        (b"nonsense", -32700, "malformed"),
        (b"[]", -32600, "Expected"),
        (b'{"id": 1, "method": "status\xff"}', -32700, "utf-8"),
        (b'{"id": 1, "method": "events", "params": {"kinds": ["\xff"]}}', -32700, "utf-8"),
        (b'{"method": "status"}', -32600, "id"),
        (
            b'{"id": 1, "method": "format"}',
            -32601,
            "no method 'format': there are status, metrics, health, reload, upgrade, rollback, restart, stop, scale",
        ),
        (b'{"id": 1, "method": "scale", "params": {"pool": 5}}', -32602, "pool"),
    ],
)
def test_malformed_requests_are_answered_and_the_connection_lives(
    peer: Peer, line: bytes, code: int, text: str
) -> None:
    peer.sock.sendall(line + b"\n")
    error = peer.line()["error"]
    assert error["code"] == code
    assert text.lower() in error["message"].lower()
    peer.send(request("status"))
    assert "result" in peer.line()


def test_a_line_without_end_closes(peer: Peer) -> None:
    def flood() -> bool:
        try:
            peer.sock.send(b"x" * 65536)
        except BlockingIOError:
            pass
        except (BrokenPipeError, ConnectionResetError):
            return True
        peer._pump()
        return peer.closed

    until(flood, "the connection to be closed")
    assert f"a request may have {REQUEST_BYTES_MAX} bytes".encode() in peer.received
    assert peer.master.server._clients == {}


def test_a_client_that_does_not_read_is_not_read_from(master: Master, peer: Peer) -> None:
    """Memory for its answers is bounded; once it reads, all answers come, in order."""
    master.status = {"filler": "x" * 100_000}
    count = 200
    sent = 0
    for _ in range(50):  # far more turns than the socket buffers hold answers for
        while sent < count:
            try:
                peer.sock.send(json.dumps(request("status", sent)).encode() + b"\n")
            except BlockingIOError:
                break
            sent += 1
        master.turn()
    (client,) = master.server._clients.values()
    assert len(client.output) <= connection.OUTPUT_PAUSE_BYTES + 2 * 100_000
    assert len(master.asked) < count
    assert [peer.line()["id"] for _ in range(sent)] == list(range(sent))


def test_descriptors_for_a_client_that_does_not_take_them_are_bounded(master: Master, peer: Peer) -> None:
    """No more than go by one message; and it is not read from until it has them."""
    peer.send(*(request("scale", number, pool="web", size=number) for number in range(1, 4)))
    master.until_asked(3)
    pairs = [socket.socketpair() for _ in range(connection.PASSED_MAX)]
    surplus = pairs[0][0].dup()
    master.server.answer(master.asked[0][0], True, "x" * 400_000, {})
    master.server.answer(master.asked[1][0], True, "", {}, *(ours for ours, _ in pairs[1:]))
    master.server.answer(master.asked[2][0], True, "", {}, pairs[0][0], surplus)
    assert pairs[0][1].recv(1) == b"", "it is closed"
    assert surplus.fileno() < 0
    peer.send(request("scale", 4, pool="web", size=4))
    for _ in range(20):
        master.turn()
    assert len(master.asked) == 3
    assert [peer.line()["id"] for _ in range(2)] == [1, 2]
    assert "does not take what was passed" in peer.line()["error"]["message"]
    master.until_asked(4)
    for _, theirs in pairs:
        theirs.close()


def test_progress_for_a_client_that_does_not_read_ends_it(master: Master, peer: Peer) -> None:
    peer.send(request("reload"))
    master.until_asked(1)
    number = master.asked[0][0]
    for _ in range(10 * server.OUTPUT_BYTES_MAX // 100_000):
        master.server.progress(Progress(number, "web", "boot", "", "x" * 100_000))
    assert master.server._clients == {}
    assert master.server.waiting == 0


def test_a_client_that_goes_away_is_forgotten(master: Master, peer: Peer) -> None:
    peer.send(request("reload"))
    master.until_asked(1)
    peer.sock.close()

    def forgotten() -> bool:
        master.turn()
        return master.server.waiting == 0

    until(forgotten, "the request to be forgotten")
    number = master.asked[0][0]
    master.server.progress(Progress(number, "web", "boot", "ok"))
    master.server.answer(number, ok=True, text="adopted", result={})
    assert master.server._clients == {}


def test_a_client_that_only_ends_its_sending_side_is_answered(master: Master, peer: Peer) -> None:
    """As ``echo ... | nc -N -U`` does; meanwhile the loop does not turn hot over it."""
    peer.send(request("reload"))
    peer.sock.shutdown(socket.SHUT_WR)
    master.until_asked(1)

    def quiet() -> bool:
        return not any(
            key.fileobj != master.server._listening.sock for key in master.selector.get_map().values()
        )

    until(lambda: (master.turn(), quiet())[1], "the connection to be watched no more")
    master.server.answer(master.asked[0][0], ok=True, text="adopted", result={})
    assert peer.line()["result"] == {"text": "adopted"}
    peer.until_closed()


def a_room(master: Master, count: int = server.CLIENTS_MAX, **more: object) -> list[Peer]:
    """So many silent clients, a moment after each other."""
    peers = []
    while len(peers) < count:
        peers.append(Peer(master))
        master.now += 0.01
        master.turn()
    return peers


def close(*peers: Peer) -> None:
    for peer in peers:
        peer.sock.close()


@pytest.mark.parametrize("sent", [b"", b'{"jsonrpc": "2.0", "id": 1, "met'], ids=["silent", "half a line"])
def test_whoever_comes_when_all_places_are_taken_gets_one(master: Master, sent: bytes) -> None:
    """Of those that have said nothing, the one that has said nothing for longest goes."""
    peers = a_room(master)
    for peer in peers:
        peer.sock.send(sent)
    lates = []
    for number in range(3):
        lates.append(Peer(master))
        lates[-1].send(request("status"))
        assert lates[-1].line()["result"] == {"name": "shop"}
        error = peers[number].line()["error"]
        assert error["message"] == f"{server.CLIENTS_MAX} control clients are connected, and another one came"
        peers[number].until_closed()
    assert not peers[3].closed
    close(*peers, *lates)


def test_who_waits_for_an_answer_keeps_its_place(master: Master) -> None:
    """It is the oldest; and one that asks again and again is not the one that has been silent longest."""
    waiting, asking = Peer(master), Peer(master)
    waiting.send(request("reload"))
    master.until_asked(1)
    peers = a_room(master, server.CLIENTS_MAX - 2)
    asking.send(request("status"))
    assert "result" in asking.line()
    lates = a_room(master, server.CLIENTS_MAX - 3)
    asking.send(request("status", 2))
    assert asking.line()["id"] == 2
    master.server.answer(master.asked[0][0], ok=True, text="adopted", result={})
    assert waiting.line()["result"] == {"text": "adopted"}
    close(waiting, asking, *peers, *lates)


def test_when_all_wait_the_one_that_has_waited_longest_loses_its_answer_and_nothing_else(
    master: Master,
) -> None:
    peers = a_room(master)
    for peer in peers:
        peer.send(request("reload"))
        master.now += 0.01
        master.turn()
    master.until_asked(len(peers))
    late = Peer(master)
    late.send(request("stop"))
    master.until_asked(len(peers) + 1)
    peers[0].line()
    peers[0].until_closed()
    assert master.server.waiting == server.CLIENTS_MAX
    close(late, *peers)


def test_who_says_nothing_for_long_is_closed_and_told_why(master: Master) -> None:
    silent, half, deaf, waiting = (Peer(master) for _ in range(4))
    master.status = {"filler": "x" * 3_000_000}
    half.sock.send(b'{"jsonrpc"')
    deaf.send(request("status"))
    waiting.send(request("reload"))
    master.until_asked(2)
    master.now += client_slots.IDLE_S - 0.1
    asking = Peer(master)
    master.turn()
    assert len(master.server._clients) == 5
    assert master.server.next_at == pytest.approx(master.now + 0.1)
    master.now += 0.2
    for peer in (silent, half):
        assert peer.line()["error"]["message"] == "closed after 30 s without a request"
        peer.until_closed()
    assert len(master.server._clients) == 2, "with those that wait or have come later"
    close(silent, half, deaf, waiting, asking)


def test_whoever_sends_many_requests_is_served_one_at_a_time(master: Master) -> None:
    """Between two of a client that sends without end, others have theirs."""
    greedy, other = Peer(master), Peer(master)
    greedy.send(*(request("status", number) for number in range(500)))
    other.send(request("scale", 1, pool="web", size=2))
    master.until_asked(3)
    assert any(isinstance(method, Scale) for _, method in master.asked[:4]), master.asked
    assert master.server.next_at <= master.now, "the loop does not sleep meanwhile"
    assert [greedy.line()["id"] for _ in range(500)] == list(range(500))
    close(greedy, other)


def test_refusals_of_others_are_told_now_and_then(master: Master, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.peer, "credentials", lambda _sock: (4711, os.geteuid() + 1, 0))
    for _ in range(20):
        peer = Peer(master)
        peer.until_closed()
        close(peer)
    assert master.log_path.read_text().count("refused pid 4711") == 1
    master.now += 10
    peer = Peer(master)
    peer.until_closed()
    assert "(20 of such since the last line about them)" in master.log_path.read_text()
    close(peer)


def test_too_many_requests(master: Master, peer: Peer) -> None:
    peer.send(*(request("reload", i) for i in range(server.REQUESTS_MAX + 1)))
    assert peer.line()["error"]["message"] == "8 requests wait already"
    assert master.server.waiting == server.REQUESTS_MAX


def test_without_descriptors_clients_are_turned_away(master: Master) -> None:
    """The listener must not stay readable for ever; with descriptors again it works again."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    peer = Peer(master)
    peer_late = socket.socket(socket.AF_UNIX)
    highest = os.dup(0)
    os.close(highest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest, hard))
    try:
        peer.until_closed()
        assert master.selector.select(0) == []
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        peer.sock.close()
        peer_late.close()
    again = Peer(master)
    again.send(request("status"))
    assert "result" in again.line()
    again.sock.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_another_user_is_refused(public_folder: Path) -> None:
    """Even if the file modes are wide open: the kernel says who it is."""
    master = Master(public_folder)
    assert master.server.open(master.selector)
    master.path.parent.chmod(0o755)
    master.path.chmod(0o666)

    def ask() -> str:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(DEADLINE_S)
            sock.connect(str(master.path))
            with suppress(BrokenPipeError):  # refused already
                sock.sendall(json.dumps(request("stop")).encode() + b"\n")
            return sock.recv(65536).decode()

    pid, read = child.start(ask, uid=child.NOBODY)
    answered = select.poll()
    answered.register(read, select.POLLIN)
    until(lambda: (master.turn(), answered.poll(0))[1], "the other user's answer")
    answer = json.loads(child.result(pid, read))
    assert answer["error"]["code"] == 3
    assert "uid 65534 may not control this master" in answer["error"]["message"]
    assert master.asked == []
    assert "refused pid" in master.log_path.read_text()
    master.close()


# ---- the socket's file


def test_a_live_master_with_the_same_name(master: Master, tmp_path: Path) -> None:
    other = Master(tmp_path)
    with pytest.raises(InstanceError, match=rf"another master has this name.*in use by pid {os.getpid()} "):
        other.server.open(other.selector)
    assert master.path.exists()
    other.close()
    assert master.path.exists()


def test_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    dead = Master(tmp_path)
    dead.server.open(dead.selector)
    dead.server.close_in_child()  # as the kernel does it when the master is killed
    dead.close()
    assert dead.path.exists()
    fresh = Master(tmp_path)
    assert fresh.server.open(fresh.selector)
    fresh.close()
    assert not fresh.path.exists()


def test_a_master_that_cannot_have_one_says_so_once_and_goes_on(tmp_path: Path) -> None:
    master = Master(tmp_path)
    master.server.path = tmp_path / "no" / "such" / "shop.sock"
    assert not master.server.open(master.selector)
    assert master.log_path.read_text().count("no control socket") == 1
    master.server.progress(Progress(1, "web", "boot", "ok"))
    master.server.answer(1, ok=True, text="", result={})
    master.close()


def test_a_child_closes_its_copies_without_touching_the_master(master: Master, peer: Peer) -> None:
    peer.send(request("reload"))
    master.until_asked(1)

    def close() -> str:
        master.server.close_in_child()
        return "closed"

    assert child.result(*child.start(close)) == "closed"
    assert master.path.exists()
    master.server.answer(master.asked[0][0], ok=True, text="adopted", result={})
    assert peer.line()["result"]["text"] == "adopted"
