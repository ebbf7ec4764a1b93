"""Ids of slow requests on the scoreboard: of each doubling the last, and nothing that is not one."""

from __future__ import annotations

import math

import pytest

from gwctl.ipc.exemplars import EXEMPLAR_S, PLACES, Exemplar, place_of, read, write
from gwctl.ipc.scoreboard import DURATION_PLACES, DURATIONS, RECORD_BYTES, Record

NOW = 1.8e9


@pytest.fixture
def record() -> Record:
    return Record(0, memoryview(bytearray(RECORD_BYTES)))


def test_the_last_of_each_doubling(record: Record) -> None:
    for number, seconds in enumerate((0.11, 0.2, 0.3, 3.0, 4.0, 500.0)):
        write(record, Exemplar(seconds, NOW - 10 + number, f"id-{number}"))
    assert read(record, NOW) == [
        Exemplar(0.2, NOW - 9, "id-1"),
        Exemplar(0.3, NOW - 8, "id-2"),
        Exemplar(3.0, NOW - 7, "id-3"),
        Exemplar(500.0, NOW - 5, "id-5"),
    ]


def test_places() -> None:
    assert [place_of(EXEMPLAR_S * 2**power) for power in range(8)] == [0, 1, 2, 3, 4, 5, 5, 5]
    assert place_of(EXEMPLAR_S * 1.999) == 0
    assert place_of(1e9) == PLACES - 1


@pytest.mark.parametrize("request_id", ["", "a" * 41, "a b", 'x"} 1', "é", "\0"])
def test_what_is_no_id_is_not_noted(record: Record, request_id: str) -> None:
    write(record, Exemplar(1.0, NOW, request_id))
    assert read(record, NOW) == []


def test_a_long_one(record: Record) -> None:
    write(record, Exemplar(1.0, NOW, "a" * 40))
    write(record, Exemplar(1.0, NOW, "6f1c2f0e-53b4-4d0e-9a4a-0d7c2b6f8a11"))
    assert [each.request_id for each in read(record, NOW)] == ["6f1c2f0e-53b4-4d0e-9a4a-0d7c2b6f8a11"]


@pytest.mark.parametrize("seconds", [math.nan, math.inf, -1.0, 0.0, 0.05, 0.9, 1e300])
def test_a_duration_that_cannot_be(record: Record, seconds: float) -> None:
    """A worker writes what it likes."""
    write(record, Exemplar(0.11, NOW, "id"))
    record.floats[DURATIONS + DURATION_PLACES] = seconds
    assert read(record, NOW) == []


@pytest.mark.parametrize("at", [math.nan, math.inf, -1.0, 0.0, NOW + 1])
def test_a_time_that_cannot_be(record: Record, at: float) -> None:
    write(record, Exemplar(0.11, at, "id"))
    assert read(record, NOW) == []


def test_rubbish_all_over(record: Record) -> None:
    for word in range(DURATIONS + DURATION_PLACES, RECORD_BYTES // 8):
        record.words[word] = (1 << 64) - 1
    assert read(record, NOW) == []
