"""The other kind of application: WSGI under asgi, ASGI under sync and threads."""

from __future__ import annotations

import http.client
import signal
import socket
import time

import pytest

from tests.support.apps import write_shop
from tests.support.wait import until
from tests.support.worker import StubWorker

WSGI = """
def application(environ, start_response):
    path = environ["PATH_INFO"]
    start_response("200 OK", [("Content-Type", "text/plain")])
    if path == "/bytes":
        return b"bare"
    if path == "/str":
        return iter(["text"])
    if path == "/none":
        return None
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    return [str(len(body)).encode()]
"""

ASGI = """
async def application(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError
    if scope["path"] == "/raise":
        raise ValueError("deliberate")
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    while scope["path"] == "/forever":
        await send({"type": "http.response.body", "body": b"x" * 10000, "more_body": True})
        if (await receive())["type"] == "http.disconnect":
            open("told", "w").close()
            return
    await send({"type": "http.response.body", "body": scope["path"].encode()})
"""


def test_mistakes_of_wsgi_applications_are_named_under_asgi_too(tmp_path):
    with StubWorker(write_shop(tmp_path, WSGI), "shop", worker="asgi").serving() as worker:
        assert worker.get("/bytes") == worker.get("/bytes") == (200, "bare")
        assert worker.stderr.count("PEP 3333 asks for an iterable of bytes, such as [body]") == 1
        for path, text in (
            ("/str", "the application yielded str"),
            ("/none", "the application returned None"),
        ):
            assert worker.get(path)[0] == 500
            worker.logged(text)
        assert worker.get("/") == (200, "0")


def test_a_body_in_chunks_gets_a_length(tmp_path):
    with StubWorker(write_shop(tmp_path, WSGI), "shop", worker="asgi").serving() as worker:
        connection = http.client.HTTPConnection("127.0.0.1", worker.port, timeout=20)
        connection.request(
            "POST",
            "/",
            body=iter([b"x" * 100_000] * 30),
            encode_chunked=True,
            headers={"Transfer-Encoding": "chunked"},
        )
        assert connection.getresponse().read() == b"3000000"
        connection.close()


@pytest.mark.parametrize("worker_class", ["sync", "threads"])
def test_an_asgi_application_that_raises(tmp_path, worker_class):
    with StubWorker(write_shop(tmp_path, ASGI), "shop", worker=worker_class).serving() as worker:
        assert worker.get("/raise")[0] == 500
        text = worker.logged("ValueError: deliberate")
        assert f'File "{tmp_path}/shop.py", line 6, in application' in text
        assert "gwctl/workers" not in text
        assert worker.get("/fine") == (200, "/fine")


@pytest.mark.parametrize("worker_class", ["sync", "threads"])
def test_an_asgi_application_is_told_when_the_client_has_gone(tmp_path, worker_class):
    with StubWorker(write_shop(tmp_path, ASGI), "shop", worker=worker_class).serving() as worker:
        with socket.create_connection(("127.0.0.1", worker.port), timeout=20) as client:
            client.sendall(b"GET /forever HTTP/1.1\r\nHost: x\r\n\r\n")
            assert client.recv(1000).startswith(b"HTTP/1.1 200")
        until((tmp_path / "told").exists, "the application to be told")
        assert worker.get("/fine") == (200, "/fine")


ENDING = """
import asyncio
def note(what):
    with open("notes", "a") as file:
        file.write(what + "\\n")
async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        note("shutdown")
        await send({"type": "lifespan.shutdown.complete"})
        return
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": b"done"})
    try:
        await asyncio.sleep(60 if scope["path"] == "/long" else 0.5)
        note("finished")
    except asyncio.CancelledError:
        note("cancelled")
        raise
"""


@pytest.mark.parametrize("worker_class", ["sync", "threads"])
def test_work_behind_a_response_is_finished_or_cancelled_at_the_end(tmp_path, worker_class):
    """Within drain_timeout_s; then comes the lifespan's shutdown."""
    timeouts = {"drain_timeout_s": 4, "linger_s": 0.05}
    with StubWorker(write_shop(tmp_path, ENDING), "shop", worker=worker_class, timeouts=timeouts) as worker:
        worker.serving()
        assert worker.get("/long") == worker.get("/") == (200, "done")
        worker.signal(signal.SIGTERM)
        assert worker.exit_status() == 0
    assert (tmp_path / "notes").read_text() == "finished\ncancelled\nshutdown\n"


@pytest.mark.parametrize("worker_class", ["sync", "threads"])
def test_a_quick_stop_leaves_a_request_that_waits(tmp_path, worker_class):
    """Within the two seconds of a farewell: its task is cancelled, the lifespan shut down."""
    source = ENDING.replace(
        '    await send({"type": "http.response.start"',
        '    open("begun", "w").close()\n    await WAIT()\n    await send({"type": "http.response.start"',
        1,
    )
    source = source.replace("async def application", WAITS + "async def application", 1)
    folder = write_shop(tmp_path, source)
    begun, notes = folder / "begun", folder / "notes"

    def quits_in_time() -> bool:
        """False also if it was the machine that took the two seconds: then not all was done."""
        begun.unlink(missing_ok=True)
        notes.unlink(missing_ok=True)
        with StubWorker(folder, "shop", worker=worker_class) as worker:
            worker.serving()
            with socket.create_connection(("127.0.0.1", worker.port), timeout=20) as client:
                client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                until(begun.exists, "the request to begin")
                begin = time.monotonic()
                worker.signal(signal.SIGQUIT)
                assert worker.exit_status() == 0
                return time.monotonic() - begin < 2.0

    assert any(quits_in_time() for _ in range(3))
    assert notes.read_text() == "cancelled while it waited\nshutdown\n"


WAITS = """
async def WAIT():
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        note("cancelled while it waited")
        raise
"""
