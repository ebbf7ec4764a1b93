"""/api: documents as the master has them, changes as it takes them, and an error that says what it was."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gwctl.admin import api as module
from gwctl.control import protocol
from gwctl.control.protocol import Failure, Progress
from tests.support.admin_client import Client, serving
from tests.support.admin_master import METRICS, STATUS, FakeMaster, asynchronous, eventually, happening

REFUSED = Failure(protocol.REFUSED, "no pool 'x': there is web", {"pool": "x"})


def error(reply: Any) -> tuple[int, str, str]:
    return reply.status, reply.json["error"]["code"], reply.json["error"]["message"]


@asynchronous
async def test_the_status_is_the_master_s_document() -> None:
    document = STATUS | {"new": {"field": [1, None]}, "pools": [{"name": "wäb"}]}
    async with serving(FakeMaster({"status": lambda params: document})) as admin:
        reply = await Client(admin).get("/api/status")
        assert (reply.status, reply.json) == (200, document)
        assert reply.fields == {
            "content-type": "application/json",
            "content-length": str(len(reply.body)),
            "cache-control": "no-store",
            "x-content-type-options": "nosniff",
            "cross-origin-resource-policy": "same-origin",
        }


@asynchronous
async def test_the_metrics_are_the_figures() -> None:
    async with serving(FakeMaster()) as admin:
        found = (await Client(admin).get("/api/metrics")).json
        assert found | {"pools": METRICS["pools"]} == found | METRICS
        assert found["pools"][0]["durations"] == {"counts": [], "seconds": 0.0, "exemplars": []}


@asynchronous
async def test_many_who_ask_at_once_are_one_question() -> None:
    master = FakeMaster(silent={"status", "requests"})
    async with serving(master) as admin:
        for path, method in (("/api/status", "status"), ("/api/requests", "requests")):
            waiting = [Client(admin).begin("GET", path) for _ in range(20)]
            await master.asked(method)
            assert master.count(method) == 1
            master.answer_all(method)
            assert {(await each.reply()).status for each in waiting} == {200}


@asynchronous
async def test_requests_are_those_of_all_or_of_one_and_the_longest_comes_first() -> None:
    def found(params: dict[str, Any]) -> dict[str, Any]:
        if params["worker"]:
            return {"text": "", "workers": [{"pool": "web", "slot": 2, "requests": []}]}
        ages = [[0.1], [], [5.0, 31.2], [0.2]]
        return {
            "text": "",
            "workers": [
                {
                    "pool": "web",
                    "slot": slot,
                    "requests": [{"request": "GET /", "age_s": age} for age in each],
                }
                for slot, each in enumerate(ages)
            ],
        }

    async with serving(FakeMaster({"requests": found})) as admin:
        reply = (await Client(admin).get("/api/requests")).json
        assert (reply["ok"], [each["slot"] for each in reply["workers"]]) == (True, [2, 3, 0, 1])
        one = (await Client(admin).get("/api/requests?worker=web.2")).json
        assert [each["slot"] for each in one["workers"]] == [2]


@pytest.mark.parametrize("workers", [[1, {"requests": 5}, {"requests": [{}]}, None], 7, None])
@asynchronous
async def test_requests_of_a_master_that_says_something_else(workers: Any) -> None:
    async with serving(FakeMaster({"requests": lambda params: {"workers": workers}})) as admin:
        assert (await Client(admin).get("/api/requests")).status == 200


@asynchronous
async def test_a_worker_that_is_not_there_is_a_mistake_of_who_asks() -> None:
    async with serving(FakeMaster({"requests": lambda params: Failure(1, "no worker web.9")})) as admin:
        assert error(await Client(admin).get("/api/requests?worker=web.9")) == (
            400,
            "refused",
            "no worker web.9",
        )
        many = await Client(admin).get("/api/requests?worker=a&worker=b")
        assert error(many) == (400, "malformed", "one worker, or all: leave `worker` out")
        long = await Client(admin).get(f"/api/requests?worker={'x' * 101}")
        assert error(long)[:2] == (400, "malformed")


# ---- events


@asynchronous
async def test_events_are_asked_for_as_they_are_wanted() -> None:
    master = FakeMaster()
    async with serving(master) as admin:
        await Client(admin).get(
            "/api/events?last=7&kind=worker_*&kind=reload_refused&level=warning&since_s=1.5"
        )
        (asked,) = [each for each in master.requests if each.params.get("kinds")]
        assert asked.params == {
            "last": 7,
            "kinds": ["worker_*", "reload_refused"],
            "level": "warning",
            "since_s": 1.5,
        }


@asynchronous
async def test_events_are_listed_and_so_is_what_was_lost() -> None:
    master = FakeMaster(history=[happening(number) for number in range(1, 4)])
    async with serving(master) as admin:
        await admin._feed.records.complete.wait()
        assert (await Client(admin).get("/api/events")).json == {"events": master.history}
        master.silent.add("events")
        asked = Client(admin).begin("GET", "/api/events")
        number = (await master.asked("events", 4)).number
        master.say(protocol.encode_lost(number, 5))
        master.say(protocol.encode_event(number, b'{"number": 9}'))
        master.answer(number, {"events": 1, "lost": 5})
        assert (await asked.reply()).json == {"events": [{"number": 9}], "lost": 5}


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("last=x", "last"),
        ("last=-1", "last"),
        ("last=1.5", "last"),
        ("level=loud", "level"),
        ("since_s=never", "since_s"),
        ("last=1&last=2", "`last` is given twice"),
        ("lats=1", "no field 'lats' in the query: there is last, kind, level, since_s"),
        ("follow=true", "no field 'follow'"),
        ("&".join(["kind=a"] * 101), "100 fields"),
        (f"kind={'x' * 101}", "kinds"),
    ],
)
@asynchronous
async def test_events_that_are_asked_for_wrongly(query: str, said: str) -> None:
    async with serving(FakeMaster()) as admin:
        status, code, message = error(await Client(admin).get(f"/api/events?{query}"))
        assert (status, code) == (400, "malformed")
        assert said in message


@asynchronous
async def test_a_kind_that_there_is_not() -> None:
    master = FakeMaster()
    async with serving(master) as admin:
        await admin._feed.records.complete.wait()
        master.answers["events"] = lambda params: Failure(1, "there is no event of the kind 'x'")
        reply = await Client(admin).get("/api/events?kind=x")
        assert error(reply) == (400, "refused", "there is no event of the kind 'x'")


# ---- changes


@pytest.mark.parametrize(
    ("path", "method", "body", "params"),
    [
        ("/api/reload", "reload", None, {}),
        ("/api/reload", "reload", {}, {}),
        ("/api/rollback", "rollback", {}, {}),
        ("/api/recycle", "recycle", {"pool": "web"}, {"pool": "web"}),
        ("/api/recycle", "recycle", {"pool": "web", "slot": 2}, {"pool": "web", "slot": 2}),
        ("/api/scale", "scale", {"pool": "web", "size": 4}, {"pool": "web", "size": 4}),
        ("/api/scale", "scale", {"pool": "web", "delta": -1}, {"pool": "web", "delta": -1}),
        ("/api/log_level", "log_level", {"level": "debug", "for_s": 60}, {"level": "debug", "for_s": 60.0}),
        ("/api/log_level", "log_level", {}, {}),
        ("/api/dump", "dump", {"worker": "web.2"}, {"worker": "web.2"}),
    ],
)
@asynchronous
async def test_a_change_is_asked_of_the_master(path: str, method: str, body: Any, params: Any) -> None:
    master = FakeMaster({method: lambda params: {"text": "done", "n": 1}})
    async with serving(master) as admin:
        reply = await Client(admin).post(path, body)
        more = {"progress": []} if method in {"reload", "rollback"} else {}
        assert (reply.status, reply.json) == (200, {"ok": True, "text": "done", "n": 1} | more)
        assert (await master.asked(method)).params == params


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("/api/scale", b"", "`pool`"),
        ("/api/scale", b"{", "the body is not understood"),
        ("/api/scale", b"[]", "the body is not understood"),
        ("/api/scale", b"\xff", "the body is not understood"),
        ("/api/scale", b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "the body is nested too deeply"),
        ("/api/scale", b'{"pool": "web"}', "neither `size` nor `delta`"),
        ("/api/scale", b'{"pool": "web", "size": "4"}', "$.size"),
        ("/api/scale", b'{"pool": "web", "size": 0}', "$.size"),
        ("/api/scale", b'{"pool": "web", "size": 4, "delta": 1}', "both `size` and `delta`"),
        ("/api/recycle", b'{"pool": "web", "slto": 2}', "no field 'slto': there is pool, slot"),
        ("/api/recycle", b'{"pool": ""}', "$.pool"),
        ("/api/reload", b'{"pool": "web"}', "no field 'pool'"),
        ("/api/log_level", b'{"for_s": 60}', "`for_s` is given without `level`"),
        ("/api/log_level", b'{"level": "loud"}', "$.level"),
        ("/api/dump", b"{}", "`worker`"),
    ],
)
@asynchronous
async def test_a_body_that_says_something_else_reaches_nobody(path: str, body: bytes, said: str) -> None:
    master = FakeMaster()
    fields = {"content-type": "application/json", "authorization": "Bearer secret"}
    async with serving(master) as admin:
        status, code, message = error(await Client(admin).ask("POST", path, fields, body))
        assert (status, code) == (400, "malformed")
        assert said in message
        assert master.count(path.removeprefix("/api/")) == 0


@asynchronous
async def test_how_a_reload_went_is_in_its_answer() -> None:
    master = FakeMaster(silent={"reload"})
    async with serving(master) as admin:
        for ok in (True, False):
            asked = Client(admin).begin(
                "POST",
                "/api/reload",
                {"content-type": "application/json", "authorization": "Bearer secret"},
            )
            number = (await master.asked("reload", 1 if ok else 2)).number
            master.say(protocol.encode_progress(Progress(number, "web", "boot", "ok", "0.4 s")))
            steps = [{"pool": "web", "phase": "boot", "outcome": "ok", "detail": "0.4 s"}]
            if ok:
                master.answer(number, {"text": "adopted generation 6", "generation": 6})
                reply = await asked.reply()
                assert reply.json == {
                    "ok": True,
                    "text": "adopted generation 6",
                    "generation": 6,
                    "progress": steps,
                }
            else:
                master.fail(number, Failure(1, "generation 6 was not adopted", {"traceback": "..."}))
                reply = await asked.reply()
                assert (reply.status, reply.json) == (
                    409,
                    {
                        "error": {
                            "code": "refused",
                            "message": "generation 6 was not adopted",
                            "data": {"traceback": "..."},
                            "progress": steps,
                        }
                    },
                )


@asynchronous
async def test_progress_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PROGRESS_MAX", 10)
    master = FakeMaster(silent={"reload"})
    async with serving(master) as admin:
        asked = asyncio.ensure_future(Client(admin).post("/api/reload"))
        number = (await master.asked("reload")).number
        for _ in range(50):
            master.say(protocol.encode_progress(Progress(number, "web", "roll", "")))
        master.answer(number, {})
        assert len((await asked).json["progress"]) == 10


@asynchronous
async def test_who_asks_for_a_reload_and_goes_leaves_it_to_the_master() -> None:
    """The place in the link is kept, that of the HTTP client is free."""
    master = FakeMaster(silent={"reload"})
    async with serving(master) as admin:
        fields = {"content-type": "application/json", "authorization": "Bearer secret"}
        for times in range(1, 3):
            asked = Client(admin).begin("POST", "/api/reload", fields)
            await master.asked("reload", times)
            asked.leave()
            await asked.task
            assert asked.messages == []
        assert [each.method for each in master.open.values()].count("reload") == 2
        third = asyncio.ensure_future(Client(admin).post("/api/reload"))
        assert (await Client(admin).get("/api/status")).status == 200
        assert master.count("reload") == 2, "two are open at the master, and no more"
        master.answer_all("reload")
        assert (await third).status == 200


@pytest.mark.parametrize(
    ("failure", "status", "code"),
    [
        (REFUSED, 409, "refused"),
        (Failure(protocol.UNAVAILABLE, "8 requests wait already"), 503, "busy"),
        (Failure(protocol.WRONG_PARAMETERS, "Expected `int`"), 400, "malformed"),
        (Failure(protocol.NO_SUCH_METHOD, "no method 'recycle'"), 501, "unknown"),
        (Failure(protocol.FORBIDDEN, "not allowed"), 502, "odd_answer"),
        (Failure(-1, "?"), 502, "odd_answer"),
    ],
)
@asynchronous
async def test_a_refusal_has_its_status(failure: Failure, status: int, code: str) -> None:
    async with serving(FakeMaster({"recycle": lambda params: failure})) as admin:
        reply = await Client(admin).post("/api/recycle", {"pool": "x"})
        assert error(reply) == (status, code, failure.message)
        assert reply.json["error"].get("data", {}) == failure.data
        assert ("retry-after" in reply.fields) == (status == 503)


@asynchronous
async def test_a_master_that_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "READ_S", 0.05)
    monkeypatch.setattr(module, "CHANGE_S", 0.05)
    master = FakeMaster(silent={"status", "metrics", "scale", "requests"})
    async with serving(master) as admin:
        client = Client(admin)
        for path in ("/api/status", "/api/metrics", "/api/requests", "/api/requests?worker=web"):
            status, code, message = error(await client.get(path))
            assert (status, code, "did not answer" in message) == (504, "silent", True)
        assert error(await client.post("/api/scale", {"pool": "web", "size": 1})) == (
            504,
            "silent",
            "the master did not answer scale within 0.05 s",
        )


@asynchronous
async def test_a_master_that_has_gone() -> None:
    master = FakeMaster()
    async with serving(master) as admin:
        await master.end()
        await admin.master_gone.wait()
        client = Client(admin)
        for reply in (await client.get("/api/status"), await client.post("/api/reload")):
            assert error(reply) == (503, "gone", "the master has closed the connection")
        metrics = await client.get("/metrics")
        assert (metrics.status, metrics.text) == (503, "the master has closed the connection\n")
        assert (await client.get("/api/history")).json == {"seconds": 5, "samples": []}


@asynchronous
async def test_figures_that_are_not_understood() -> None:
    async with serving(FakeMaster({"metrics": lambda params: {"name": 5}})) as admin:
        status, code, message = error(await Client(admin).get("/api/metrics"))
        assert (status, code, "$.name" in message) == (502, "odd_answer", True)
        assert (await Client(admin).get("/metrics")).status == 502


@asynchronous
async def test_a_status_that_is_huge() -> None:
    document = STATUS | {"pools": [{"name": "x" * 1000}] * 5000}
    async with serving(FakeMaster({"status": lambda params: document})) as admin:
        assert len((await Client(admin).get("/api/status")).json["pools"]) == 5000


@asynchronous
async def test_the_history_has_samples_as_they_come() -> None:
    async with serving(FakeMaster()) as admin:
        sampler = admin._feed.sampler
        await eventually(lambda: sampler._last_kept, "the first figures")
        clock = [sampler._last_kept.monotonic]  # type: ignore[union-attr]
        sampler._clock = lambda: clock[0]
        for _ in range(3):
            clock[0] += 5
            sampler.take(await admin._master.metrics.get(30))
        history = (await Client(admin).get("/api/history")).json
        assert history["seconds"] == 5
        assert [each["pools"]["web"]["requests_per_s"] for each in history["samples"]] == [0.0, 0.0, 0.0]
