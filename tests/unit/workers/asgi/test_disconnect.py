"""http.disconnect: whatever the application does when its client goes, and however that goes."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from tests.support.engine import Client, Engine
from tests.support.raw import reset_at_close
from tests.support.wait import until

pytestmark = pytest.mark.usefixtures("asgi_under")

START = {"type": "http.response.start", "status": 200, "headers": []}
DISCONNECT = {"type": "http.disconnect"}
PROMPT_S = 5.0


def body(data: bytes, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": more}


def leave(client: Client, how: str) -> None:
    if how == "shuts its side":
        client.finish_sending()
        return
    if how == "resets":
        reset_at_close(client.sock)
    client.sock.close()


async def waiting(receive, send, told):
    told.append(await receive())


async def in_mid_stream(receive, send, told):
    await send(START)
    await send(body(b"begun", more=True))
    told.append(await receive())


async def streaming_with_a_task_that_listens(receive, send, told):
    async def listen():
        told.append(await receive())

    listener = asyncio.ensure_future(listen())
    await send(START)
    while not told:
        await send(body(b"tick", more=True))
        await asyncio.sleep(0.005)
    await listener


async def sleeping_with_a_task_that_listens(receive, send, told):
    listener = asyncio.ensure_future(receive())
    sleep = asyncio.ensure_future(asyncio.sleep(60))
    await asyncio.wait([listener, sleep], return_when=asyncio.FIRST_COMPLETED)
    sleep.cancel()
    told.append(await listener)


DOING = (waiting, in_mid_stream, streaming_with_a_task_that_listens, sleeping_with_a_task_that_listens)


@pytest.mark.parametrize("how", ["closes", "resets", "shuts its side"])
@pytest.mark.parametrize("doing", DOING, ids=lambda doing: doing.__name__)
@pytest.mark.parametrize("upload", [b"", b"Content-Length: 1000\r\n", b"Transfer-Encoding: chunked\r\n"])
def test_a_disconnect_is_told_at_once_and_is_no_error(how: str, doing: Any, upload: bytes) -> None:
    told: list[Any] = []
    started: list[Any] = []

    async def application(scope, receive, send):
        if not upload:
            assert await receive() == {"type": "http.request", "body": b"", "more_body": False}
        started.append(1)
        await doing(receive, send, told)

    with Engine(application, "asgi") as engine:
        client = engine.connect()
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\n" + upload + b"\r\n")
        until(lambda: started, "the application to start")
        if doing in {in_mid_stream, streaming_with_a_task_that_listens}:
            client.head()
        begin = time.monotonic()
        leave(client, how)
        until(lambda: told, "http.disconnect")
        assert time.monotonic() - begin < PROMPT_S
        client.sock.close()
        until(lambda: not engine.call(lambda: engine.server.active_requests), "the task to end")
        assert engine.log == ""
    assert told == [DISCONNECT]
