"""Durations in words."""

from __future__ import annotations

import pytest

from gwctl.wording import age, duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.00031, "0.3 ms"),
        (0.0099, "9.9 ms"),
        (0.041, "41 ms"),
        (0.9999, "1.0 s"),
        (41.2, "41.2 s"),
        (840.0, "14 m"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.5, "0 s"), (42, "42 s"), (840, "14 m"), (7500, "2 h 5 m"), (273600, "3 d 4 h")],
)
def test_age(seconds: float, text: str) -> None:
    assert age(seconds) == text
