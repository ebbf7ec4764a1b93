"""The load client tells every failure apart: each is provoked by a small server that misbehaves so."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tests.load.connection import parse_head
from tests.load.plan import Part, Plan, decode_parts, encode_parts
from tests.load.result import Failure, Result, percentile
from tests.load.runner import Load
from tests.support.raw import reset_at_close

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
CLOSE = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n"

Handler = Callable[[socket.socket, int], bool]
"""Answers request n (from 1) of a connection; False ends the connection."""


def reset(sock: socket.socket) -> None:
    reset_at_close(sock)
    sock.close()


def answer(sock: socket.socket, data: bytes) -> bool:
    sock.sendall(data)
    return True


def serve_connection(sock: socket.socket, handler: Handler) -> None:
    with sock, contextlib.suppress(OSError):
        for number in range(1, 1_000_000):
            request = b""
            while b"\r\n\r\n" not in request:
                data = sock.recv(65536)
                if not data:
                    return
                request += data
            assert b"connection:" not in request.lower()
            if not handler(sock, number):
                return


@contextlib.contextmanager
def server(handler: Handler) -> Iterator[str]:
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = listener.accept()
                threading.Thread(target=serve_connection, args=(sock, handler), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(5)


def load(handler: Handler, requests: int = 30, **options) -> Result:
    with server(handler) as url, Load(url, connections=2, think_s=0.002, **options) as client:
        client.wait_for_requests(requests)
    return client.result


@pytest.mark.parametrize("response", [OK, CHUNKED], ids=["length", "chunked"])
def test_a_good_server_has_no_failure(response: bytes) -> None:
    result = load(lambda sock, _n: answer(sock, response), expect_body=b"hello")
    assert (result.failures, result.connections, result.closes_obeyed) == ({}, 2, 0)
    assert result.bodies == {"hello": result.requests}
    assert 0 < result.p50_s <= result.p99_s <= result.p999_s <= result.max_s < 10


def test_connection_close_is_obeyed() -> None:
    result = load(lambda sock, _n: answer(sock, CLOSE))
    assert result.failures == {}
    assert result.closes_obeyed == result.connections == result.requests


def test_a_body_that_ends_with_the_connection() -> None:
    def handler(sock: socket.socket, _n: int) -> bool:
        sock.sendall(b"HTTP/1.1 200 OK\r\n\r\nhello")
        return False

    assert load(handler, expect_body=b"hello").failures == {}


def test_a_close_seen_while_idle_is_no_failure() -> None:
    """The end of file is there long before the next request: any pool would notice."""
    think_s, late = 0.05, 0

    def handler(sock: socket.socket, _n: int) -> bool:
        nonlocal late
        began_at = time.monotonic()
        late += 1
        sock.sendall(OK)
        sock.close()
        if time.monotonic() - began_at < think_s / 4:  # half of it is the least that the client thinks
            late -= 1
        return False

    with server(handler) as url, Load(url, connections=1, think_s=think_s) as client:
        client.wait_for_requests(5)
    assert client.result.failed <= late, "where the close came late, on a busy machine, it may meet a request"
    assert set(client.result.failures) <= {Failure.RESET_REUSED}
    assert client.result.closed_idle + late >= 4


def test_refused() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))  # bound, not listening
        with Load(f"http://127.0.0.1:{sock.getsockname()[1]}/", connections=2, think_s=0.01) as client:
            client.wait_for_requests(5)
    assert set(client.result.failures) == {Failure.REFUSED}


def eof_at_once(_sock: socket.socket, _n: int) -> bool:
    return False


def reset_at_once(sock: socket.socket, _n: int) -> bool:
    reset(sock)
    return False


def eof_on_reuse(sock: socket.socket, number: int) -> bool:
    return answer(sock, OK) if number == 1 else False


def reset_on_reuse(sock: socket.socket, number: int) -> bool:
    return answer(sock, OK) if number == 1 else reset_at_once(sock, number)


def half_a_head(sock: socket.socket, _n: int) -> bool:
    sock.sendall(OK[:20])
    return False


def half_a_body(sock: socket.socket, _n: int) -> bool:
    sock.sendall(OK[:-2])
    return False


def half_the_chunks(sock: socket.socket, _n: int) -> bool:
    sock.sendall(CHUNKED[:-5])
    return False


def two_answers(sock: socket.socket, _n: int) -> bool:
    return answer(sock, OK + OK)


FAILURES = [
    (Failure.RESET_FRESH, eof_at_once),
    (Failure.RESET_FRESH, reset_at_once),
    (Failure.RESET_REUSED, eof_on_reuse),
    (Failure.RESET_REUSED, reset_on_reuse),
    (Failure.TRUNCATED, half_a_head),
    (Failure.TRUNCATED, half_a_body),
    (Failure.TRUNCATED, half_the_chunks),
    (Failure.WRONG_STATUS, lambda sock, _n: answer(sock, OK.replace(b"200 OK", b"503 No"))),
    (Failure.WRONG_BODY, lambda sock, _n: answer(sock, OK.replace(b"hello", b"jello"))),
    (Failure.WRONG_BODY, two_answers),
    (Failure.MALFORMED, lambda sock, _n: answer(sock, b"SSH-2.0-OpenSSH_9.2\r\n\r\n")),
    (Failure.MALFORMED, lambda sock, _n: answer(sock, OK.replace(b"5", b"five"))),
    (Failure.MALFORMED, lambda sock, _n: answer(sock, CHUNKED.replace(b"3\r\n", b"z\r\n"))),
    (Failure.TIMEOUT, lambda _sock, _n: True),
    (Failure.TIMEOUT, lambda sock, _n: answer(sock, OK[:-1])),
]


@pytest.mark.parametrize(("failure", "handler"), FAILURES)
def test_each_failure_has_its_class(failure: Failure, handler: Handler) -> None:
    result = load(
        handler, requests=6, expect_body=b"hello", timeout_s=0.3 if failure is Failure.TIMEOUT else 10
    )
    assert set(result.failures) == {failure}, result
    assert result.samples[0].startswith(failure)


def test_a_plan_survives_the_command_line() -> None:
    plan = Plan("unix:/tmp/x.sock:/a?b=c", body=b"\xff\0", expect_body=b"")
    parts = [Part(plan, 3), Part(Plan("http://x/", habit="websocket", label="talk"), 1)]
    assert decode_parts(encode_parts(parts)) == parts
    assert plan.address == (socket.AF_UNIX, "/tmp/x.sock")
    assert plan.request.startswith(b"POST /a?b=c HTTP/1.1\r\n")


def test_percentiles_are_nearest_ranks() -> None:
    assert percentile([], 0.5) == 0
    assert [percentile(list(range(1, 101)), share) for share in (0.5, 0.99, 0.999, 1.0)] == [50, 99, 100, 100]


def test_the_head_parser() -> None:
    assert parse_head(b"HTTP/1.1 204 No\r\nA: b: c\r\n\r\n") == (204, {"a": "b: c"})


def test_a_line_that_was_cut_is_no_result(tmp_path) -> None:
    """The client was killed for taking too long, in the midst of its figures: that is what is told of."""
    load = Load("http://127.0.0.1:1/")
    (tmp_path / "output").write_text('[10, 0]\n{"requests": 1, "late')
    with (tmp_path / "output").open("rb") as output:
        load._read(output)
    assert load.requests == 10
    with pytest.raises(AssertionError, match="ended without a result"):
        _ = load.results
