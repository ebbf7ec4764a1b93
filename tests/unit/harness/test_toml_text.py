"""What the test support writes is what tomllib reads."""

from __future__ import annotations

import tomllib

from hypothesis import given
from hypothesis import strategies as st

from tests.support.toml_text import dumps

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
SCALARS = (
    TEXT | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
)
VALUES = SCALARS | st.lists(SCALARS, max_size=3)
TABLES = st.recursive(
    st.dictionaries(TEXT, VALUES, max_size=4), lambda inner: st.dictionaries(TEXT, VALUES | inner, max_size=3)
)


@given(TABLES)
def test_round_trip(tables: dict) -> None:
    assert tomllib.loads(dumps(tables)) == tables
