"""Lines come whole, however they are cut, and one without end is not kept."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gwctl.admin.link.lines import Lines


@given(st.lists(st.binary(max_size=20).filter(lambda line: b"\n" not in line)), st.data())
def test_lines_do_not_depend_on_how_they_are_cut(lines: list[bytes], data: st.DataObject) -> None:
    text = b"".join(line + b"\n" for line in lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))
    reader = Lines(1000)
    found = []
    for begin, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
        found += reader.feed(text[begin:end])
    assert found == lines


def test_what_has_no_end_is_bounded() -> None:
    reader = Lines(10)
    assert reader.feed(b"12345") == []
    assert reader.feed(b"67890") == []
    with pytest.raises(ValueError, match="without end"):
        reader.feed(b"1")


def test_the_bound_is_of_one_line() -> None:
    reader = Lines(10)
    found = [reader.feed(b"1234567\n12345"), reader.feed(b"67\n"), reader.feed(b"1234567\n")]
    assert found == [[b"1234567"]] * 3


def test_a_long_line_is_looked_at_once() -> None:
    """Its pieces are joined when it is whole: 16 MiB in pieces of 64 KiB take no time to speak of."""
    reader = Lines(1 << 24)
    piece = b"x" * 65536
    for _ in range(255):
        assert reader.feed(piece) == []
    (line,) = reader.feed(piece + b"\n")
    assert len(line) == 1 << 24
