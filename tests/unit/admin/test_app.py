"""The application as a whole: its routes, its life, and the end of its master."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from gwctl.admin import app as module
from gwctl.admin import scrape
from gwctl.admin.app import Admin, Besides
from tests.support.admin_client import ELSEWHERE, Client, living, serving
from tests.support.admin_master import METRICS, FakeMaster, asynchronous
from tests.support.multiproc import count

GETS = [
    "/",
    "/livez",
    "/readyz",
    "/readyz/web",
    "/startupz",
    "/metrics",
    "/api/status",
    "/api/metrics",
    "/api/requests",
    "/api/history",
    "/api/events",
    "/api/session",
]
POSTS = [
    "/api/reload",
    "/api/rollback",
    "/api/recycle",
    "/api/scale",
    "/api/log_level",
    "/api/dump",
    "/api/profile",
]


@asynchronous
async def test_what_can_be_read_can_be_asked_the_head_of() -> None:
    async with serving(FakeMaster()) as admin:
        client = Client(admin)
        for path in GETS:
            get, head = await client.get(path), await client.ask("HEAD", path)
            assert (get.status, head.status, head.body) == (200, 200, b"")
            assert {*head.fields} == {*get.fields}
            assert get.fields["content-length"] == str(len(get.body))
            assert (get.fields["cache-control"], get.fields["x-content-type-options"]) == (
                "no-store",
                "nosniff",
            )


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "get", "X"])
@asynchronous
async def test_a_method_that_is_not_for_it(method: str) -> None:
    async with serving(FakeMaster()) as admin:
        for path in GETS:
            reply = await Client(admin).ask(method, path)
            assert (reply.status, reply.fields["allow"]) == (405, "GET, HEAD")
        stream = await Client(admin).ask(method, "/events")
        assert (stream.status, stream.fields["allow"]) == (405, "GET")


@asynchronous
async def test_what_changes_takes_post_alone() -> None:
    master = FakeMaster()
    async with serving(master) as admin:
        for path in POSTS:
            for method in ("GET", "HEAD", "PUT"):
                reply = await Client(admin).ask(method, path, {"authorization": "Bearer secret"})
                assert (reply.status, reply.fields["allow"]) == (405, "POST")
        assert not [each for each in master.requests if each.method in {"reload", "scale", "recycle"}]
        stream = await Client(admin).ask("HEAD", "/events")
        assert (stream.status, stream.fields["allow"], stream.body) == (405, "GET", b"")


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/healthz", "/livez, /readyz, /readyz/POOL, /startupz, /metrics"),
        ("/metrics/", "/metrics"),
        ("//", "/livez"),
        ("/api", "/api/status"),
        ("/api/stop", "/api/reload"),
        ("/api/status/", "/api/status"),
        ("/api/../api/status", "/api/status"),
        ("/%00%0d%0aSet-Cookie:x", "'/\\x00\\r\\nSet-Cookie:x'"),
    ],
)
@asynchronous
async def test_a_path_that_there_is_not_is_told_what_there_is(path: str, says: str) -> None:
    async with serving(FakeMaster()) as admin:
        for method in ("GET", "POST"):
            reply = await Client(admin).ask(method, path)
            as_json = path.startswith("/api")
            assert (reply.status, reply.fields["content-type"].startswith("application/json")) == (
                404,
                as_json,
            )
            assert says in (reply.json["error"]["message"] if as_json else reply.text)
            assert "/api/stop," not in reply.text


@asynchronous
async def test_a_stop_or_an_upgrade_is_not_for_whoever_comes_over_http() -> None:
    async with serving(FakeMaster()) as admin:
        for path in ("/api/stop", "/api/upgrade"):
            assert (await Client(admin).post(path, {})).status == 404


# ---- /metrics


@asynchronous
async def test_metrics_come_in_the_format_that_is_asked_for() -> None:
    async with serving(FakeMaster()) as admin:
        client = Client(admin)
        text = await client.get("/metrics")
        assert (text.status, text.fields["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
        other = await client.get("/metrics?format=x", accept="application/openmetrics-text;version=1.0.0")
        assert other.fields["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
        assert other.text.endswith("# EOF\n")
        for reply, read in ((text, read_text), (other, read_openmetrics)):
            assert reply.fields["vary"] == "accept"
            found = {each.name: each for each in read(reply.text)}
            assert found["gwctl_pool_size"].samples[0].value == 4


@asynchronous
async def test_many_scrapes_at_once_are_one_question() -> None:
    master = FakeMaster(silent={"metrics"})
    async with serving(master) as admin:
        before = (await master.asked("metrics")).number
        waiting = [Client(admin).begin("GET", "/metrics") for _ in range(module.SCRAPES_MAX)]
        await asyncio.sleep(0)
        refused = await Client(admin).get("/metrics")
        assert (refused.status, refused.text) == (503, "16 scrapes are open already\n")
        master.answer_all("metrics")
        assert {(await each.reply()).status for each in waiting} == {200}
        assert (
            len([each for each in master.requests if each.method == "metrics" and each.number != before]) == 1
        )


@asynchronous
async def test_a_silent_master_is_no_exposition(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scrape, "READ_S", 0.02)
    async with serving(FakeMaster(silent={"metrics"})) as admin:
        reply = await Client(admin).get("/metrics")
        assert (reply.status, reply.text) == (504, "the master did not answer metrics within 0.02 s\n")


# ---- limits


@asynchronous
async def test_one_who_does_not_take_an_answer_keeps_one_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "API_MAX", 4)
    async with serving(FakeMaster()) as admin:
        slow = [Client(admin).begin("GET", "/api/status") for _ in range(4)]
        for each in slow:
            each.reads.clear()
        await asyncio.sleep(0)
        assert (await Client(admin).get("/api/history")).status == 503
        assert (await Client(admin).get("/livez")).status == 200
        assert (await Client(admin).get("/metrics")).status == 200
        for each in slow:
            each.reads.set()
        assert {(await each.reply()).status for each in slow} == {200}
        assert (await Client(admin).get("/api/history")).status == 200


@asynchronous
async def test_one_from_afar_takes_half_of_the_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "API_MAX", 4)
    master = FakeMaster(silent={"status"})
    async with serving(master) as admin:
        token = {"authorization": "Bearer secret"}
        greedy, other = (
            Client(admin, ELSEWHERE, "192.0.2.1", token),
            Client(admin, ELSEWHERE, "192.0.2.2", token),
        )
        waiting = [greedy.begin("GET", "/api/status") for _ in range(2)]
        await master.asked("status")
        assert (await greedy.get("/api/history")).status == 503
        assert (await other.get("/api/history")).status == 200
        master.answer_all("status")
        assert {(await each.reply()).status for each in waiting} == {200}


# ---- its life


@asynchronous
async def test_who_runs_it_is_told_once_that_the_master_has_gone() -> None:
    master, told = FakeMaster(), []
    admin = Admin(master.socket(), "", "shop", told.append)
    await master.begin()
    async with living(admin):
        assert (await Client(admin).get("/livez")).status == 200
        await master.end()
        await admin.master_gone.wait()
        assert told == ["the master has closed the connection"]
    assert told == ["the master has closed the connection"]


@asynchronous
async def test_an_end_of_its_own_is_no_end_of_the_master() -> None:
    master, told = FakeMaster(), []
    admin = Admin(master.socket(), "", "shop", told.append)
    await master.begin()
    async with living(admin) as sent:
        pass
    assert [each["type"] for each in sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert told == []
    assert not admin.master_gone.is_set()
    assert (await Client(admin).get("/livez")).status == 503
    await master.end()


@asynchronous
async def test_an_end_while_much_is_under_way_is_quick_and_leaves_nothing() -> None:
    master = FakeMaster(silent={"status", "reload", "requests", "health"})
    async with serving(master) as admin:
        client = Client(admin)
        waiting = [
            client.begin("GET", path) for path in GETS if path.startswith(("/api/", "/metrics", "/livez"))
        ]
        waiting.append(
            client.begin(
                "POST", "/api/reload", {"content-type": "application/json", "authorization": "Bearer secret"}
            )
        )
        waiting.append(client.begin("GET", "/events?with=status,samples,requests"))
        await asyncio.gather(*(master.asked(method) for method in master.silent))
    for each in waiting:
        await each.task
    await asyncio.sleep(0)
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert {each.get_name() for each in left} == set()


@asynchronous
async def test_a_startup_without_a_master_fails() -> None:
    ours, theirs = socket.socketpair()
    ours.close()
    theirs.shutdown(socket.SHUT_RDWR)
    admin = Admin(theirs, "", "shop")
    async with living(admin) as sent:
        assert sent[0]["type"] == "lifespan.startup.complete", "it is connected: its end comes after that"
        await admin.master_gone.wait()
    fd = socket.socket(socket.AF_UNIX)
    fd.close()
    admin = Admin(fd, "", "shop")
    async with living(admin) as sent:
        assert sent[0]["type"] == "lifespan.startup.failed"
        assert sent[0]["message"].startswith("cannot speak to the master: ")


@asynchronous
async def test_websockets_are_turned_away() -> None:
    async with serving(FakeMaster()) as admin:
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "websocket.connect"}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        await admin({"type": "websocket", "path": "/events"}, receive, send)
        assert sent == [{"type": "websocket.close"}]


@asynchronous
async def test_a_protocol_that_is_not_known_is_an_error() -> None:
    async with serving(FakeMaster()) as admin:
        with pytest.raises(ValueError, match="nothing is known of 'mail'"):
            await admin({"type": "mail"}, None, None)  # type: ignore[arg-type]


@asynchronous
async def test_a_master_that_does_not_say_who_lives_has_no_worker_taken_for_dead(tmp_path: Path) -> None:
    """While one of another version goes on with this program's admin process."""
    for folder in (".folded", "web"):
        (tmp_path / folder).mkdir()
    count(tmp_path / "web" / "7", 5.0)
    pool = {"name": "web", "worker": "sync", "size": 1, "ready": 1}
    master = FakeMaster(answers={"metrics": lambda _params: METRICS | {"pools": [pool]}})
    async with serving(master, besides=Besides(str(tmp_path))) as admin:
        reply = await Client(admin).get("/metrics")
        assert b"hits_total" not in reply.body
        assert (tmp_path / "web" / "7").is_dir()
        pool["processes"] = [7]
        told = await Client(admin).get("/metrics")
        assert b'hits_total{pool="web"' in told.body
        assert (tmp_path / "web" / "7").is_dir()
        pool["processes"] = []
        told = await Client(admin).get("/metrics")
        assert b'hits_total{pool="web"' in told.body
        assert not (tmp_path / "web" / "7").exists()
