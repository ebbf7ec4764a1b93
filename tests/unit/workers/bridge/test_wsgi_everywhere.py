"""A WSGI application under each class, asgi included: exceptions, contexts, time, clients that leave."""

from __future__ import annotations

import asyncio
import contextvars
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.engine import Engine
from tests.support.wait import until

GET = b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n"


class Odd(BaseException):
    """Of nobody's kind."""


KINDS: dict[str, Callable[[], BaseException]] = {
    "Exception": lambda: ValueError("deliberate"),
    "SystemExit": lambda: SystemExit(3),
    "KeyboardInterrupt": KeyboardInterrupt,
    "CancelledError": asyncio.CancelledError,
    "GeneratorExit": GeneratorExit,
    "StopIteration": lambda: StopIteration(5),
    "Odd": Odd,
}


@pytest.mark.parametrize("where", ["call", "begun", "first block", "mid", "close"])
@pytest.mark.parametrize("kind", KINDS)
def test_whatever_is_raised_ends_its_request_alone(
    serve: Callable[..., Engine], kind: str, where: str
) -> None:
    def blocks() -> Iterator[bytes]:
        if where == "first block":
            raise_it()
        yield b"half"
        raise_it()

    def raise_it() -> None:
        error = KINDS[kind]()
        raise error

    class Closes(list[bytes]):
        def close(self) -> None:
            raise_it()

    def application(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/fine":
            start_response("200 OK", [])
            return [b"fine"]
        if where == "call":
            raise_it()
        start_response("200 OK", [])
        if where == "begun":
            raise_it()
        return Closes([b"whole"]) if where == "close" else blocks()

    engine = serve(application, threads=1)
    with engine.connect() as client:
        client.send(GET % b"/")
        if where == "close":
            assert client.response().body == b"whole"
        elif where == "mid":
            with pytest.raises((ConnectionResetError, AssertionError)):
                client.response()
        else:
            assert client.response().status == 500
    for _ in range(2):
        with engine.connect() as client:
            assert client.get("/fine").body == b"fine"
    engine.wait_for_log("raise_it")
    assert engine.log.count(" error ") == 1


def error_page(environ: Any, start_response: Any) -> list[bytes]:
    """The usual way of frameworks: a response was prepared, then something failed."""
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "9")])
    try:
        raise ValueError("deliberate")
    except ValueError:
        start_response("500 Oops", [("Content-Type", "text/html")], sys.exc_info())
    return [b"sorry"]


def test_a_second_start_response_before_any_output_replaces_the_first(serve: Callable[..., Engine]) -> None:
    with serve(error_page).connect() as client:
        response = client.get()
        assert (response.status, response.body) == (500, b"sorry")
        assert response.headers["content-type"] == "text/html"
        assert response.headers["content-length"] == "5"


def test_a_second_start_response_after_output_raises_what_it_was_given(serve: Callable[..., Engine]) -> None:
    raised: list[BaseException] = []

    def application(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"begun"
        try:
            raise ValueError("deliberate")
        except ValueError:
            try:
                start_response("500 Oops", [], sys.exc_info())
            except ValueError as error:
                raised.append(error)
                raise

    engine = serve(application)
    with engine.connect() as client:
        client.send(GET % b"/")
        with pytest.raises((ConnectionResetError, AssertionError)):
            client.response()
    until(lambda: raised, "the exception to be raised again")
    engine.wait_for_log("ValueError: deliberate")


LONGER: dict[str, tuple[list[bytes], list[bytes]]] = {
    "one block written": ([b"hello and more"], []),
    "blocks written": ([b"hel", b"lo a", b"nd more"], []),
    "written, then yielded": ([b"hello"], [b" and more"]),
    "one block yielded": ([], [b"hello and more"]),
    "blocks yielded": ([], [b"hel", b"lo and", b" more"]),
}
"""What is written, and what is yielded then."""


@pytest.mark.parametrize("how", LONGER)
def test_a_body_beyond_its_length_is_cut_and_the_connection_kept(
    serve: Callable[..., Engine], how: str
) -> None:
    """Written, which PEP 3333 has raise an error, or yielded: the client has what it was promised."""
    written, yielded = LONGER[how]

    def application(environ: Any, start_response: Any) -> list[bytes]:
        write = start_response("200 OK", [("Content-Length", "5")])
        for block in written:
            write(block)
        return yielded

    engine = serve(application)
    with engine.connect() as client:
        for _ in range(3):
            assert client.get().body == b"hello"
    engine.wait_for_log("Content-Length says; cut")


def test_an_error_when_all_that_was_promised_is_sent_costs_no_connection(
    serve: Callable[..., Engine],
) -> None:
    def application(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Length", "5")])
        yield b"he"
        yield b"llo"
        raise ValueError("deliberate")

    engine = serve(application)
    with engine.connect() as client:
        for _ in range(3):
            assert client.get().body == b"hello"
    engine.wait_for_log("the application raised after its response: ValueError: deliberate")


def test_a_body_short_of_its_length_never_looks_whole(serve: Callable[..., Engine]) -> None:
    def application(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Length", "50")])
        return [b"half"]

    engine = serve(application)
    with engine.connect() as client, pytest.raises((ConnectionResetError, AssertionError)):
        client.get()
    engine.wait_for_log("46 bytes shorter than Content-Length says")


def test_each_request_has_a_context_of_its_own(serve: Callable[..., Engine]) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")
    seen: list[str] = []

    def application(environ: Any, start_response: Any) -> Iterator[bytes]:
        seen.append(variable.get())
        variable.set(environ["PATH_INFO"])
        start_response("200 OK", [])
        yield b"one"
        seen.append(variable.get())

    engine = serve(application, threads=1)
    with engine.connect() as client:
        for path in ("/a", "/b"):
            assert client.get(path).body == b"one"
    assert seen == ["unset", "/a", "unset", "/b"]


def test_no_event_loop_is_visible(serve: Callable[..., Engine]) -> None:
    """Django's database layer and asyncio.run refuse to work inside one."""

    def application(environ: Any, start_response: Any) -> list[bytes]:
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()
        start_response("200 OK", [])
        return [asyncio.run(asyncio.sleep(0, b"ran"))]

    with serve(application).connect() as client:
        assert client.get().body == b"ran"


def test_a_client_that_leaves_closes_the_iterable(serve: Callable[..., Engine]) -> None:
    closed: list[str] = []

    def endless(start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        try:
            while True:
                yield b"x" * 10_000
        finally:
            closed.append("closed")

    def application(environ: Any, start_response: Any) -> Iterator[bytes]:
        return endless(start_response)

    engine = serve(application, threads=1)
    for count in (1, 2, 3):
        with engine.connect() as client:
            client.send(GET % b"/")
            client.head()
        until(lambda count=count: len(closed) == count, "close() to be called")  # type: ignore[misc]
    assert " error " not in engine.log


def test_a_generator_is_not_run_ahead_of_its_client(serve: Callable[..., Engine]) -> None:
    made: list[int] = []

    def application(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        for number in range(10_000):
            made.append(number)
            yield b"x" * 65536

    engine = serve(application)
    with engine.connect(receive_buffer=4096) as client:
        client.send(GET % b"/")
        client.head()
        before = -1

        def stalled() -> bool:
            nonlocal before
            same, before = len(made) == before, len(made)
            return same

        until(stalled, "the application to be held")
        assert len(made) < 300


@pytest.mark.not_under("sync", reason="the master judges how long a request takes there")
def test_a_request_over_its_limit_is_answered_and_its_thread_replaced(serve: Callable[..., Engine]) -> None:
    go = threading.Event()

    def application(environ: Any, start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/slow":
            go.wait(20)
        start_response("200 OK", [])
        return [b"fine"]

    timeouts = {"request_timeout_s": 60.0, "request_timeout_paths": ("/slow 0.2",)}
    engine = serve(application, threads=1, timeouts=timeouts)
    with engine.connect() as client:
        assert client.get("/slow").status == 504
    with engine.connect() as client:
        assert client.get("/fine").body == b"fine"
    engine.wait_for_log("request timeout: GET /slow has run")
    go.set()


def test_as_many_threads_as_are_set_and_sixteen_under_asgi_otherwise() -> None:
    def application(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return []

    for settings, count in ({}, 16), ({"threads": 3}, 3):
        with Engine(application, "asgi", interface="wsgi", **settings) as engine:
            assert len(engine.server.runner.threads) == count  # type: ignore[union-attr]
