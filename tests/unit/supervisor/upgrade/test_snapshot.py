"""What a master hands over in an upgrade: nothing is forgotten, and what is written can be read."""

from __future__ import annotations

import ast
import inspect
import os
import textwrap
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from gwctl.config.model.settings import PoolSettings, Settings
from gwctl.errors import UpgradeError
from gwctl.ipc import scoreboard
from gwctl.ipc.channel import Channel
from gwctl.ipc.connection_queue import ConnectionQueue
from gwctl.ipc.scoreboard import Scoreboard
from gwctl.supervisor.children.child import Child, ChildSnapshot
from gwctl.supervisor.children.children import Children
from gwctl.supervisor.children.legacy_scoreboard import BoardSnapshot, OlderBoard
from gwctl.supervisor.children.outputs import Outputs
from gwctl.supervisor.children.scoreboards import is_ours
from gwctl.supervisor.control import server
from gwctl.supervisor.control.connection import Connection
from gwctl.supervisor.generations.access_logs import AccessLogs
from gwctl.supervisor.generations.connection_queues import ConnectionQueues
from gwctl.supervisor.generations.generations import Generations
from gwctl.supervisor.generations.known_settings import struct_from
from gwctl.supervisor.generations.plan import Plan
from gwctl.supervisor.listeners.bind import Held
from gwctl.supervisor.listeners.listener_set import ListenerSet
from gwctl.supervisor.service.announcer import Announcer
from gwctl.supervisor.upgrade.snapshot import State, read

CARRIED: dict[type, set[str]] = {
    Channel: {"_sock", "_partial", "_queue", "closed", "_write_closed"},
    ConnectionQueue: {"_sending", "_receiving"},
    ConnectionQueues: {"_open", "_numbers"},
    AccessLogs: {"_files"},
    Announcer: {"_phase", "_status"},
    Generations: {"listeners", "logs", "_plans", "_removed", "_begun", "adopted", "kept"},
    ListenerSet: {"_passed", "_current"},
    Children: {"boards", "_by_worker", "sampled_at", "totals", "older", "_slots", "outputs"},
    Outputs: {"_pipes"},
    server.ControlServer: {"path", "_listening", "_clients", "_waiting", "_last_request"},
    Connection: {"sock", "received", "output", "requests", "followers", "ended"},
}
LEFT_OUT: dict[type, set[str]] = {
    Channel: {
        "_fds",
        "_inode",
        "_takes_fds",
        "_taken",
        "_reading",
        "starved",
        "writing",
    },  # the master takes none; nothing is being written or read then
    Announcer: {"_notifier", "_watchdog_at", "_retry_at", "_extend_at", "_sound"},
    Generations: {"_load", "log_written_with"},  # found out anew
    ListenerSet: {"_care", "_tried", "_adjusted", "_store", "stored"},  # no reload is under way; kept anew
    Children: {
        *("_loop", "_recorder", "_report", "_jitter", "_close_in_child"),
        "_oom",  # it begins with what the kernel has counted by then
        "recent",  # a minute fills it again
        "_watching",  # of a selector, made anew
        "_doomed",  # of one turn
        *("_by_pid", "others", "_kept", "_templates"),  # no template owes an answer
        "groups",  # found again by what they are called
    },
    Outputs: {
        *("_selector", "_recorder", "_clock"),
        *("_ready", "_listen_at", "next_at"),  # of a selector, made anew
        *("_made", "_last_left"),  # no template owes an answer; of one turn
        *("_pools", "_told_at"),  # as of a pool that has printed nothing yet
    },
    server.ControlServer: {
        *("_recorder", "_handle", "_selector", "_spare", "_clock"),
        *("_refused", "_refusal_told_at"),
        "_allowed",  # of the settings, which are carried
    },
    Connection: {
        *("peer", "uid", "active_at", "stays"),  # asked again, and as of now; the admin process is to end
        "passed",  # who has not read its answer does not get them, and says so
    },
}


def attributes(kind: type) -> Iterator[str]:
    tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Store)
            and isinstance(node.value, ast.Name)
        ) and node.value.id == "self":
            yield node.attr


@pytest.mark.parametrize("kind", CARRIED, ids=lambda kind: kind.__name__)
def test_every_attribute_is_carried_or_left_out_on_purpose(kind: type) -> None:
    """A new attribute: have its owner's `snapshot` and `resume` carry it if it must survive an upgrade, and name it above."""
    assert set(attributes(kind)) == CARRIED[kind] | LEFT_OUT.get(kind, set())


def test_every_field_of_a_child_is_carried() -> None:
    fields = set(Child.__struct_fields__) - {
        *("inspected", "tell_out", "signals_out"),  # no inspection is under way
        "limits",
        "reader",
        "allowance",
        "shown",
    }  # made anew
    facts = set(ChildSnapshot.__struct_fields__)
    assert {("dump_fd" if name == "dump" else name) for name in fields} == facts - {"board"}


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (Plan, {"loaded", "policies", "capacity", "begun"}),
        (
            Held,
            {"wanted", "listeners", "unix", "taken", "shut_down", "from_store", "kept"},
        ),  # of the start; noticed again
    ],
)
def test_so_is_that_of_plans_and_listeners(kind: Any, fields: set[str]) -> None:
    assert set(kind.__struct_fields__) == fields


def test_what_is_handed_over_has_the_names_of_0_2_0() -> None:
    """A struct of a process, as that version wrote it."""
    names = {field.name: field.encode_name for field in msgspec.structs.fields(ChildSnapshot)}
    assert {name: wire for name, wire in names.items() if name != wire} == {"incident": "inquest"}


def test_settings_of_another_version() -> None:
    """A setting that is no more is left out, one that is new has its default; nonsense is refused."""
    facts = msgspec.to_builtins(Settings(pool={"web": PoolSettings(app="a:b", env={"KEY": "x"})}))
    facts["pool"]["web"]["gone"] = 1
    facts["pool"]["web"]["timeouts"]["gone"] = 1
    del facts["pool"]["web"]["backlog"]
    made = struct_from(Settings, facts)
    assert made.pool["web"] == PoolSettings(app="a:b", env={"KEY": "x"})
    facts["pool"]["web"]["threads"] = "many"
    with pytest.raises(UpgradeError, match="threads"):
        struct_from(Settings, facts)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"format": 1}'])
def test_a_state_that_is_none(data: bytes) -> None:
    fd = os.memfd_create("test")
    try:
        os.write(fd, data)
        with pytest.raises(UpgradeError, match="not understood"):
            read(fd)
    finally:
        os.close(fd)


def test_the_fields_of_the_scoreboard_are_named() -> None:
    """By which another version finds them: all upper-case numbers of the module but those of no place."""
    numbers = {name for name, value in vars(scoreboard).items() if name.isupper() and isinstance(value, int)}
    private = {name for name in numbers if name.startswith("_")}
    second = {"LONGEST_SINCE"}  # the word of EXTENDED_UNTIL
    assert set(scoreboard.FIELDS) == numbers - private - second - {"LAYOUT", "FREE", "REQUEST_BYTES_MAX"}
    assert State.__struct_fields__


def test_a_board_of_another_layout_is_read_by_its_names() -> None:
    """As if the fields that this version has at one place were at another there, and one were missing."""
    board = Scoreboard(4)
    record = board.allocate(1)
    assert record is not None
    record.words[scoreboard.BYTES_OUT] = 41
    record.words[scoreboard.LATENCY + 3] = 7
    record.words[scoreboard.ANSWERS + 5] = 8
    record.words[scoreboard.DURATIONS + 9] = 7
    record.floats[scoreboard.SECONDS] = 1.5
    scoreboard.note_request(record.request, 0, 5.0, b"GET /x HTTP/1.1\r\n")
    fields = {**scoreboard.FIELDS, "REQUESTS": scoreboard.BYTES_OUT}
    del fields["REFUSED"]
    older = OlderBoard(BoardSnapshot(board.fd, 4, scoreboard.LAYOUT - 1, fields)).record(record.index).copy()
    assert older.words[scoreboard.REQUESTS] == 41
    assert older.words[scoreboard.REFUSED] == 0
    assert older.floats[scoreboard.BUSY_SINCE] == 5.0
    assert older.request_line == "GET /x"
    assert older.latency() == record.latency()
    assert older.answers() == record.answers()
    assert older.durations() == record.durations()
    assert older.floats[scoreboard.SECONDS] == 1.5
    board.close_descriptor()


def test_a_board_of_before_requests_were_counted_by_kind() -> None:
    board = Scoreboard(4)
    record = board.allocate(1)
    assert record is not None
    record.words[scoreboard.REQUESTS] = 3
    record.words[scoreboard.ANSWERS] = 3
    new = {"ANSWERS", "ANSWER_WORDS", "SECONDS", "WAITED_S", "WEBSOCKETS", "CPU_S", "LAG_S"}
    new |= {"COLLECTIONS", "COLLECTED_S", "COLLECTED_MAX_S", "DURATIONS", "DURATION_PLACES"}
    fields = {name: word for name, word in scoreboard.FIELDS.items() if name not in new}
    older = OlderBoard(BoardSnapshot(board.fd, 4, 3, fields)).record(record.index).copy()
    assert older.words[scoreboard.REQUESTS] == 3
    assert not any(older.answers())
    board.close_descriptor()


def facts_of_board(fd: int, pool: str) -> BoardSnapshot:
    return BoardSnapshot(fd, 4, scoreboard.LAYOUT, dict(scoreboard.FIELDS), pool)


def test_what_a_worker_cuts_off_from_a_board_that_is_not_sealed_is_read_as_nothing() -> None:
    """A board of before boards were sealed: mapped, it would end the reader by SIGBUS."""
    fd = os.memfd_create("older")
    try:
        os.ftruncate(fd, 4 * scoreboard.RECORD_BYTES)
        os.pwrite(fd, (7).to_bytes(8, "little"), scoreboard.RECORD_BYTES + 8 * scoreboard.REQUESTS)
        record = OlderBoard(facts_of_board(fd, "")).record(1)
        assert record.copy().words[scoreboard.REQUESTS] == 7
        for size in (scoreboard.RECORD_BYTES + 3 * 8 + 1, 5, 0):
            os.ftruncate(fd, size)
            assert set(record.copy().words) == {0}
    finally:
        os.close(fd)


def test_only_a_sealed_board_of_one_pool_is_gone_on_with() -> None:
    board, unsealed = Scoreboard(4), os.memfd_create("older")
    try:
        assert is_ours(scoreboard.LAYOUT, scoreboard.FIELDS, "web", board.fd)
        assert not is_ours(scoreboard.LAYOUT, scoreboard.FIELDS, "", board.fd), "one for all pools"
        assert not is_ours(scoreboard.LAYOUT, scoreboard.FIELDS, "web", unsealed)
        assert not is_ours(scoreboard.LAYOUT - 1, scoreboard.FIELDS, "web", board.fd)
        assert not is_ours(scoreboard.LAYOUT, {**scoreboard.FIELDS, "PID": 9}, "web", board.fd)
    finally:
        board.close()
        os.close(unsealed)
