"""A streamed body read in any way gives what a file would, however it arrives."""

from __future__ import annotations

import io
import itertools
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gwctl.config.model.settings import Limits
from gwctl.workers.exchange.body_budget import BodyBudget
from gwctl.workers.exchange.body_buffer import BodyTooLarge
from gwctl.workers.wsgi.body_stream import WAITING_BYTES_MAX, BodyError, BodyStream, FedStream, PumpedStream


class Service:
    """What a stream needs of one."""

    def __init__(self) -> None:
        self.body_budget = BodyBudget(Limits())
        self.calls = 0
        loop = SimpleNamespace(call_soon_threadsafe=self._call)
        self.context = SimpleNamespace(limits=Limits(), loop=loop)

    def _call(self, _function: Any) -> None:
        self.calls += 1


SERVICE: Any = Service()


class Exchange:
    """What a stream needs of one. Its blocks arrive one at a time, when they are waited for."""

    expecting = False
    since = 0.0

    def __init__(self) -> None:
        self.adjusted = 0

    def adjust_reading(self) -> None:
        self.adjusted += 1


def a_stream(kind: type[BodyStream]) -> Any:
    return kind(SERVICE, Exchange())  # type: ignore[arg-type]


class Arriving(BodyStream):
    def __init__(self, blocks: list[bytes], failure: int | None = None) -> None:
        super().__init__(SERVICE, Exchange())  # type: ignore[arg-type]
        self.coming = iter(blocks)
        self.then = failure

    def _let_go(self) -> None:
        """Nobody was held back."""

    def _wait(self, _seconds: float) -> None:
        block = next(self.coming, None)
        if block is not None:
            self.feed(block)
        elif self.then is not None:
            self.fail(self.then)
        else:
            self.body_end()


def cut(body: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(body) + 1) for place in places), len(body)]
    return [body[one:two] for one, two in itertools.pairwise(edges) if one < two]


_SIZES = st.integers(-1, 50)
_READS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["read", "readline", "readlines"]), _SIZES),
        st.tuples(st.just("readinto"), st.integers(0, 50)),
        st.tuples(st.just("next"), st.just(0)),
    ),
    max_size=20,
)


def perform(file: Any, how: str, size: int) -> Any:
    if how == "readinto":
        buffer = bytearray(size)
        return file.readinto(buffer), bytes(buffer)
    return next(file, None) if how == "next" else getattr(file, how)(size)


@given(
    st.binary(max_size=200).map(lambda b: b.replace(b"\x00", b"\n")), st.lists(st.integers(0, 200)), _READS
)
def test_any_way_of_reading_is_that_of_a_file(body: bytes, places: list[int], reads: list[Any]) -> None:
    expected = io.BytesIO(body)
    for buffer in (1, 65536):
        expected.seek(0)
        stream = io.BufferedReader(Arriving(cut(body, places)), buffer)
        for how, size in reads:
            assert perform(stream, how, size) == perform(expected, how, size)
        assert stream.read() == expected.read()
        assert stream.read(1) == b""


@given(st.binary(max_size=200), st.lists(st.integers(0, 200)), st.sampled_from([0, 400, 408, 413]))
def test_a_failure_comes_after_what_had_arrived_and_stays(
    body: bytes, places: list[int], status: int
) -> None:
    stream = Arriving(cut(body, places), status)
    taken = b""
    buffer = bytearray(7)
    with pytest.raises(BodyError) as failed:
        while True:
            taken += bytes(buffer[: stream.readinto(buffer)])
    assert (taken, failed.value.status) == (body, status)
    with pytest.raises(BodyError):
        stream.readinto(buffer)
    stream.body_end()  # too late
    stream.feed(b"more")
    with pytest.raises(BodyError):
        stream.readinto(buffer)


def test_the_limit_counts_all_that_came() -> None:
    stream = Arriving([])
    stream._limit = 10
    stream.feed(b"12345")
    assert stream.readinto(bytearray(5)) == 5
    stream.feed(b"12345")
    with pytest.raises(BodyTooLarge):
        stream.feed(b"1")


@pytest.mark.parametrize("kind", [PumpedStream, FedStream])
def test_a_stream_holds_its_connection_back_and_lets_go(kind: type[BodyStream]) -> None:
    exchange: Any = Exchange()
    stream = kind(SERVICE, exchange)
    stream.feed(b"x" * WAITING_BYTES_MAX)
    assert not stream.full
    assert not exchange.adjusted
    stream.feed(b"y")
    assert stream.full
    assert exchange.adjusted == 1
    before = SERVICE.calls + exchange.adjusted
    for _ in range(2):
        assert stream.readinto(bytearray(1)) == 1
        assert not stream.full
        now = SERVICE.calls + exchange.adjusted
        assert now == before + 1, "told once, when it has become so"


def test_a_fed_stream_wakes_its_reader_for_each_kind_of_news() -> None:
    for tell, expected in (
        (lambda stream: stream.feed(b"a"), b"a"),
        (lambda stream: stream.body_end(), b""),
        (lambda stream: stream.fail(400), 400),
    ):
        stream = a_stream(FedStream)
        got: list[Any] = []

        def read(stream: FedStream = stream, got: list[Any] = got) -> None:
            try:
                got.append(stream.read(1))
            except BodyError as error:
                got.append(error.status)

        reader = threading.Thread(target=read)
        reader.start()
        tell(stream)
        reader.join(20)
        assert got == [expected]


def test_closed_it_keeps_nothing_and_says_so() -> None:
    stream = Arriving([b"rest"])
    stream.feed(b"waiting")
    stream.close()
    stream.close()
    stream.feed(b"more")
    assert stream.waiting == 0
    with pytest.raises(ValueError, match="after the request had ended"):
        stream.readinto(bytearray(1))


def test_a_block_that_comes_while_a_fed_stream_is_closed_takes_no_room() -> None:
    """The application's thread closes it at any moment of the loop's."""
    stream = a_stream(FedStream)
    room = SERVICE.body_budget.memory_left
    closing = threading.Thread(target=stream.close)

    class Block(bytes):
        looks = 0

        def __len__(self) -> int:
            Block.looks += 1
            if Block.looks == 2:  # it is about to be counted
                closing.start()
                closing.join(0.1)
            return super().__len__()

    stream.feed(Block(b"block"))
    closing.join(20)
    assert stream.closed
    assert SERVICE.body_budget.memory_left == room
