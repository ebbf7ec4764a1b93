"""Server-sent events: records and what else is wanted, to those who read and those who don't, until the end."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gwctl.admin import app
from gwctl.admin.figures import sampler
from gwctl.admin.following import feed, stream
from gwctl.admin.following.records import KEPT_MAX
from gwctl.control.protocol import REFUSED, Failure
from tests.support.admin_client import ELSEWHERE, Client, serving
from tests.support.admin_master import STATUS, FakeMaster, asynchronous, eventually, happening


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "STATUS_EVERY_S", 0.001)
    monkeypatch.setattr(feed, "REQUESTS_EVERY_S", 0.001)
    for name in ("KEPT_EVERY_S", "FOLLOWED_EVERY_S"):
        monkeypatch.setattr(sampler, name, 1000.0)  # a test takes the figures itself, however long it pauses


async def followed(master: FakeMaster) -> None:
    await eventually(lambda: master.followers, "the master to be followed")


@asynchronous
async def test_records_come_as_they_happen() -> None:
    master = FakeMaster(history=[happening(1)])
    async with serving(master) as admin:
        following = await Client(admin).follow().began()
        start = following.exchange.messages[0]
        fields = {name.decode(): value.decode() for name, value in start["headers"]}
        assert (start["status"], fields["content-type"]) == (200, "text/event-stream")
        assert (fields["cache-control"], fields["x-accel-buffering"]) == ("no-store", "no")
        assert "content-length" not in fields
        assert following.text == "retry: 2000\n\n", "what was before is not asked for"
        await followed(master)
        for number in (2, 3):
            master.happens(happening(number, text="two\nlines: \u2028"))
            event = await following.next()
            assert (event.name, event.id, event.json) == ("record", str(number), master.history[-1])
        await following.leave()


@pytest.mark.parametrize(
    ("target", "last_seen", "numbers"),
    [
        ("/events?last=2", None, [4, 5]),
        ("/events?last=1000", None, [1, 2, 3, 4, 5]),
        ("/events", "3", [4, 5]),
        ("/events?last=1", "3", [4, 5]),
        ("/events", "0", [1, 2, 3, 4, 5]),
        ("/events", "99", [1, 2, 3, 4, 5]),
        ("/events?last=1", "x", [5]),
        ("/events?last=1", "-3", [5]),
        ("/events?last=1", "9" * 30, [5]),
    ],
)
@asynchronous
async def test_a_stream_resumes_where_it_was(target: str, last_seen: str | None, numbers: list[int]) -> None:
    master = FakeMaster(history=[happening(number) for number in range(1, 6)])
    async with serving(master) as admin:
        following = Client(admin).follow(target, **({"last_event_id": last_seen} if last_seen else {}))
        found = [(await following.next()).id for _ in numbers]
        assert found == list(map(str, numbers))
        assert len(following.events()) == len(numbers)
        await following.leave()


@asynchronous
async def test_what_is_kept_no_more_is_lost_and_counted() -> None:
    master = FakeMaster(history=[happening(number) for number in range(11, 14)])
    async with serving(master) as admin:
        following = Client(admin).follow(last_event_id="5")
        lost, first = await following.next(), await following.next()
        assert (lost.name, lost.id, lost.json) == ("lost", "", {"count": 5})
        assert first.id == "11"
        await following.leave()


@asynchronous
async def test_who_does_not_read_costs_nothing_and_is_told_what_it_has_lost() -> None:
    """Two thousand records pass it by: of them it gets those that are kept, and so do not those who read."""
    master = FakeMaster()
    async with serving(master) as admin:
        slow, quick = await Client(admin).follow().began(), await Client(admin).follow().began()
        await followed(master)
        slow.exchange.reads.clear()
        for number in range(1, 2 * KEPT_MAX + 1):
            master.happens(happening(number))
            if not number % 500:
                read = str(number)
                await eventually(lambda read=read: quick.text.rfind(f"id: {read}\n") >= 0, "it to read")
        assert slow.events() == []
        assert [each.id for each in quick.events()] == [str(number) for number in range(1, 2 * KEPT_MAX + 1)]
        slow.exchange.reads.set()
        await eventually(
            lambda: slow.events() and slow.events()[-1].id == str(2 * KEPT_MAX), "it to catch up"
        )
        lost = sum(each.json["count"] for each in slow.events() if each.name == "lost")
        got = [each for each in slow.events() if each.name == "record"]
        assert lost + len(got) == 2 * KEPT_MAX
        assert lost >= KEPT_MAX - 500
        await slow.leave()
        await quick.leave()


@asynchronous
async def test_one_message_to_a_client_is_bounded() -> None:
    master = FakeMaster(history=[happening(number, text="x" * 5000) for number in range(1, 101)])
    async with serving(master) as admin:
        following = Client(admin).follow("/events?last=100")
        await eventually(lambda: len(following.events()) == 100, "all of them")
        assert max(len(each["body"]) for each in following.exchange.messages[1:]) < stream.BLOCK_BYTES + 6000
        await following.leave()


# ---- what else can be followed


@asynchronous
async def test_the_status_comes_at_the_start_and_when_it_changes() -> None:
    now = [0.0]

    def status(params: Any) -> Any:
        now[0] += 1
        return STATUS | {"up_s": now[0], "health": "healthy" if now[0] < 5 else "degraded"}

    master = FakeMaster({"status": status})
    async with serving(master) as admin:
        first = Client(admin).follow("/events?with=status")
        assert (await first.next("status")).json["health"] == "healthy"
        assert (await first.next("status")).json["health"] == "degraded"
        asked = master.count("status")
        await master.asked("status", asked + 3)
        assert len(first.events()) == 2, "a clock that goes on is no change"
        second = Client(admin).follow("/events?with=status")
        assert (await second.next("status")).json["health"] == "degraded"
        await first.leave()
        await second.leave()


@asynchronous
async def test_requests_come_again_and_again() -> None:
    served = {"pool": "web", "slot": 1, "generation": 5, "pid": 7, "more": 3}
    requests = [{"request": "GET /export", "age_s": 12.0}]
    master = FakeMaster({"requests": lambda params: {"workers": [served | {"requests": requests}]}})
    async with serving(master) as admin:
        following = Client(admin).follow("/events?with=requests")
        for _ in range(3):
            assert (await following.next("requests")).json == {
                "requests": [
                    {"worker": "web.1", "generation": 5, "pid": 7, "request": "GET /export", "seconds": 12.0}
                ],
                "more": 3,
            }
        await following.leave()


@asynchronous
async def test_samples_come_while_they_are_followed() -> None:
    master = FakeMaster()
    async with serving(master) as admin:
        sampler = admin._feed.sampler
        await eventually(lambda: sampler._last, "the first figures")
        following = await Client(admin).follow("/events?with=samples").began()
        metrics = await admin._master.metrics.get(30)
        sampler.take(metrics)
        sample = (await following.next("sample")).json
        assert sample["pools"]["web"]["requests_per_s"] == 0.0
        assert [*sample] == ["at", "pools"]
        await following.leave()
        sampler.take(metrics)
        assert sampler.number == 1, "nobody follows any more"


@asynchronous
async def test_nothing_is_asked_for_nobody() -> None:
    master = FakeMaster()
    async with serving(master) as admin:
        following = await Client(admin).follow("/events").began()
        both = [
            Client(admin).follow("/events?with=status,requests"),
            Client(admin).follow("/events?with=status&with=requests"),
        ]
        for each in both:
            await each.next("status")
            await each.next("requests")
        assert master.count("metrics") <= 1
        await both[0].leave()
        count = master.count("status")
        await master.asked("requests", master.count("requests") + 2)
        for each in (both[1], following):
            await each.leave()
        count = master.count("status")
        await (await Client(admin).follow("/events").began()).leave()
        assert master.count("status") <= count + 1, "one was on its way"


@asynchronous
async def test_a_master_that_refuses_to_say_is_asked_again() -> None:
    """As in the moment of an upgrade."""
    answers = [Failure(REFUSED, "an upgrade is under way: ask again in a moment")] * 3

    def status(params: Any) -> Any:
        return answers.pop() if answers else STATUS

    async with serving(FakeMaster({"status": status})) as admin:
        following = Client(admin).follow("/events?with=status")
        assert (await following.next("status")).json == STATUS
        await following.leave()


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("with=x", "with=x: there is status, samples, requests\n"),
        ("with=status,sample", "with=sample: there is status, samples, requests\n"),
        ("wiht=status", "no field 'wiht' in the query: there is with, last\n"),
        ("last=-1", "last: a number of events, 1000 at most\n"),
        ("last=many", "last: a number of events, 1000 at most\n"),
    ],
)
@asynchronous
async def test_what_cannot_be_followed(query: str, said: str) -> None:
    async with serving(FakeMaster()) as admin:
        reply = await Client(admin).get(f"/events?{query}")
        assert (reply.status, reply.text) == (400, said)


# ---- silence, crowds, ends


@asynchronous
async def test_a_silent_stream_says_that_it_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    assert stream.BEAT_S == 15.0
    monkeypatch.setattr(stream, "BEAT_S", 0.005)
    async with serving(FakeMaster()) as admin:
        following = Client(admin).follow()
        await eventually(lambda: following.text.count(":\n\n") >= 3, "three beats")
        assert following.events() == []
        await following.leave()


@asynchronous
async def test_so_many_follow_and_who_leaves_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    assert app.STREAMS_MAX == 32
    async with serving(FakeMaster()) as admin:
        streams = [await Client(admin).follow().began() for _ in range(32)]
        refused = await Client(admin).get("/events")
        assert (refused.status, refused.text) == (503, "32 streams of events are open already\n")
        assert (await Client(admin).get("/api/status")).status == 200
        await streams.pop().leave()
        streams.append(await Client(admin).follow().began())
        for each in streams:
            await each.leave()
        assert admin._feed._streams == set()


@asynchronous
async def test_one_from_afar_has_half_of_them() -> None:
    async with serving(FakeMaster()) as admin:
        token = {"authorization": "Bearer secret"}
        greedy, other = (
            Client(admin, ELSEWHERE, "192.0.2.1", token),
            Client(admin, ELSEWHERE, "192.0.2.2", token),
        )
        streams = [await greedy.follow().began() for _ in range(16)]
        assert (await greedy.get("/events")).status == 503
        streams.append(await other.follow().began())
        for each in streams:
            await each.leave()


@asynchronous
async def test_who_leaves_while_it_is_sent_something_is_let_go() -> None:
    master = FakeMaster(history=[happening(1)])
    async with serving(master) as admin:
        following = await Client(admin).follow("/events?with=status,samples,requests").began()
        following.exchange.reads.clear()
        await followed(master)
        master.happens(happening(2))
        await following.leave()
        assert (admin._feed._streams, admin._feed.sampler._followers) == (set(), 0)
        assert (admin._feed.status._followers, admin._feed.requests._followers) == (0, 0)


@asynchronous
async def test_when_the_master_goes_the_stream_says_so_and_ends() -> None:
    master = FakeMaster()
    async with serving(master) as admin:
        following = await Client(admin).follow("/events?with=status").began()
        await following.next("status")
        await followed(master)
        master.happens(happening(1))
        await following.next("record")
        await master.end()
        await following.exchange.task
        end = following.events()[-1]
        assert (end.name, end.json) == ("end", {"reason": "the master has closed the connection"})
        assert following.exchange.messages[-1]["more_body"] is False
        late = Client(admin).follow()
        await late.exchange.task
        assert [each.name for each in late.events()] == ["end"]


@asynchronous
async def test_what_was_told_before_the_end_comes_before_it() -> None:
    master = FakeMaster()
    async with serving(master) as admin:
        following = await Client(admin).follow().began()
        following.exchange.reads.clear()
        await followed(master)
        for number in range(1, 101):
            master.happens(happening(number))
        await eventually(lambda: admin._feed.records.last == 100, "all of them to come")
        await master.end()
        await admin.master_gone.wait()
        following.exchange.reads.set()
        await following.exchange.task
        assert [each.id for each in following.events()] == [*map(str, range(1, 101)), ""]
        assert following.events()[-1].name == "end"


@asynchronous
async def test_when_this_process_ends_the_stream_just_ends() -> None:
    """Its client comes again, to the process after it."""
    async with serving(FakeMaster()) as admin:
        following = await Client(admin).follow().began()
    await following.exchange.task
    assert following.events() == []
    assert following.exchange.messages[-1] == {"type": "http.response.body", "body": b"", "more_body": False}


@asynchronous
async def test_a_send_that_fails_ends_the_stream() -> None:
    """As of servers that raise when a client has gone."""
    async with serving(FakeMaster()) as admin:
        following = Client(admin).follow()
        following.exchange.task.cancel()
        await asyncio.gather(following.exchange.task, return_exceptions=True)
        assert admin._feed._streams == set()


def test_an_event_is_written_as_html_says() -> None:
    assert stream.event("record", b'{"a": 1}', 7) == b'event: record\nid: 7\ndata: {"a": 1}\n\n'
    assert stream.event("lost", b"{}") == b"event: lost\ndata: {}\n\n"
