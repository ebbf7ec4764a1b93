"""Request ids: whose word counts, what is made where nobody's does, and where it then is, in all classes."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from gwctl.config.model.settings import PoolSettings
from gwctl.ipc.exemplars import EXEMPLAR_S, read
from gwctl.workers.observe import request_ids
from gwctl.workers.observe.request_ids import KEY, SAID, RequestIds, current, identified, ids_for
from tests.support.engine import WORKER_CLASSES, Engine
from tests.support.wait import pass_time, until
from tests.support.websocket import open_on

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
IDS = {"request_id_header": "X-Request-ID"}


def settings(**more: Any) -> PoolSettings:
    return PoolSettings("a:b", **{**IDS, **more})


def test_switched_off_the_application_is_what_it_was() -> None:
    assert identified(echo, "asgi", PoolSettings("a:b")) is echo
    assert ids_for("wsgi", PoolSettings("a:b")) is None


@pytest.mark.parametrize(
    ("said", "parent", "expected"),
    [
        ("abc-1", "", "abc-1"),
        ("abc-1", PARENT, "abc-1"),
        ("", PARENT, TRACE),
        ("no blanks", PARENT, TRACE),
        ("x" * 128, "", "x" * 128),
        ("x" * 129, "", None),
        ('"', "", None),
        ("a\r\nb", "", None),
        ("é", "", None),
        ("", PARENT.replace("4bf92f3577b34da6a3ce929d0e0e4736", "0" * 32), None),
        ("", PARENT.upper(), None),
        ("", "00-short-00-01", None),
        ("", f"{PARENT}\n", None),
    ],
)
def test_whose_word_counts(said: str, parent: str, expected: str | None) -> None:
    ids = RequestIds(settings())
    found, _, _ = ids.of(said, parent)
    assert found == expected if expected else len(found) == 16


def test_they_are_all_different_in_threads_and_processes() -> None:
    ids = RequestIds(settings())
    with ThreadPoolExecutor(8) as threads:
        made = [
            each
            for some in threads.map(lambda _: [ids.new() for _ in range(2000)], range(8))
            for each, _, _ in some
        ]
    assert len(set(made)) == 16_000
    assert all(len(each) == 16 and int(each, 16) >= 0 for each in made)
    assert RequestIds(settings()).new() != RequestIds(settings()).new()


@pytest.mark.parametrize("in_response", [False, True])
@pytest.mark.parametrize("encoded", [False, True])
def test_every_form_is_of_the_same_id(in_response: bool, encoded: bool) -> None:
    ids = RequestIds(settings(request_id_in_response=in_response), encoded=encoded)
    made = [ids.new() for _ in range(1000)]
    assert [each for each, _, _ in made] == sorted({each for each, _, _ in made})
    for request_id, line, scoped in [*made, ids.of("abc", "")]:
        assert line == (f"X-Request-ID: {request_id}\r\n".encode() if in_response else b"")
        assert scoped == request_id.encode() or not (encoded or scoped)


def test_a_counter_that_is_full_goes_on() -> None:
    ids = RequestIds(settings())
    ids._next = iter([0x3FFFF, 0x40000]).__next__
    made = [ids.new()[0] for _ in range(128)]
    assert len(set(made)) == 128
    assert made[63].endswith("ffffff")


def echo(environ: Any, start_response: Any) -> list[bytes]:
    if environ["PATH_INFO"] == "/slow":
        pass_time(1.5 * EXEMPLAR_S)
    body = json.dumps(
        [environ.get(KEY), environ.get("HTTP_X_REQUEST_ID"), current(), environ.get(SAID) is True]
    )
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body.encode()]


async def live(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        raise NotImplementedError
    if scope["path"] == "/slow":
        await asyncio.sleep(1.5 * EXEMPLAR_S)  # a loop may wake a moment early
    header = ",".join(value.decode() for name, value in scope["headers"] if name == b"x-request-id")
    known = scope["extensions"].get(KEY, {}).get("id")
    body = json.dumps([known, header, current(), scope.get(SAID) is True]).encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def engine(worker: str, asgi: bool, **more: Any) -> Engine:
    return Engine(live if asgi else echo, worker, interface="asgi" if asgi else "wsgi", **{**IDS, **more})


both = pytest.mark.parametrize("asgi", [False, True], ids=["wsgi", "asgi"])
each_class = pytest.mark.parametrize("worker", WORKER_CLASSES)


@each_class
@both
def test_a_trusted_proxy_is_believed(worker: str, asgi: bool) -> None:
    """The engine's client is 127.0.0.1, which is trusted unless something else is said."""
    with engine(worker, asgi) as running, running.connect() as client:
        answers = [
            json.loads(client.get("/", *fields).body)
            for fields in (
                ["X-Request-ID: abc", "X-Forwarded-For: 10.0.0.9"],
                [f"traceparent: {PARENT}"],
                ["X-Request-ID: not sound"],
                [],
            )
        ]
    for known, header, contextual, marked in answers:
        assert known == header == contextual
        assert not marked
    first, second, third, fourth = [each[0] for each in answers]
    assert (first, second) == ("abc", TRACE)
    assert third != fourth
    assert len(third) == len(fourth) == 16


@each_class
@both
def test_slow_requests_are_shown_by_their_ids(worker: str, asgi: bool) -> None:
    """At the histogram of durations: see `gwctl.ipc.exemplars`."""
    with engine(worker, asgi) as running, running.connect() as client:
        client.get("/", "X-Request-ID: quick")
        client.get("/slow", "X-Request-ID: abc")
        (found,) = until(lambda: read(running.record, time.time()), "an exemplar")
    assert found.request_id == "abc"
    assert EXEMPLAR_S <= found.seconds < 30


@each_class
@both
def test_others_are_not(worker: str, asgi: bool) -> None:
    with engine(worker, asgi, trusted_proxies=()) as running, running.connect() as client:
        known, header, _, _ = json.loads(
            client.get("/", "X-Request-ID: forged", f"traceparent: {PARENT}").body
        )
    assert known == header
    assert len(known) == 16
    assert known not in {"forged", TRACE}


@each_class
@both
def test_responses_have_it_if_they_are_to(worker: str, asgi: bool) -> None:
    with engine(worker, asgi, request_id_in_response=True) as running, running.connect() as client:
        first, second = client.get("/", "X-Request-ID: abc"), client.get("/")
        assert first.headers["x-request-id"] == "abc"
        assert second.headers["x-request-id"] == json.loads(second.body)[0]
    with engine(worker, asgi) as running, running.connect() as client:
        assert "x-request-id" not in client.get("/").headers


def in_many_ways(environ: Any, start_response: Any) -> Any:
    path = environ["PATH_INFO"]
    if path == "/again":
        start_response("200 OK", [("Content-Length", "5")])
        try:
            raise ValueError("it was wrong")
        except ValueError:
            start_response("503 Later", [("Content-Length", "5")], sys.exc_info())
    elif path == "/none":
        start_response("304 Not Modified", [])
        return []
    else:
        start_response("200 OK", [("Content-Length", "5")] if path == "/known" else [])
    return iter([b"he", b"llo"]) if path == "/parts" else [b"hello"]


async def live_in_many_ways(scope: Any, _receive: Any, send: Any) -> None:
    path = scope["path"]
    status = {"/again": 503, "/none": 304}.get(path, 200)
    headers = [(b"content-length", b"5")] if path in {"/known", "/again"} else []
    await send({"type": "http.response.start", "status": status, "headers": headers})
    if path == "/parts":
        await send({"type": "http.response.body", "body": b"he", "more_body": True})
        await send({"type": "http.response.body", "body": b"llo"})
    else:
        await send({"type": "http.response.body", "body": b"" if path == "/none" else b"hello"})


@each_class
@both
def test_any_kind_of_response_has_it_once(worker: str, asgi: bool) -> None:
    application = live_in_many_ways if asgi else in_many_ways
    interface = "asgi" if asgi else "wsgi"
    with (
        Engine(application, worker, interface=interface, request_id_in_response=True, **IDS) as running,
        running.connect() as client,
    ):
        for number, path in enumerate(("/known", "/unknown", "/parts", "/again", "/none", "/known")):
            client.send(f"GET {path} HTTP/1.1\r\nHost: x\r\nX-Request-ID: id{number}\r\n\r\n".encode())
            head = client.read_until(b"\r\n\r\n")
            assert head.lower().count(b"\r\nx-request-id: ") == 1
            assert f"\r\nX-Request-ID: id{number}\r\n".encode() in head
            client.buffer = head + client.buffer
            assert client.response().body == (b"" if path == "/none" else b"hello")
        client.send(b"HEAD /known HTTP/1.1\r\nHost: x\r\nX-Request-ID: last\r\n\r\n")
        assert client.response(head_only=True).headers["x-request-id"] == "last"


@each_class
@both
def test_ids_in_responses_leave_what_is_known_of_header_fields(worker: str, asgi: bool) -> None:
    """An id is new each time: were it kept, the fields that recur would have to be encoded again and again."""
    with engine(worker, asgi, request_id_in_response=True) as running, running.connect() as client:
        for _ in range(10):
            client.get("/")
        if not (asgi and worker != "asgi"):  # there a response has gone through another loop's hands
            assert len(running.server.heads._lines) == 1


@each_class
@both
def test_without_the_setting_there_is_none(worker: str, asgi: bool) -> None:
    with engine(worker, asgi, request_id_header="") as running, running.connect() as client:
        known, header, contextual, marked = json.loads(client.get("/", "X-Request-ID: abc").body)
    assert (known, header, contextual, marked) == (None, "abc", "", False)


@pytest.mark.parametrize("odd", [None, 7, "", "two words", "x\n", ["a"], b"abc"])
def test_what_an_application_has_made_of_it_is_left_out(odd: object) -> None:
    assert request_ids.named("GET /", odd) == "GET /"
    assert request_ids.of_scope({"extensions": odd}) is None


@each_class
@both
@pytest.mark.parametrize("form", ["json", '%(U)s %(request_id)s "%({x-request-id}i)s"'])
def test_the_access_log_has_it(worker: str, asgi: bool, form: str) -> None:
    with engine(worker, asgi, access_log=True, access_log_format=form) as running:
        with running.connect() as client:
            client.get("/a", "X-Request-ID: abc")
            made = json.loads(client.get("/b").body)[0]
        until(lambda: running.access_path.read_text().count("\n") == 2, "two lines")
    first, second = running.access_path.read_text().splitlines()
    if form == "json":
        assert [json.loads(first)["request_id"], json.loads(second)["request_id"]] == ["abc", made]
    else:
        assert (first, second) == ('/a abc "abc"', f'/b {made} "{made}"')


def test_a_template_without_ids() -> None:
    with engine(
        "sync", False, request_id_header="", access_log=True, access_log_format="%(request_id)s"
    ) as running:
        with running.connect() as client:
            client.get("/a")
        until(lambda: running.access_path.read_text() == "-\n", "a line")


def test_a_process_of_its_own_makes_its_own() -> None:
    """The object is made after the fork; two of them share no prefix."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(write, RequestIds(settings()).new()[0].encode())
        os._exit(0)
    os.waitpid(pid, 0)
    theirs = os.read(read, 100).decode()
    assert theirs[:10] != RequestIds(settings()).new()[0][:10]
    os.close(read)
    os.close(write)


async def socket_of(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "websocket":
        raise NotImplementedError
    await receive()
    known = scope["extensions"][KEY]["id"]
    assert known == current() == dict(scope["headers"])[b"x-request-id"].decode()
    await send({"type": "websocket.accept", "headers": [(b"x-known", known.encode())]})
    await send({"type": "websocket.close"})


@pytest.mark.parametrize("trusted", [True, False])
def test_websockets_have_them_too(trusted: bool) -> None:
    options = {} if trusted else {"trusted_proxies": ()}
    form = "%(request_id)s %(s)s"
    with (
        Engine(
            socket_of,
            "asgi",
            access_log=True,
            access_log_format=form,
            request_id_in_response=True,
            **IDS,
            **options,
        ) as running,
        running.connect() as client,
    ):
        answer = open_on(client, b"X-Request-ID: abc")
        known = answer["x-known"]
        assert answer["x-request-id"] == known
        assert (known == "abc") is trusted
        until(lambda: running.access_path.read_text() == f"{known} 101\n", "its line")


@each_class
@both
def test_who_says_one_leaves_no_mark(worker: str, asgi: bool) -> None:
    """Neither a header that nobody believes, nor one whose name has underscores, nor HTTP/1.0 is mistaken."""
    with engine(worker, asgi, trusted_proxies=()) as running, running.connect() as client:
        for field in (
            "X-Request-ID: forged",
            "X_Request_ID: forged",
            f"traceparent: {PARENT}",
            "Accept: */*",
        ):
            known, header, contextual, marked = json.loads(client.get("/", field).body)
            assert known == header == contextual
            assert len(known) == 16
            assert not marked
    with engine(worker, asgi) as running, running.connect() as client:
        client.send(b"GET / HTTP/1.0\r\nX-REQUEST-ID: abc\r\n\r\n")
        assert json.loads(client.response().body) == ["abc", "abc", "abc", False]
