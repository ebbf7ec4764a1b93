"""Errors that are hard to tell of: whoever reports one must not fail over it, nor fill the log with it."""

from __future__ import annotations

import sys

import pytest

from gwctl.workers.observe.disconnects import is_disconnect
from gwctl.workers.observe.errors import ClientGone
from gwctl.workers.observe.tracebacks import (
    SUMMARY_CHARACTERS_MAX,
    TEXT_CHARACTERS_MAX,
    application_traceback,
    summary,
)

DEPTH = 3 * sys.getrecursionlimit()


class Exits(Exception):
    def __str__(self) -> str:
        raise SystemExit


class Interrupts(Exception):
    def __str__(self) -> str:
        raise KeyboardInterrupt


class ReprExits(SyntaxError):
    @property
    def lineno(self) -> int:  # type: ignore[override]
        sys.exit(4)


class Split(str):
    __slots__ = ()

    def strip(self, _characters: str | None = None) -> str:
        return self

    def splitlines(self, _keepends: bool = False) -> list[str]:  # type: ignore[override]
        raise SystemExit


class Odd(Exception):
    def __str__(self) -> str:
        return Split("x")


def raised(error: BaseException) -> BaseException:
    def application() -> None:
        raise error

    try:
        application()
    except BaseException as caught:
        return caught


@pytest.mark.parametrize("kind", [Exits, Interrupts, ReprExits, Odd])
def test_an_error_whose_own_code_exits_is_told_of(kind):
    error = raised(kind())
    assert summary(error).startswith(kind.__name__)
    assert application_traceback(error).strip()


def test_a_long_message_is_cut():
    """In the summary, which stands in a line of the log and in messages to the master."""
    error = raised(ValueError("x" * 5_000_000))
    assert summary(error).startswith("ValueError: xxx")
    assert summary(error).endswith(f" (cut: {5_000_000 - SUMMARY_CHARACTERS_MAX} characters)")
    assert len(summary(error)) < SUMMARY_CHARACTERS_MAX + 100
    assert summary(ValueError("y" * SUMMARY_CHARACTERS_MAX)) == "ValueError: " + "y" * SUMMARY_CHARACTERS_MAX
    assert len(application_traceback(error)) < TEXT_CHARACTERS_MAX + 100


@pytest.mark.parametrize("link", ["__cause__", "__context__"])
def test_a_chain_of_thousands_has_its_frames(link):
    """As of a client that tries again for hours, each time in the handler of the last failure."""
    error: BaseException = ValueError("first")
    for number in range(DEPTH):
        after = ValueError(f"after {number}")
        setattr(after, link, error)
        error = after
    text = application_traceback(raised(error))
    assert "in application" in text
    assert text.endswith(f"ValueError: after {DEPTH - 1}\n")


def nested(error: BaseException) -> BaseException:
    for _ in range(DEPTH):
        error = BaseExceptionGroup("nested", [error])
    return error


def test_groups_in_each_other_have_their_frames():
    error = raised(nested(ValueError("inside")))
    assert "in application" in application_traceback(error)


@pytest.mark.parametrize(("inside", "wanted"), [(ClientGone("gone"), True), (ValueError("mine"), False)])
def test_groups_in_each_other_are_looked_into(inside, wanted):
    error = nested(inside)
    assert is_disconnect(error) is wanted
    both = BaseExceptionGroup("both", [ClientGone("gone"), error])
    assert is_disconnect(both) is wanted
