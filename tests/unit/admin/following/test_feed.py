"""What is polled for followers: once for all of them, while there are any, and told when it differs."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from gwctl.admin.following.feed import REQUESTS_MAX, lasting, longest
from gwctl.admin.following.poll import Poll
from gwctl.admin.link.errors import OddAnswerError
from gwctl.control.status import KeptStatus, to_json_ready
from gwctl.errors import ControlError
from gwctl.json_text import encode
from tests.support.admin_master import asynchronous, eventually
from tests.support.invented_status import master, pool, worker


class Asked:
    """A question whose answers the test has given; the last one stays."""

    def __init__(self, *answers: tuple[bytes, object] | Exception) -> None:
        self.answers = list(answers)
        self.count = 0
        self.told = 0

    async def __call__(self) -> tuple[bytes, object]:
        self.count += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def tell(self) -> None:
        self.told += 1


@asynchronous
async def test_it_asks_while_somebody_follows_and_once_for_all() -> None:
    asked = Asked((b"1", 1), (b"2", 2))
    poll = Poll(asked, 0.001, asked.tell)
    await asyncio.sleep(0)
    assert asked.count == 0
    poll.follow()
    poll.follow()
    await eventually(lambda: asked.count >= 3, "three questions")
    assert (poll.latest, poll.number, asked.told) == (b"2", 2, 2), "the same again is nothing new"
    poll.unfollow()
    count = asked.count
    await eventually(lambda: asked.count > count, "it to go on for the other")
    poll.unfollow()
    count = asked.count
    assert poll.latest == b"", "what is not asked for any more grows old"
    poll.follow()
    await eventually(lambda: poll.latest == b"2", "it to be asked again")
    poll.unfollow()


@asynchronous
async def test_a_master_that_does_not_answer_is_asked_again() -> None:
    asked = Asked(ControlError("silent"), ControlError("silent"), (b"1", 1))
    poll = Poll(asked, 0.001, asked.tell)
    poll.follow()
    await eventually(lambda: poll.latest, "an answer")
    assert asked.told == 1
    poll.unfollow()


def test_time_that_passes_is_no_news() -> None:
    """All that a master computes from its clock, of a status in which nothing happens."""

    def at(now: float) -> dict[str, Any]:
        kept = KeptStatus(1, 1764400000.0 + now * 1e-6, 60.0 - now, {"web": 2})
        status = master(
            pool(worker(0, up_s=now, left_s=30.0 - now), worker(1, up_s=now)),
            up_s=now,
            kept=kept,
            accepts_s=9.0 - now,
            last_reload_at=1764400000.2 + now * 1e-6,
            refused_at=1764400000.2 - now * 1e-6,
        )
        document: dict[str, Any] = json.loads(encode(to_json_ready(status)))
        document["pools"][0]["minute"] = {"seconds": now, "requests": 5}
        return document

    assert lasting(at(1.0)) == lasting(at(2.0))
    other = at(2.0)
    other["pools"][0]["workers"][1]["requests"] += 1
    assert lasting(other) != lasting(at(1.0))
    none = at(2.0) | {"refused_at": None}
    assert lasting(none) != lasting(at(1.0))


def under_way(slot: int, *ages: float, more: int = 0) -> dict[str, Any]:
    requests = [{"request": f"GET /{age}", "age_s": age} for age in ages]
    return {
        "pool": "web",
        "slot": slot,
        "generation": 5,
        "pid": 100 + slot,
        "requests": requests,
        "more": more,
    }


def test_the_longest_requests_of_all_workers() -> None:
    found = longest({"workers": [under_way(0, 0.5, 12.0, more=2), under_way(1), under_way(2, 3.0, more=1)]})
    assert [(each["worker"], each["seconds"]) for each in found["requests"]] == [
        ("web.0", 12.0),
        ("web.2", 3.0),
        ("web.0", 0.5),
    ]
    assert found["requests"][0] == {
        "worker": "web.0",
        "generation": 5,
        "pid": 100,
        "request": "GET /12.0",
        "seconds": 12.0,
    }
    assert found["more"] == 3


def test_twenty_are_shown_and_the_others_counted() -> None:
    found = longest({"workers": [under_way(slot, *range(10), more=1) for slot in range(5)]})
    assert (len(found["requests"]), found["more"]) == (REQUESTS_MAX, 30 + 5)
    assert min(each["seconds"] for each in found["requests"]) == 6


@pytest.mark.parametrize(
    "document", [{"workers": 5}, {"workers": [{}]}, {"workers": [{"pool": "web", "slot": "x"}]}]
)
def test_what_is_no_such_document(document: dict[str, Any]) -> None:
    with pytest.raises(OddAnswerError):
        longest(document)


def test_nobody_serves() -> None:
    assert longest({}) == longest({"workers": []}) == {"requests": [], "more": 0}
