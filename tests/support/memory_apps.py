"""Pieces of applications for tests of exchanges: the same things said in both interfaces."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

Fields = list[tuple[str, str]]


class Gate:
    """Where an application waits, whatever it is, until the test lets it on. ``reached``: it is there."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self._open = threading.Event()

    def open(self) -> None:
        self._open.set()

    def wait(self) -> None:
        self.reached.set()
        assert self._open.wait(60)

    async def passed(self) -> None:
        self.reached.set()
        while not self._open.is_set():  # noqa: ASYNC110 - the test opens it in a thread of its own
            await asyncio.sleep(0.002)


def wsgi_answer(status: str, fields: Fields, *blocks: bytes) -> Callable[..., Any]:
    """An application that answers so, whatever it is asked; one block as a list, others from a generator."""

    def application(_environ: Any, start_response: Any) -> Any:
        start_response(status, fields)
        return list(blocks) if len(blocks) == 1 else (block for block in blocks)

    return application


def asgi_answer(status: int, fields: Fields, *blocks: bytes) -> Callable[..., Any]:
    async def application(_scope: Any, _receive: Any, send: Any) -> None:
        await send(asgi_start(status, *fields))
        for number, block in enumerate(blocks, 1):
            await send({"type": "http.response.body", "body": block, "more_body": number < len(blocks)})

    return application


def asgi_start(status: int, *fields: tuple[str, str]) -> dict[str, Any]:
    headers = [(name.lower().encode(), value.encode()) for name, value in fields]
    return {"type": "http.response.start", "status": status, "headers": headers}


def asgi_block(body: bytes, *, more: bool = True) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": more}


def wsgi_echo(environ: Any, start_response: Any) -> Any:
    """All of the body, once it is there."""
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


async def asgi_echo(_scope: Any, receive: Any, send: Any) -> None:
    body = b""
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message["body"]
        more = message["more_body"]
    await send(asgi_start(200, ("content-length", str(len(body)))))
    await send(asgi_block(body, more=False))
