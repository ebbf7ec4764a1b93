"""Requests and answers: bodies are bounded, queries are known, and who has gone holds nothing up."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gwctl.admin import http as module
from gwctl.admin.http import BODY_BYTES_MAX, ClientGoneError, RefusedError, Request, refusal
from tests.support.admin_client import Client, scope, serving
from tests.support.admin_master import FakeMaster, asynchronous

JSON = {"content-type": "application/json", "authorization": "Bearer secret"}


def request(target: str = "/", **more: Any) -> Request:
    return Request(scope("GET", target, None, None) | more, None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("more", "path"),
    [
        ({"raw_path": b"/readyz/a%2Fb"}, ("readyz", "a/b")),
        ({"raw_path": b"/readyz/a%2Fb/"}, ("readyz", "a/b", "")),
        ({"raw_path": b"/"}, ("",)),
        ({"raw_path": b"//"}, ("", "")),
        ({"raw_path": b"*"}, ("*",)),
        ({"raw_path": b"/%2e%2e/x"}, ("..", "x")),
        ({"raw_path": None, "path": "/readyz/ä b"}, ("readyz", "ä b")),
    ],
)
def test_a_path_is_decoded_part_by_part(more: Any, path: Any) -> None:
    assert request(**more).path == path


def test_a_query_has_fields_that_are_known() -> None:
    asked = request("/?with=a,b&with=c&empty&last=%31+")
    assert asked.query("with", "empty", "last") == {"with": ["a,b", "c"], "empty": [""], "last": ["1 "]}
    with pytest.raises(RefusedError, match="no field 'with' in the query: there is last"):
        asked.query("last")
    with pytest.raises(RefusedError, match="there is none"):
        asked.query()
    assert request("/").query() == {}


def test_an_error_is_text_or_json() -> None:
    error = RefusedError(409, "refused", "no: \udcff\n", (("x", "y"),), {"data": {"a": 1}})
    as_text, as_json = refusal(error, as_json=False), refusal(error, as_json=True)
    assert as_text.body == b"no: \\udcff\n\n"
    assert as_json.body == b'{"error":{"code":"refused","message":"no: \\\\udcff\\n","data":{"a":1}}}'
    assert as_text.fields == as_json.fields == (("x", "y"),)


@asynchronous
async def test_a_body_comes_in_parts_and_is_bounded() -> None:
    async with serving(FakeMaster()) as admin:
        client = Client(admin)
        padding = b" " * (BODY_BYTES_MAX - 2)
        whole = client.begin("POST", "/api/reload", JSON, (b"{", padding, b"}"))
        assert (await whole.reply()).status == 200
        for parts in ((b"{", padding, b" }"), (b"x" * 100_000,)):
            reply = await client.begin("POST", "/api/reload", JSON, parts).reply()
            assert (reply.status, reply.json["error"]["code"]) == (413, "too_large")


@asynchronous
async def test_a_body_without_end_is_read_as_far_as_it_may() -> None:
    """Its client is told before it has sent all."""
    async with serving(FakeMaster()) as admin:
        endless = Client(admin).begin(
            "POST", "/api/reload", JSON, (b"x" * 40_000, b"x" * 40_000), whole=False
        )
        assert (await endless.reply()).status == 413


@asynchronous
async def test_a_body_that_does_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BODY_S", 0.02)
    master = FakeMaster()
    async with serving(master) as admin:
        reply = await Client(admin).begin("POST", "/api/reload", JSON, (b"{",), whole=False).reply()
        assert (reply.status, reply.json["error"]["code"]) == (408, "slow")
        assert master.count("reload") == 0


@asynchronous
async def test_who_goes_in_mid_body_is_sent_nothing() -> None:
    master = FakeMaster()
    async with serving(master) as admin:
        asked = Client(admin).begin("POST", "/api/reload", JSON, (b"{",), whole=False)
        asked.leave()
        await asked.task
        assert asked.messages == []
        assert master.count("reload") == 0


@asynchronous
async def test_work_ends_when_its_client_does() -> None:
    left = asyncio.Event()

    async def receive() -> dict[str, Any]:
        await left.wait()
        return {"type": "http.disconnect"}

    async def work(result: asyncio.Future[int]) -> int:
        return await result

    asked = Request(scope("POST", "/", None, None), receive)
    loop = asyncio.get_running_loop()
    done, failed, endless = loop.create_future(), loop.create_future(), loop.create_future()
    done.set_result(1)
    failed.set_exception(RefusedError(409, "refused", "no"))
    assert await asked.unless_gone(work(done)) == 1
    with pytest.raises(RefusedError):
        await asked.unless_gone(work(failed))
    task = asyncio.ensure_future(asked.unless_gone(work(endless)))
    await asyncio.sleep(0)
    left.set()
    with pytest.raises(ClientGoneError):
        await task
    assert endless.cancelled()
