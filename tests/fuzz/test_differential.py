"""Nonsense and near-nonsense, both parsers, both kinds of application: `Rig.check` says what must hold."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gwctl.config.model.settings import Limits
from gwctl.workers.http1.head_validator import HeadJudge
from tests.conformance.case import LIMITS
from tests.fuzz.harness import Broken, Rig
from tests.fuzz.messages import MESSAGES, WORDS
from tests.support.compiled import pure_only

CUTS = st.lists(st.integers(0, 3000), max_size=4)
PIECES = st.sampled_from(WORDS) | st.binary(max_size=6)
INVENTED = st.lists(PIECES, min_size=1, max_size=25).map(b"".join)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A message or two of the table with a few edits."""
    message = b"".join(draw(st.lists(st.sampled_from(MESSAGES), min_size=1, max_size=2)))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(message)))
        end = draw(st.integers(start, min(start + 12, len(message))))
        message = message[:start] + draw(PIECES | st.just(message[start:end] * 2)) + message[end:]
    return message


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    rig = Rig()
    yield rig
    rig.close()


def test_the_table(rig: Rig) -> None:
    for message in MESSAGES:
        rig.check(message, range(0, len(message), 11))


@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(message=mutated() | INVENTED, cuts=CUTS)
def test_all_agree(rig: Rig, message: bytes, cuts: list[int]) -> None:
    rig.check(message, cuts)


def judged(parts: list[bytes]) -> tuple[int, int]:
    """Return status and end; the status also when it comes before the last part."""
    judge = HeadJudge(Limits(**LIMITS))
    for part in parts:
        status = judge.add(part)
        if status or judge.end:
            return status, judge.end
    return 0, 0


@settings(max_examples=150, deadline=None)
@given(message=mutated() | INVENTED)
def test_cuts_never_change_a_judgement(message: bytes) -> None:
    assert judged([message[at : at + 1] for at in range(len(message))]) == judged([message])


@pure_only
def test_a_difference_is_noticed(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A judge that says something else of what comes in parts: the rig breaks."""
    add = HeadJudge.add
    monkeypatch.setattr(HeadJudge, "add", lambda judge, part: add(judge, part) and 400 + len(judge.data) % 2)
    with pytest.raises(Broken):
        for message in MESSAGES:
            rig.check(message, [5])
