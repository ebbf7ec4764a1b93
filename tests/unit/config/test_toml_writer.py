"""What is written as TOML reads back as the same."""

from __future__ import annotations

import math
import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gwctl.config import toml_writer
from tests.support.toml_documents import KEYS, VALUES

ANY_TEXT = st.text(st.characters(codec="utf-8"))


def same(one: object, other: object) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return one == other or (math.isnan(one) and math.isnan(other))
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return type(one) is type(other) and one == other


@given(KEYS | ANY_TEXT, VALUES | ANY_TEXT)
@settings(deadline=None)
def test_any_value_reads_back(key: str, value: object) -> None:
    text = f"{toml_writer.key(key)} = {toml_writer.value(value)}\n"
    assert same(tomllib.loads(text), {key: value})


@pytest.mark.parametrize(
    ("value", "shown"), [(30.0, "30"), (0.5, "0.5"), (7, "7"), (1e300, str(int(1e300))), (math.inf, "inf")]
)
def test_numbers_as_a_person_writes_them(value: float, shown: str) -> None:
    assert toml_writer.number(value) == shown


def test_dotted_keys_leave_indexes_out() -> None:
    assert toml_writer.dotted(("pool", "a b", "bind", 1)) == 'pool."a b".bind'


def test_long_values_are_cut() -> None:
    assert len(toml_writer.shown("x" * 1000)) == 60


def test_what_toml_lacks() -> None:
    with pytest.raises(TypeError, match="TOML has no NoneType"):
        toml_writer.value(None)
