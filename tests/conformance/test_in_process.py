"""The table in process: every worker class with either parser, in one piece and in many."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import pytest

from gwctl.workers.http1 import body_framing
from gwctl.workers.wsgi import environ
from tests.conformance.case import Seen
from tests.conformance.play import Feeder, Mismatch, byte_by_byte, feeder_for, play_in, whole
from tests.conformance.table import CASES
from tests.support.compiled import pure_only
from tests.support.engine import PARSERS, WORKER_CLASSES

SHORT_BYTES = 50
PLACES = 10
"""At which one test cuts them: so many take half a minute where ten others are at work."""


KINDS = [f"{kind}-{parser}" for kind in WORKER_CLASSES for parser in PARSERS]
OTHER_INTERFACE = ("sync+asgi", "threads+asgi", "asgi+wsgi")


@pytest.fixture(scope="module", params=[*KINDS, *(f"{kind}-{PARSERS[0]}" for kind in OTHER_INTERFACE)])
def feeder(request: pytest.FixtureRequest) -> Iterator[Feeder]:
    worker_class, parser = request.param.split("-")
    with feeder_for(worker_class, parser) as feeder:
        yield feeder


def in_two(place: int, raw: bytes) -> list[bytes]:
    return [raw[:place], raw[place:]]


def played(feeder: Feeder, cut: Callable[[bytes], list[bytes]], names: list[str]) -> list[str]:
    """Play them all; return what went wrong."""
    wrong = []
    for name in names:
        try:
            play_in(feeder, CASES[name], cut)
        except (AssertionError, OSError) as error:
            wrong.append(f"{name}: {error}")
    return wrong


@pytest.mark.parametrize("cut", [whole, byte_by_byte], ids=["whole", "bytes"])
def test_the_table(feeder: Feeder, cut: Callable[[bytes], list[bytes]]) -> None:
    assert played(feeder, cut, list(CASES)) == []


@pytest.mark.parametrize("worker_class", ["sync", "threads", *OTHER_INTERFACE])
def test_bodies_that_are_read_during_the_call(worker_class: str) -> None:
    """With body_buffering off the same is refused, and read to its end by the application is only what is sound."""
    with feeder_for(worker_class, PARSERS[0], body_buffering=False) as feeder:
        assert played(feeder, whole, list(CASES)) == []


@pytest.mark.parametrize("first", range(1, SHORT_BYTES, PLACES))
@pytest.mark.parametrize("parser", PARSERS)
def test_cut_once_anywhere(parser: str, first: int) -> None:
    """Short cases in two parts, cut at each place."""
    short = [name for name, case in CASES.items() if len(case.raw) <= SHORT_BYTES]
    assert len(short) > 100
    with feeder_for("sync", parser) as feeder:
        for place in range(first, min(first + PLACES, SHORT_BYTES)):
            names = [name for name in short if len(CASES[name].raw) > place]
            assert played(feeder, partial(in_two, place), names) == []


@pure_only
def test_a_lax_server_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two builds that leave a check out, and how many cases each gets wrong."""

    def wrong(group: str) -> int:
        with feeder_for("sync", PARSERS[0]) as feeder:
            return len(played(feeder, whole, [name for name in CASES if name.startswith(group)]))

    assert wrong("Host: ") == wrong("Chunks") == 0
    monkeypatch.setattr(environ, "check_host", lambda value, http11: None)
    assert wrong("Host: ") > 20
    monkeypatch.setattr(body_framing, "_FORBIDDEN_TRAILERS", frozenset())
    assert wrong("Chunks") > 5


def test_a_wrong_table_is_noticed() -> None:
    """What the table says is compared: a case that says the opposite fails."""
    right = [CASES["Request line: an ordinary GET"], CASES["Request line: no target"]]
    with feeder_for("sync", PARSERS[0]) as feeder:
        for case in right:
            play_in(feeder, case)
        for case in (
            replace(right[0], status=400, seen=(), closes=True),
            replace(right[0], closes=True),
            replace(right[0], seen=(Seen("POST"),)),
            replace(right[0], seen=(Seen(headers={"host": "y"}),)),
            replace(right[1], status=501),
        ):
            with pytest.raises(Mismatch):
                play_in(feeder, case)
