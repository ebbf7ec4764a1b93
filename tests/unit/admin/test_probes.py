"""Probes: what they ask, when they fail, and that a master which stands still fails them soon."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gwctl.admin import app as module
from tests.support.admin_client import ELSEWHERE, LOOPBACK, UNIX, Client, Server, serving
from tests.support.admin_master import HEALTH, FakeMaster, asynchronous


def health(**more: Any) -> dict[str, Any]:
    """That of a master whose pool web is as ``more`` says."""
    phase = more.pop("phase", "serving")
    web = {"size": 4, "ready": 4, "ready_min": 2, "started": True} | more
    return {"phase": phase, "generation": 5, "pools": {"web": web, "api": HEALTH["pools"]["api"]}}


async def asked(path: str, answer: dict[str, Any]) -> tuple[int, str]:
    async with serving(FakeMaster({"health": lambda params: answer})) as admin:
        reply = await Client(admin).get(path)
        assert reply.fields["content-type"] == "text/plain; charset=utf-8"
        return reply.status, reply.text


@pytest.mark.parametrize(
    ("path", "answer", "status", "text"),
    [
        ("/livez", health(), 200, "ok\n"),
        ("/livez", health(phase="stopping", ready=0), 200, "ok\n"),
        ("/readyz", health(), 200, "ok\n"),
        ("/readyz", health(ready=2), 200, "ok\n"),
        ("/readyz", health(ready=1), 503, "web: 1 of 4 workers ready, 2 needed\n"),
        ("/readyz", health(ready=0, size=1, ready_min=1), 503, "web: 0 of 1 worker ready, 1 needed\n"),
        ("/readyz", health(phase="stopping"), 503, "master: it is stopping\n"),
        (
            "/readyz",
            health(phase="stopping", ready=0),
            503,
            "master: it is stopping\nweb: 0 of 4 workers ready, 2 needed\n",
        ),
        ("/readyz", health(phase="reloading"), 200, "ok\n"),
        ("/readyz", {"phase": "serving", "generation": 1, "pools": {}}, 200, "ok\n"),
        ("/readyz/web", health(), 200, "ok\n"),
        ("/readyz/web", health(ready=1), 503, "web: 1 of 4 workers ready, 2 needed\n"),
        ("/readyz/api", health(ready=1), 200, "ok\n"),
        ("/readyz/api", health(phase="stopping"), 503, "master: it is stopping\n"),
        ("/readyz/shop", health(), 404, "no pool 'shop': there is web, api\n"),
        (
            "/readyz/shop",
            {"phase": "serving", "generation": 1, "pools": {}},
            404,
            "no pool 'shop': there is none\n",
        ),
        ("/startupz", health(), 200, "ok\n"),
        ("/startupz", health(started=False), 503, "web: has not been ready yet\n"),
        ("/startupz", health(ready=0, phase="stopping"), 200, "ok\n"),
        (
            "/readyz?verbose",
            health(ready=1),
            503,
            """[+] master: answers, serving, generation 5
[-] web: 1 of 4 workers ready, 2 needed
[+] api: 2 of 2 workers ready, 2 needed
readyz failed
""",
        ),
        (
            "/startupz?verbose=1",
            health(),
            200,
            """[+] master: answers, serving, generation 5
[+] web: has been ready
[+] api: has been ready
startupz ok
""",
        ),
        ("/livez?verbose", health(), 200, "[+] master: answers, serving, generation 5\nlivez ok\n"),
    ],
)
@asynchronous
async def test_answers(path: str, answer: dict[str, Any], status: int, text: str) -> None:
    assert await asked(path, answer) == (status, text)


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/readyz/web", "/startupz"])
@asynchronous
async def test_an_answer_that_is_not_understood_fails_all_of_them(path: str) -> None:
    for answer in (
        {},
        {"phase": 5, "generation": 1, "pools": {}},
        {"phase": "serving", "generation": 1, "pools": {"web": {}}},
    ):
        status, text = await asked(path, answer)
        assert (status, text.startswith("master: the master's answer is not understood")) == (503, True)


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/readyz/web", "/startupz"])
@asynchronous
async def test_a_master_that_stands_still_fails_all_of_them_soon(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PROBE_S", 0.05)
    master = FakeMaster(silent={"health"})
    async with serving(master) as admin:
        replies = await asyncio.gather(*(Client(admin).get(path) for _ in range(20)))
        assert {(each.status, each.text) for each in replies} == {
            (503, "master: the master did not answer health within 0.05 s\n")
        }
        assert master.count("health") == 1, "one question for all of them"
        master.answer_all("health")
        assert (await Client(admin).get(path)).status == 200, "it goes on, and so do the probes"


def test_a_probe_waits_for_two_seconds() -> None:
    """Kubernetes' own default is one; whoever sets it higher than two has an answer and no timeout."""
    assert module.PROBE_S == 2.0


@asynchronous
async def test_a_master_that_has_gone_fails_them_at_once() -> None:
    master = FakeMaster()
    async with serving(master) as admin:
        await master.end()
        await admin.master_gone.wait()
        for path in ("/livez", "/readyz", "/readyz/web", "/startupz"):
            reply = await Client(admin).get(path)
            assert (reply.status, reply.text) == (503, "master: the master has closed the connection\n")


@pytest.mark.parametrize("server", [LOOPBACK, ELSEWHERE, UNIX, None])
@asynchronous
async def test_they_are_open_to_all(server: Server) -> None:
    """Also to a Host that is a name, as that of a service in a cluster."""
    async with serving(FakeMaster()) as admin:
        for path in ("/livez", "/readyz", "/readyz/web", "/startupz"):
            reply = await Client(admin, server, "10.0.0.9").get(path, host="shop.example")
            assert reply.status == 200


@asynchronous
async def test_pools_are_named_as_urls_have_them() -> None:
    pools = {"a/b c": HEALTH["pools"]["web"], "ä": HEALTH["pools"]["web"]}
    master = FakeMaster({"health": lambda params: HEALTH | {"pools": pools}})
    async with serving(master) as admin:
        client = Client(admin)
        assert (await client.get("/readyz/a%2Fb%20c")).status == 200
        assert (await client.get("/readyz/%C3%A4")).status == 200
        unknown = await client.get("/readyz/%FF%0A")
        assert (unknown.status, unknown.text) == (404, "no pool '\ufffd\\n': there is a/b c, ä\n")
        assert (await client.get("/readyz/a/b%20c")).status == 404
        assert (await client.get("/readyz/")).status == 404


@asynchronous
async def test_a_head_has_no_body_and_its_length() -> None:
    async with serving(FakeMaster()) as admin:
        reply = await Client(admin).ask("HEAD", "/livez")
        assert (reply.status, reply.body, reply.fields["content-length"]) == (200, b"", "3")


@asynchronous
async def test_so_many_wait_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PROBES_MAX", 4)
    master = FakeMaster(silent={"health"})
    async with serving(master) as admin:
        waiting = [Client(admin).begin("GET", "/livez") for _ in range(4)]
        await master.asked("health")
        reply = await Client(admin).get("/livez")
        assert (reply.status, reply.text, reply.fields["retry-after"]) == (
            503,
            "4 probes are open already\n",
            "1",
        )
        assert (await Client(admin).get("/api/history")).status == 200, "only probes have to wait"
        master.answer_all("health")
        assert {(await each.reply()).status for each in waiting} == {200}
        assert (await Client(admin).get("/livez")).status == 200
