"""What a worker tells of a profile is put together, and believed only as far as it holds together."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from gwctl.profile import collected, lines
from gwctl.profile.collected import IDLE, OTHERS, WAITS, Choice, Part, folded, totals
from gwctl.profile.lines import Allocations, Begun, Ended, Frame, Kind, Refused, Samples, encode

REQUESTS = Frame("requests", kind=Kind.ROOT)
CART, TOTAL = Frame("cart", "shop/views.py", 31), Frame("total", "shop/pricing.py", 88)
TOLD = (
    Begun(),
    Samples(
        frames=(REQUESTS, CART, TOTAL), stacks=((0, 1), (0, 1, 2)), times=((0, 10, 200, 0), (1, 50, 0, 7))
    ),
    Samples(times=((1, 40, 3, 0),)),
    Ended(10.0, samples=998, cpu_s=0.1),
)


def part_of(*told: lines.Line, name: str = "web.2") -> Part:
    part = Part(name, 4134)
    part.feed(b"".join(map(encode, told)))
    return part


def test_lines_are_one_profile_however_they_come() -> None:
    data = b"".join(map(encode, TOLD))
    whole, pieces = part_of(*TOLD), Part("web.2", 4134)
    for at in range(len(data)):
        pieces.feed(data[at : at + 1])
    assert folded([pieces], Choice()) == folded([whole], Choice())
    assert (pieces.began, pieces.failure, pieces.ended) == (True, "", TOLD[-1])


def test_what_several_workers_have_alike_is_one_stack() -> None:
    stacks = folded([part_of(*TOLD), part_of(*TOLD, name="web.3")], Choice())
    assert stacks == {
        (REQUESTS, CART): 20,
        (REQUESTS, CART, WAITS): 400,
        (REQUESTS, CART, TOTAL): 180,
        (REQUESTS, CART, TOTAL, WAITS): 6,
    }
    assert folded([part_of(*TOLD)], Choice(idle=True))[REQUESTS, CART, TOTAL, IDLE] == 7
    total = totals([part_of(*TOLD)])
    assert (total.first, total.second, total.third) == (100, 203, 7)


def test_the_lines_of_a_function_can_be_put_together() -> None:
    other = Frame("total", "shop/pricing.py", 91)
    part = part_of(Begun(), Samples((REQUESTS, TOTAL, other), ((0, 1), (0, 2)), ((0, 5, 0, 0), (1, 6, 0, 0))))
    assert folded([part], Choice(by_function=True)) == {(REQUESTS, Frame("total", "shop/pricing.py", 0)): 11}


def test_of_the_memory_it_is_bytes() -> None:
    told = Allocations((CART,), ((0,),), ((0, 4096, 2, 0),))
    part = part_of(Begun(memory=True), told, Ended(1.0))
    assert folded([part], Choice()) == {(CART,): 4096}
    assert totals([part]).second == 2


def test_who_refuses_is_over() -> None:
    part = part_of(Refused("a profile of it is being taken already"))
    assert (part.is_over, part.failure) == (True, "a profile of it is being taken already")


def test_who_ends_in_the_midst_of_it_keeps_what_it_told() -> None:
    part = part_of(*TOLD[:2])
    part.feed(b"")
    assert part.failure.startswith("it ended in the midst of it")
    assert folded([part], Choice())[REQUESTS, CART] == 10
    silent = Part("web.2", 1)
    silent.feed(b"")
    assert "before it could begin" in silent.failure


def test_what_comes_after_the_end_is_not_read() -> None:
    part = part_of(*TOLD, Samples(times=((0, 1 << 50, 0, 0),)))
    assert folded([part], Choice())[REQUESTS, CART] == 10


HOSTILE: dict[str, list[bytes]] = {
    "no JSON": [b"GET / HTTP/1.1\r\n\n"],
    "no line that there is": [b'{"t":"hello"}\n'],
    "no text": [b'{"t":"begun\xff"}\n'],
    "nested without end": [b"[" * 100_000 + b"\n"],
    "digits without end": [b'{"t":"ended","seconds":' + b"9" * 10_000 + b"}\n"],
    "a frame that was not told": [encode(Samples(stacks=((0, 7),)))],
    "a stack that was not told": [encode(Samples((CART,), ((0,),), ((1, 1, 1, 1),)))],
    "negative times": [b'{"t":"samples","frames":[["f"]],"stacks":[[0]],"times":[[0,-5,0,0]]}\n'],
    "negative numbers of frames": [b'{"t":"samples","frames":[["f"]],"stacks":[[-1]]}\n'],
    "numbers that are no numbers": [b'{"t":"ended","seconds":1e400}\n'],
    "a kind that there is not": [b'{"t":"samples","frames":[["f","",0,9]]}\n'],
    "a name without end": [b'{"t":"samples","frames":[["' + b"f" * 400 + b'"]]}\n'],
    "a stack without end": [b'{"t":"samples","frames":[["f"]],"stacks":[[' + b"0," * 300 + b"0]]}\n"],
    "frames without end": [encode(Samples((CART,) * 10_000))] * 3,
    "stacks without end": [encode(Samples((CART,), ((0,),) * 6000))] * 2,
    "a line without end": [b" " * (1 << 16)] * 20,
    "of the memory what was to be of stacks": [encode(Allocations((CART,), ((0,),), ((0, 1, 1, 0),)))],
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_what_is_no_profile_ends_the_worker_s_part_and_nothing_else(data: list[bytes]) -> None:
    part = part_of(Begun())
    for each in data:
        part.feed(each)
    assert part.failure.startswith("what it tells is no profile: "), part
    assert len(part.failure) < 300
    folded([part], Choice(idle=True))


def test_too_many_frames_of_all_workers_are_put_together(monkeypatch: Any) -> None:
    """Nothing of the time is lost."""
    monkeypatch.setattr(collected, "PLACES_MAX", 6)
    stacks = folded([part_of(*TOLD), part_of(*TOLD, name="web.3")], Choice())
    assert stacks[OTHERS,] > 0
    assert sum(len(stack) for stack in stacks) <= 6
    assert sum(stacks.values()) == 606


def test_lines_without_end_end_it(monkeypatch: Any) -> None:
    monkeypatch.setattr(lines, "BYTES_MAX", 10_000)
    part = part_of(Begun())
    for _ in range(1000):
        part.feed(encode(Samples()))
    assert part.failure.endswith("it does not come to an end")


def test_names_that_are_no_text_are_told_as_the_log_shows_them() -> None:
    line = encode(Samples((Frame("caf\udce9", "x"),)))
    assert msgspec.json.decode(line)["frames"][0][0] == "caf\\udce9"
