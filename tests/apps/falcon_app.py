"""Falcon in both forms: ``wsgi`` and ``asgi``."""

import asyncio
import time

import falcon
import falcon.asgi
from common import (
    CHUNKS,
    HEADER,
    HEADER_VALUE,
    Deliberate,
    Digest,
    async_stream,
    raising_async_stream,
    raising_stream,
    seconds,
)


class Middleware:
    """Adds the header that the tests look for."""

    def process_response(self, req, resp, resource, req_succeeded):
        resp.set_header(HEADER, HEADER_VALUE)

    async def process_response_async(self, req, resp, resource, req_succeeded):
        resp.set_header(HEADER, HEADER_VALUE)


class Resource:
    """One route: a function to call for GET or POST."""

    def __init__(self, handler) -> None:
        self.on_get = self.on_post = handler


def wsgi_handlers():
    def hello(req, resp):
        resp.text = "hello"

    def stream(req, resp):
        resp.stream = iter(CHUNKS)

    def upload(req, resp):
        resp.media = Digest().read(req.bounded_stream.read).summary

    def raise_before(req, resp):
        raise Deliberate("before the response")

    def raise_mid(req, resp):
        resp.stream = raising_stream()

    def sleep(req, resp):
        time.sleep(seconds(req.query_string))
        resp.text = "slept"

    return hello, stream, upload, raise_before, raise_mid, sleep


def asgi_handlers():
    async def hello(req, resp):
        resp.text = "hello"

    async def stream(req, resp):
        resp.stream = async_stream()

    async def upload(req, resp):
        digest = Digest()
        async for data in req.stream:
            digest.add(data)
        resp.media = digest.summary

    async def raise_before(req, resp):
        raise Deliberate("before the response")

    async def raise_mid(req, resp):
        resp.stream = raising_async_stream()

    async def sleep(req, resp):
        await asyncio.sleep(seconds(req.query_string))
        resp.text = "slept"

    return hello, stream, upload, raise_before, raise_mid, sleep


class WebSocketResource:
    """Echoes until the client goes."""

    async def on_websocket(self, req, ws):
        await ws.accept()
        try:
            while True:
                await ws.send_text(f"echo: {await ws.receive_text()}")
        except falcon.WebSocketDisconnected:
            return


PATHS = ("/", "/stream", "/upload", "/raise", "/raise-mid", "/sleep")

wsgi = falcon.App(middleware=[Middleware()])
asgi = falcon.asgi.App(middleware=[Middleware()])
for application, handlers in ((wsgi, wsgi_handlers()), (asgi, asgi_handlers())):
    for route, handler in zip(PATHS, handlers, strict=True):
        application.add_route(route, Resource(handler))
asgi.add_route("/ws", WebSocketResource())
