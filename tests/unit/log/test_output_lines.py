"""What comes from a pipe becomes lines: whole ones, parts, blocks."""

from __future__ import annotations

import random
import re
from typing import Final

import pytest

from gwctl.log import output_lines as module
from gwctl.log.output_lines import BLOCK_BYTES_MAX, LINE_BYTES_MAX, OutputLine, OutputLines

TRACEBACK: Final = b"""\
Traceback (most recent call last):
  File "shop.py", line 8, in cart
    prices["tax"]
KeyError: 'tax'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "shop.py", line 10, in cart
    raise ValueError("tax")
ValueError: tax
"""
GROUP: Final = b"""\
  + Exception Group Traceback (most recent call last):
  |   File "shop.py", line 1, in <module>
  | ExceptionGroup: two (2 sub-exceptions)
  +-+---------------- 1 ----------------
    | ValueError: one
    +------------------------------------
"""
FATAL: Final = b"""\
Fatal Python error: Segmentation fault

Current thread 0x00007f7d (most recent call first):
  File "shop.py", line 3 in cart

Extension modules: msgspec._core (total: 1)
"""
THREAD: Final = b"""\
Exception in thread Thread-1 (work):
Traceback (most recent call last):
  File "shop.py", line 3, in work
ZeroDivisionError: division by zero
"""


def taken(*pieces: bytes, most: int = 1000) -> list[OutputLine]:
    lines = OutputLines()
    found: list[OutputLine] = []
    for piece in pieces:
        lines.feed(piece)
        found += lines.take(most)
    return found


def ended(*pieces: bytes) -> list[OutputLine]:
    """And nobody waits for more."""
    lines = OutputLines(b"".join(pieces))
    found = lines.take(1000, all_of_it=True)
    assert not lines.left
    return found


def texts(lines: list[OutputLine]) -> list[str]:
    return [line.text for line in lines]


def test_whole_lines_come_as_they_end() -> None:
    assert texts(taken(b"one\ntw", b"o\n\nthr")) == ["one", "two", ""]
    assert texts(taken(b"windows\r\n")) == ["windows"]


def test_no_more_is_taken_than_was_asked_for() -> None:
    lines = OutputLines(b"1\n2\n3\n")
    assert texts(lines.take(2)) == ["1", "2"]
    assert lines.left == b"3\n"
    assert texts(lines.take(2)) == ["3"]
    assert lines.take(0) == []


def test_what_is_no_text_is_shown() -> None:
    assert texts(taken(b"\x00\xff caf\xc3\xa9 \xc3\n")) == ["\x00\\xff café \\xc3"]


def test_a_line_whose_end_does_not_come_is_continued() -> None:
    lines = OutputLines(b"Password: ")
    assert lines.take(9) == []
    assert lines.take(9, all_of_it=True) == [OutputLine("Password: ")]
    lines.feed(b"secret\nnext\n")
    assert lines.take(9) == [OutputLine("secret", continued=True), OutputLine("next")]


def test_an_end_that_comes_late_is_no_line() -> None:
    lines = OutputLines(b"working ...")
    assert texts(lines.take(9, all_of_it=True)) == ["working ..."]
    lines.feed(b"\nnext\n")
    assert lines.take(9) == [OutputLine("next")]


def test_a_long_line_comes_in_parts_and_no_character_is_split() -> None:
    """Each part but the first is marked; nothing is lost or doubled, wherever the characters lie."""
    for shift in range(4):
        whole = "x" * shift + "日本é🙂" * 8000
        parts = taken(whole.encode() + b"\nnext\n")
        assert texts(parts[-1:]) == ["next"]
        assert "".join(texts(parts[:-1])) == whole
        assert [part.continued for part in parts[:-1]] == [False] + [True] * (len(parts) - 2)
        assert all(len(part.text.encode()) <= LINE_BYTES_MAX for part in parts)


def test_an_endless_line_is_not_kept() -> None:
    lines = OutputLines()
    for _ in range(100):
        lines.feed(b"\xff" * 10_000)
        lines.take(1000)
        assert len(lines.left) <= LINE_BYTES_MAX


@pytest.mark.parametrize("block", [TRACEBACK, GROUP, FATAL, THREAD])
def test_a_traceback_is_one_line_of_the_log(block: bytes) -> None:
    expected = [
        OutputLine("before"),
        OutputLine(block.decode().rstrip("\n"), is_fault=True),
        OutputLine("after"),
    ]
    assert taken(b"before\n" + block + b"after\n") == expected
    assert taken(b"before\n", *(line + b"\n" for line in block.splitlines()), b"after\n") == expected
    assert ended(b"before\n" + block + b"after\n") == expected


@pytest.mark.parametrize("block", [TRACEBACK, GROUP, FATAL, THREAD])
def test_a_traceback_is_waited_for_but_not_for_ever(block: bytes) -> None:
    lines = OutputLines(block)
    assert lines.take(9) == []
    assert lines.take(9, all_of_it=True) == [OutputLine(block.decode().rstrip("\n"), is_fault=True)]
    assert texts(OutputLines(block[:40]).take(9, all_of_it=True)) == [block[:40].decode().rstrip("\n")]


def test_two_tracebacks_are_two() -> None:
    one = TRACEBACK.partition(b"\n\n")[0] + b"\n"
    assert len(taken(one, b"-\n", one, b"-\n")) == 4


def test_a_traceback_without_end_is_cut() -> None:
    frame = b'  File "shop.py", line 8, in cart\n'
    lines = OutputLines()
    lines.feed(b"Traceback (most recent call last):\n")
    found: list[OutputLine] = []
    for _ in range(3000):
        lines.feed(frame)
        found += lines.take(1000)
        assert len(lines.left) <= BLOCK_BYTES_MAX + len(frame)
    assert found[0].is_fault
    assert len(found[0].text) <= BLOCK_BYTES_MAX
    rest = {line.text for line in found[1:]}
    assert rest == {frame.decode().rstrip("\n")}


class Counting:
    """A pattern that counts how often it was asked."""

    def __init__(self, pattern: re.Pattern[bytes]) -> None:
        self._pattern = pattern
        self.asked = 0

    def match(self, data: bytes, position: int) -> re.Match[bytes] | None:
        self.asked += 1
        return self._pattern.match(data, position)


@pytest.mark.parametrize("line", [b"\n", b" \n", b"Thread 0x\n"])
def test_a_block_whose_end_does_not_come_is_looked_through_once(
    line: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often it is read: the work grows with what has come, not with its square."""
    belongs = Counting(module._BELONGS)
    monkeypatch.setattr(module, "_BELONGS", belongs)
    lines = OutputLines(b"Traceback (most recent call last):\n")
    count = (BLOCK_BYTES_MAX - 100) // len(line)
    for _ in range(count):
        lines.feed(line)
        assert lines.take(9) == []
    assert belongs.asked <= count
    assert lines.take(9, all_of_it=True)[0].is_fault


def test_a_first_line_of_a_traceback_without_end_is_a_line() -> None:
    long = b"Traceback (most recent call last):" + b"x" * BLOCK_BYTES_MAX * 2 + b"\n"
    assert "".join(texts(taken(long))) == long.decode().rstrip("\n")


def test_whatever_comes_in_whatever_pieces_is_the_same() -> None:
    """Blocks and lines, cut anywhere, as long as nobody loses patience."""
    rng = random.Random(7)
    data = (
        b"one\n" + TRACEBACK + b"two\r\n\n" + b"y" * 40_000 + b"\n" + GROUP + b"\xff\xfe\n" + FATAL + b"end\n"
    )
    expected = taken(data)
    for _ in range(50):
        cuts = sorted(rng.sample(range(len(data)), 12))
        pieces = [data[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
        assert taken(*pieces) == expected


def test_what_is_left_goes_over() -> None:
    lines = OutputLines(b"begun ")
    lines.take(9, all_of_it=True)
    lines.feed(b"and ")
    successor = OutputLines(lines.left, continued=lines.continued)
    successor.feed(b"ended\n")
    assert successor.take(9) == [OutputLine("and ended", continued=True)]
