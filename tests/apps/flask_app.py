"""Flask, with an async view."""

import asyncio
import time

from common import CHUNKS, Deliberate, Digest, WsgiMiddleware, raising_stream, seconds
from flask import Flask, Response, request

app = Flask(__name__)


@app.get("/")
def hello():
    return "hello"


@app.get("/stream")
def stream():
    return Response(iter(CHUNKS), mimetype="text/plain")


@app.post("/upload")
def upload():
    return Digest().read(request.stream.read).summary


@app.get("/raise")
def raise_before():
    raise Deliberate("before the response")


@app.get("/raise-mid")
def raise_mid():
    return Response(raising_stream(), mimetype="text/plain")


@app.get("/sleep")
def sleep():
    time.sleep(seconds(request.query_string.decode()))
    return "slept"


@app.get("/async")
async def async_view():
    await asyncio.sleep(0.001)
    return "async"


app.wsgi_app = WsgiMiddleware(app.wsgi_app)
