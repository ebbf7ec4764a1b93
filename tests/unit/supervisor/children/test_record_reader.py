"""What the master believes of a record, whatever a worker writes into it."""

from __future__ import annotations

import math
import os
import random
from collections.abc import Callable

import pytest

from gwctl.ipc import scoreboard
from gwctl.ipc.scoreboard import Record
from gwctl.supervisor.children.record_reader import Reader

PID = 4711
SPAWNED_AT = 1000.0
NOW = 1060.0


def a_record() -> Record:
    """Of a worker that is well, and at a request."""
    record = Record(0, memoryview(bytearray(scoreboard.RECORD_BYTES)))
    record.words[scoreboard.PID] = PID
    record.words[scoreboard.POOL] = 1
    record.words[scoreboard.REQUESTS] = 100
    record.words[scoreboard.BYTES_OUT] = 10_000
    record.words[scoreboard.DROPPED] = 3
    record.words[scoreboard.CONNECTIONS] = 12
    record.words[scoreboard.ACTIVE] = 1
    record.floats[scoreboard.STARTED_AT] = SPAWNED_AT + 0.1
    record.floats[scoreboard.HEARTBEAT_AT] = NOW - 0.2
    scoreboard.note_request(record.request, 0, NOW - 5.0, b"GET /cart HTTP/1.1\r\n")
    return record


def word(index: int, value: int) -> Callable[[Record], None]:
    return lambda record: record.words.__setitem__(index, value)


def time(index: int, value: float) -> Callable[[Record], None]:
    return lambda record: record.floats.__setitem__(index, value)


TIMES = (scoreboard.HEARTBEAT_AT, scoreboard.BUSY_SINCE, scoreboard.EXTENDED_REQUEST, scoreboard.STARTED_AT)
COUNTERS = (
    scoreboard.REQUESTS,
    scoreboard.ERRORS,
    scoreboard.BYTES_OUT,
    scoreboard.BYTES_IN,
    scoreboard.TLS_FAILED,
    scoreboard.ACCEPTED,
    scoreboard.REFUSED,
    scoreboard.DROPPED,
    scoreboard.LATENCY,
    scoreboard.LATENCY + scoreboard.LATENCY_BUCKETS - 1,
    scoreboard.DURATIONS,
    scoreboard.DURATIONS + scoreboard.DURATION_PLACES - 1,
)
LIES = [
    *(word(scoreboard.PID, pid) for pid in (0, 1, PID + 1, (1 << 64) - 1)),
    *(
        time(index, value)
        for index in TIMES
        for value in (math.nan, math.inf, -math.inf, -1.0, 1e-300, SPAWNED_AT - 60, NOW + 60, 1e300)
    ),
    *(word(index, value) for index in COUNTERS for value in (1 << 63, (1 << 64) - 1)),
    word(scoreboard.REQUESTS, 99),
    word(scoreboard.DROPPED, 2),
    word(scoreboard.BYTES_OUT, 9_999),
    *(
        word(index, (1 << 64) - 1)
        for index in (scoreboard.CONNECTIONS, scoreboard.ACTIVE, scoreboard.MEMORY_BYTES)
    ),
    time(scoreboard.EXTENDED_UNTIL, math.nan),
]


@pytest.mark.parametrize("lie", LIES)
def test_what_cannot_be_so_is_not_believed(lie: Callable[[Record], None]) -> None:
    """Counters stay as they were believed; of times nothing is left that a kill could rest on."""
    reader, record = Reader(SPAWNED_AT), a_record()
    assert reader.read(record, PID, NOW).request_line == "GET /cart"
    assert not reader.doubt
    lie(record)
    facts = reader.read(record, PID, NOW)
    assert reader.doubt
    assert facts.words[scoreboard.REQUESTS] == 100
    assert facts.words[scoreboard.CONNECTIONS] == 12
    assert facts.words[scoreboard.ACTIVE] == 0
    assert [facts.floats[index] for index in (scoreboard.BUSY_SINCE, scoreboard.HEARTBEAT_AT)] == [0.0, 0.0]


def test_a_record_that_is_true_again_is_believed_again() -> None:
    reader, record = Reader(SPAWNED_AT), a_record()
    reader.read(record, PID, NOW)
    record.floats[scoreboard.HEARTBEAT_AT] = math.inf
    assert reader.read(record, PID, NOW).floats[scoreboard.HEARTBEAT_AT] == 0.0
    record.floats[scoreboard.HEARTBEAT_AT] = NOW
    record.words[scoreboard.REQUESTS] = 101
    facts = reader.read(record, PID, NOW)
    assert (facts.floats[scoreboard.HEARTBEAT_AT], facts.words[scoreboard.REQUESTS]) == (NOW, 101)


@pytest.mark.parametrize("pid", [0, PID])
def test_before_a_worker_has_named_itself_nothing_is_believed(pid: int) -> None:
    """Also what a sibling writes meanwhile: a request that it is said to be at for a minute."""
    reader, record = Reader(SPAWNED_AT), a_record()
    record.words[scoreboard.PID] = 0 if pid else PID
    facts = reader.read(record, pid, NOW)
    assert set(facts.words) == {0}
    assert not reader.doubt


@pytest.mark.parametrize("until", [0.0, NOW + 1e6, math.inf, -5.0])
def test_a_request_may_be_given_any_time(until: float) -> None:
    reader, record = Reader(SPAWNED_AT), a_record()
    record.floats[scoreboard.EXTENDED_UNTIL] = until
    assert reader.read(record, PID, NOW).floats[scoreboard.EXTENDED_UNTIL] == until
    assert not reader.doubt


def test_the_word_that_is_shared_is_a_time_of_the_past_where_workers_serve_many() -> None:
    reader, record = Reader(SPAWNED_AT), a_record()
    record.floats[scoreboard.LONGEST_SINCE] = NOW + 60
    reader.read(record, PID, NOW, serves_many=True)
    assert reader.doubt == "it tells of a request in 60 s from now"


def test_no_random_bytes_are_believed_or_break_the_reader() -> None:
    dice = random.Random(7)
    for _ in range(300):
        reader = Reader(SPAWNED_AT)
        record = Record(0, memoryview(bytearray(dice.randbytes(scoreboard.RECORD_BYTES))))
        record.words[scoreboard.PID] = PID
        facts = reader.read(record, PID, NOW)
        assert reader.doubt, bytes(record.words)
        assert set(facts.words) == {0}
        assert facts.request_line == ""
    assert os.getpid() != PID
