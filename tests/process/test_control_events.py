"""Events over the control socket: who follows, who is slow, who goes, and who asks for what does not exist."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from gwctl.records.master import InvariantBroken
from gwctl.supervisor.control import connection, server
from gwctl.supervisor.history import KEPT_MAX
from tests.support.control import Master, Peer, request
from tests.support.wait import DEADLINE_S, until


@pytest.fixture
def peer(master: Master) -> Iterator[Peer]:
    peer = Peer(master)
    yield peer
    peer.sock.close()


def tell(master: Master, *rules: str) -> None:
    for rule in rules:
        master.history.add(InvariantBroken(rule=rule))


def rule_of(line: dict) -> str:
    assert line["method"] == "event", line
    return line["params"]["event"]["figures"]["rule"]


def test_what_was_and_the_answer(master: Master, peer: Peer) -> None:
    tell(master, "1", "2")
    peer.send(request("events", "e"))
    assert [rule_of(peer.line()) for _ in range(2)] == ["1", "2"]
    assert peer.line() == {"jsonrpc": "2.0", "id": "e", "result": {"text": "", "events": 2, "lost": 0}}
    assert master.server.waiting == 0
    peer.send(request("status"))
    assert peer.line()["result"] == {"name": "shop"}


def test_who_follows_hears_of_each_in_the_next_turn(master: Master, peer: Peer) -> None:
    tell(master, "1")
    peer.send(request("events", follow=True))
    assert rule_of(peer.line()) == "1"
    assert master.server.next_at > master.now, "the loop does not turn for nothing"
    tell(master, "2")
    assert master.server.next_at <= master.now
    assert rule_of(peer.line()) == "2"
    master.now += 3600
    master.turn()
    tell(master, "an hour later")
    assert rule_of(peer.line()) == "an hour later"


def test_several_at_once_on_one_connection(master: Master, peer: Peer) -> None:
    peer.send(request("events", "a", follow=True), request("events", "b", follow=True, level="error"))
    master.until_asked(2)
    peer.send(request("status", "s"))
    assert peer.line()["id"] == "s"
    tell(master, "1")
    assert {peer.line()["params"]["id"] for _ in range(2)} == {"a", "b"}


def test_a_request_for_what_does_not_exist_is_refused(peer: Peer) -> None:
    peer.send(request("events", kinds=["worker_redy"]))
    assert "did you mean worker_ready" in peer.line()["error"]["message"]
    peer.send(request("events", since_s=-1))
    assert peer.line()["error"]["code"] == -32602
    assert peer.master.server.waiting == 0


def test_who_does_not_read_costs_no_more_than_others_and_hears_what_was_lost(
    master: Master, peer: Peer
) -> None:
    peer.send(request("events", follow=True))
    master.until_asked(1)
    told = 0
    (client,) = master.server._clients.values()
    while told < 100_000 and not client.paused:
        tell(master, "x" * 500)
        told += 1
        master.turn()
    assert client.paused
    for _ in range(2 * KEPT_MAX):
        tell(master, "y")
        master.turn()
        assert len(client.output) < connection.OUTPUT_PAUSE_BYTES + 2000
    told += 2 * KEPT_MAX
    assert master.server.next_at > master.now, "nor does the loop turn hot over it"
    lines = []

    def all_there() -> bool:
        lines.append(peer.line())
        return lines[-1]["method"] == "event" and lines[-1]["params"]["event"]["number"] == told

    until(all_there, "the last event")
    (lost,) = [each["params"]["count"] for each in lines if each["method"] == "lost"]
    assert len(lines) - 1 + lost == told
    assert lost >= KEPT_MAX - 100


def test_who_goes_is_forgotten(master: Master, peer: Peer) -> None:
    peer.send(request("events", follow=True))
    master.until_asked(1)
    peer.sock.close()

    def forgotten() -> bool:
        master.turn()
        return not master.server._clients

    until(forgotten, "the client to be forgotten")
    tell(master, "1")
    master.turn()
    assert master.server.waiting == 0


def test_who_goes_after_it_has_ended_its_sending_side_is_forgotten(master: Master, peer: Peer) -> None:
    """Its input is not watched any more, and with its filter nothing is ever written."""
    peer.send(request("events", follow=True, kinds=["master_stopped"]))
    master.until_asked(1)
    peer.sock.shutdown(socket.SHUT_WR)
    for _ in range(3):
        tell(master, "1")
        master.turn()
    assert master.server._clients
    peer.sock.close()
    tell(master, "2")
    master.turn()
    assert master.server._clients == {}


def test_an_output_that_is_just_full_keeps_the_loop_quiet(master: Master, peer: Peer) -> None:
    peer.send(request("events", follow=True))
    master.until_asked(1)
    (client,) = master.server._clients.values()
    fill(client.sock)
    client.output += b" " * connection.OUTPUT_PAUSE_BYTES
    tell(master, "1")
    assert master.server.next_at > master.now


def fill(sock: socket.socket) -> None:
    """Write to it until it takes no more."""
    with suppress(BlockingIOError):
        while sock.send(b" " * 65536):
            pass


def test_the_last_one_is_sent_at_the_end_with_an_answer(
    master: Master, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_LAST_WORDS_S", DEADLINE_S)  # the peer reads as soon as the machine lets it
    peer.send(
        request("events", "e", follow=True), request("events", "f", follow=True, level="error", kinds=["*"])
    )
    master.until_asked(2)
    master.server.stop_listening()
    assert not master.path.exists()
    for _ in range(400):
        tell(master, "x" * 1000)
    tell(master, "the end")
    with ThreadPoolExecutor() as threads:
        closing = threads.submit(master.server.close)
        lines = []
        while len(lines) < 2 * 402:
            lines.append(peer.line(turn=False))
        closing.result()
    ends = [each for each in lines if "result" in each]
    assert {each["id"]: each["result"]["events"] for each in ends} == {"e": 401, "f": 401}
    assert [rule_of(each) for each in lines if "method" in each].count("the end") == 2


def test_who_does_not_read_holds_the_end_for_a_moment_only(master: Master, peer: Peer) -> None:
    peer.send(request("events", "e", follow=True))
    master.until_asked(1)
    (client,) = master.server._clients.values()
    fill(client.sock)
    tell(master, "the end")
    master.server.close()
    assert master.server._clients == {}
