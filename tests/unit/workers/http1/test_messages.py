"""Requests and responses on the wire, for every worker class and both parsers."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator

import pytest

from tests.support.engine import PARSERS, WORKER_CLASSES, Client, Engine
from tests.support.engine_apps import application
from tests.support.wait import until


@pytest.fixture(params=[f"{kind}-{parser}" for kind in WORKER_CLASSES for parser in PARSERS])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    worker_class, parser = request.param.split("-")
    with Engine(application(worker_class), worker_class, parser=parser) as engine:
        yield engine


@pytest.fixture
def client(engine: Engine) -> Iterator[Client]:
    with engine.connect() as client:
        yield client


def test_a_connection_serves_many_requests(client: Client) -> None:
    for _ in range(5):
        response = client.get("/")
        assert response.status == 200
        assert response.body == b"hello"
        assert response.headers["server"] == "gwctl"
        assert response.headers["date"].endswith(" GMT")
        assert "connection" not in response.headers


def test_pipelined_requests_are_answered_in_order(client: Client) -> None:
    client.send(b"".join(b"GET /length?%d HTTP/1.1\r\nHost: x\r\n\r\n" % n for n in range(1, 60)))
    for n in range(1, 60):
        assert client.response().body == b"x" * n


@pytest.mark.parametrize("ended", [False, True])
def test_who_sends_ahead_is_not_reset_after_the_last_response(client: Client, ended: bool) -> None:
    """What comes behind it meets nobody, but must not cost the client what it has yet to read (RFC 9112, 9.6)."""
    last = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    client.send(b"GET /length?1 HTTP/1.1\r\nHost: x\r\n\r\n" + last)
    if ended:
        client.sock.shutdown(socket.SHUT_WR)
    assert client.response().body == b"x"
    assert client.response().headers["connection"] == "close"
    assert client.rest() == b""
    if not ended:
        for _ in range(3):  # a reset would have made the second one fail
            client.send(last)


def test_a_pipeline_longer_than_every_buffer_loses_no_request(client: Client) -> None:
    """Over 512 KiB sent ahead: a parser's kept tail and the paused reading both come into it."""
    request = b"GET /length?%d HTTP/1.1\r\nHost: x\r\nX-Padding: " + b"p" * 900 + b"\r\n\r\n"
    outgoing = b"".join(request % n for n in range(600))
    sender = threading.Thread(target=client.sock.sendall, args=(outgoing,))
    sender.start()
    sizes = [len(client.response().body) for _ in range(600)]
    sender.join()
    assert sizes == list(range(600))


def test_a_request_may_come_byte_by_byte(client: Client) -> None:
    for byte in b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc":
        client.send(bytes([byte]))
    assert client.response().body == b"abc"


def test_an_empty_line_before_a_request_is_ignored(client: Client) -> None:
    client.send(b"\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert client.response().body == b"hello"
    assert client.response().body == b"hello"


@pytest.mark.parametrize("size", [0, 1, 1000, 65536, 300_000, 3_000_000])
def test_a_body_with_a_length(client: Client, size: int) -> None:
    body = bytes(i % 251 for i in range(1000)) * (size // 1000) + b"z" * (size % 1000)
    client.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size + body)
    assert client.response().body == body
    assert client.get("/").body == b"hello"


@pytest.mark.parametrize("size", [1, 7, 70_000, 2_000_000])
def test_a_body_in_chunks(client: Client, size: int) -> None:
    chunk = b'%x;name=value;q="a b"\r\n' % size + b"c" * size + b"\r\n"
    client.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk * 3)
    client.send(b"0\r\nX-Trailer: v\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert client.response().body == b"c" * size * 3
    assert client.response().body == b"hello"


def test_a_chunked_body_byte_by_byte(client: Client) -> None:
    head = b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    for byte in head + b"3\r\nabc\r\n2;x\r\nde\r\n0\r\nT: v\r\n\r\n":
        client.send(bytes([byte]))
    assert client.response().body == b"abcde"


def test_a_stream_is_sent_in_chunks(client: Client) -> None:
    response = client.get("/stream")
    assert response.chunks == (b"one", b"two", b"three")
    assert "content-length" not in response.headers


def test_http_1_0_gets_no_chunks_and_a_close(client: Client) -> None:
    client.send(b"GET /stream HTTP/1.0\r\n\r\n")
    response = client.response()
    assert response.body == b"onetwothree"
    assert response.headers["connection"] == "close"


def test_http_1_0_is_kept_alive_when_it_asks(client: Client) -> None:
    client.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert client.response().headers["connection"] == "keep-alive"
    assert client.get("/").body == b"hello"


def test_connection_close_is_obeyed(client: Client) -> None:
    response = client.get("/", "Connection: close")
    assert response.headers["connection"] == "close"
    assert client.at_end()


@pytest.mark.parametrize("path", ["/", "/stream", "/length?50000"])
def test_head_has_no_body(client: Client, path: str) -> None:
    client.send(b"HEAD %b HTTP/1.1\r\nHost: x\r\n\r\n" % path.encode())
    assert client.response(head_only=True).status == 200
    assert client.get("/").body == b"hello"


def test_head_names_the_length_of_get(client: Client) -> None:
    client.send(b"HEAD /length?50000 HTTP/1.1\r\nHost: x\r\n\r\n")
    assert client.response(head_only=True).headers["content-length"] == "50000"


@pytest.mark.parametrize("status", [204, 304])
def test_statuses_without_a_body(client: Client, status: int) -> None:
    response = client.get(f"/status/{status}")
    assert response.status == status
    assert not {"content-length", "transfer-encoding"} & set(response.headers)
    assert client.get("/").body == b"hello"


def test_an_empty_response_has_length_0(client: Client) -> None:
    assert client.get("/status/404").headers["content-length"] == "0"


def test_100_continue_comes_before_the_body_is_sent(client: Client) -> None:
    client.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-Continue\r\n\r\n")
    assert client.read_until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.send(b"abc")
    assert client.response().body == b"abc"
    assert client.get("/").body == b"hello"


def test_no_100_continue_when_the_body_is_here_already(client: Client) -> None:
    client.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\nabc")
    assert client.response().status == 200


def test_no_100_continue_for_http_1_0(client: Client) -> None:
    client.send(b"POST /echo HTTP/1.0\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
    client.send(b"abc")
    assert client.response().status == 200


def test_half_closed_client_is_answered(client: Client) -> None:
    """`printf ... | nc` shuts down its side and then waits for the response."""
    client.send(b"GET /length?7 HTTP/1.1\r\nHost: x\r\n\r\n" * 3)
    client.finish_sending()
    assert [client.response().body for _ in range(3)] == [b"xxxxxxx"] * 3
    assert client.at_end()


def test_a_half_closed_upload_is_answered(client: Client) -> None:
    client.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 500000\r\n\r\n" + b"u" * 500_000)
    client.finish_sending()
    assert len(client.response().body) == 500_000
    assert client.at_end()


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\n"])
def test_an_incomplete_head_is_closed_when_the_client_closes(client: Client, sent: bytes) -> None:
    if sent:
        client.send(sent)
    client.finish_sending()
    assert client.at_end()


def test_a_failing_application_gets_500_and_a_line_in_the_log(engine: Engine, client: Client) -> None:
    response = client.get("/raise")
    assert response.status == 500
    assert response.headers["connection"] == "close"
    assert client.at_end()
    engine.wait_for_log("Oops: before")
    assert "GET /raise: the application raised" in engine.log
    assert "engine_apps.py" in engine.log
    assert "/workers/" not in engine.log


def test_an_application_failing_in_mid_response_never_looks_complete(engine: Engine, client: Client) -> None:
    client.send(b"GET /middle HTTP/1.1\r\nHost: x\r\n\r\n")
    assert client.head()[0] == 200
    with pytest.raises(ConnectionResetError):
        assert b"0\r\n" not in client.rest().removeprefix(b"5\r\nfirst\r\n")
        raise ConnectionResetError  # both an end without the last chunk and a reset tell the client
    engine.wait_for_log("Oops: middle")


def test_a_failure_in_mid_response_takes_nothing_of_the_responses_before(engine: Engine) -> None:
    """The client sent ahead and has not read: a reset would discard what waits to be sent to it."""
    large = b"GET /length?400000 HTTP/1.1\r\nHost: x\r\n\r\n"
    middle = b"GET /middle HTTP/1.1\r\nHost: x\r\n\r\n"
    with engine.connect(receive_buffer=4096) as client:
        client.send(large + middle + large)
        if engine.assignment.settings.worker != "asgi":
            engine.wait_for_log("Oops: middle")
        assert client.response().body == b"x" * 400000
        assert client.head()[0] == 200
        assert client.rest() == b"5\r\nfirst\r\n"
    engine.wait_for_log("Oops: middle")


def test_mid_response_failure_of_an_http_1_0_response_is_a_reset(client: Client) -> None:
    """There the end of the connection is the end of the body: only a reset tells."""
    client.send(b"GET /middle HTTP/1.0\r\n\r\n")
    with pytest.raises(ConnectionResetError):
        client.rest()


def test_targets(engine: Engine, client: Client) -> None:
    wsgi = engine.assignment.settings.worker != "asgi"
    shown = json.loads(client.get("/path/a%20b%2Fc?x=1%20&y", "X-Two: 1", "X-Two: 2").body)
    if wsgi:
        assert shown["PATH_INFO"] == "/path/a b/c"
        assert shown["QUERY_STRING"] == "x=1%20&y"
        assert shown["REQUEST_URI"] == "/path/a%20b%2Fc?x=1%20&y"
        assert shown["HTTP_X_TWO"] == "1,2"
    else:
        assert shown["path"] == "/path/a b/c"
        assert shown["raw_path"] == "/path/a%20b%2Fc"
        assert shown["query_string"] == "x=1%20&y"
        assert ["x-two", "1"] in shown["headers"]
        assert ["x-two", "2"] in shown["headers"]


def test_the_absolute_form_replaces_host(engine: Engine, client: Client) -> None:
    client.send(b"GET http://other:81/path?q HTTP/1.1\r\nHost: x\r\n\r\n")
    shown = json.loads(client.response().body)
    if "PATH_INFO" in shown:
        assert (shown["PATH_INFO"], shown["HTTP_HOST"], shown["QUERY_STRING"]) == ("/path", "other:81", "q")
    else:
        assert shown["path"] == "/path"
        assert [pair for pair in shown["headers"] if pair[0] == "host"] == [["host", "other:81"]]


def test_options_of_the_server(client: Client) -> None:
    client.send(b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n")
    assert client.response().status == 200


def test_header_values_are_latin_1(engine: Engine, client: Client) -> None:
    client.send(b"GET /length?1 HTTP/1.1\r\nHost: x\r\nX-Name: caf\xe9\r\n\r\n")
    assert client.response().status == 200


def test_counters_reach_the_scoreboard(engine: Engine, client: Client) -> None:
    from gwctl.ipc.scoreboard import ACCEPTED, BYTES_OUT, CONNECTIONS, ERRORS, REQUESTS

    client.get("/")
    client.get("/stream")
    client.get("/raise")
    until(lambda: engine.words(REQUESTS) == 3, "three requests counted")
    assert engine.words(ERRORS) == 1
    assert engine.words(BYTES_OUT) >= len("helloonetwothree")
    assert engine.words(ACCEPTED) == 1
    assert sum(engine.record.latency()) == 3
    until(lambda: engine.words(CONNECTIONS) == 0, "the connection to be gone")


def test_bytes_of_request_bodies_are_counted(engine: Engine, client: Client) -> None:
    """Whole, in pieces and in chunks; requests without a body have none."""
    from gwctl.ipc.scoreboard import BYTES_IN

    client.get("/")
    assert engine.words(BYTES_IN) == 0
    client.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n")
    for _ in range(3):
        client.send(b"x" * 100_000)
    assert len(client.response().body) == 300_000
    assert engine.words(BYTES_IN) == 300_000
    chunks = b"5\r\nhello\r\n0\r\n\r\n"
    client.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks)
    assert client.response().body == b"hello"
    assert engine.words(BYTES_IN) == 300_000 + len(chunks)


POST = b"POST /echo HTTP/1.1\r\nHost: x\r\n"


def test_the_bytes_of_a_body_that_comes_with_its_head_are_counted(engine: Engine, client: Client) -> None:
    from gwctl.ipc.scoreboard import BYTES_IN

    client.send(POST + b"Content-Length: 5\r\n\r\nhello")
    assert client.response().body == b"hello"
    assert engine.words(BYTES_IN) == 5


@pytest.mark.parametrize("chunks", [1, 700])
def test_pipelined_requests_are_no_bytes_of_a_body(engine: Engine, client: Client, chunks: int) -> None:
    """Nor are those that wait behind more chunks than one turn of the loop takes."""
    from gwctl.ipc.scoreboard import BYTES_IN

    chunked = b"1\r\na\r\n" * chunks + b"0\r\n\r\n"
    ahead = b"GET /length?1 HTTP/1.1\r\nHost: x\r\n\r\n" * 20
    client.send(POST + b"Transfer-Encoding: chunked\r\n\r\n" + chunked + ahead)
    assert client.response().body == b"a" * chunks
    assert [client.response().body for _ in range(20)] == [b"x"] * 20
    assert engine.words(BYTES_IN) == len(chunked)
    client.send(POST + b"Content-Length: 6\r\n\r\nhel")
    client.send(b"lo!" + ahead)
    assert client.response().body == b"hello!"
    assert [client.response().body for _ in range(20)] == [b"x"] * 20
    assert engine.words(BYTES_IN) == len(chunked) + 6


def test_bytes_of_a_body_that_fails_or_is_left_are_counted(engine: Engine, client: Client) -> None:
    from gwctl.ipc.scoreboard import BYTES_IN

    client.send(POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhel")
    until(lambda: engine.call(lambda: received(engine)) == 6, "half a chunk to have come")
    client.send(b"lo, no chunk\r\n")
    client.rest()
    until(lambda: engine.words(BYTES_IN) == 20, "a body that is no body to be counted")
    with engine.connect() as other:
        other.send(POST + b"Content-Length: 9\r\n\r\npart")
        until(lambda: engine.call(lambda: received(engine)) == 4, "a part to have come")
    until(lambda: engine.words(BYTES_IN) == 24, "what came of it to be counted")


def received(engine: Engine) -> int:
    return sum(each.received for each in engine.server._connections if each.receiving)


@pytest.mark.parametrize(
    "part", [b"GET /par", b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\npart"]
)
def test_an_end_behind_a_pipeline_with_an_incomplete_request(
    engine: Engine, client: Client, part: bytes
) -> None:
    """What came whole is answered, in full, and what cannot come is not waited for."""
    client.send((b"GET /length?200000 HTTP/1.1\r\nHost: x\r\n\r\n") * 3 + part)
    client.finish_sending()

    def noticed() -> bool:
        server = engine.server
        return bool(server._acceptor.accepted) and all(each.eof for each in server._connections)

    until(lambda: engine.call(noticed), "the end to be noticed")
    assert [len(client.response().body) for _ in range(3)] == [200_000] * 3
    client.rest()
    until(lambda: not engine.call(lambda: engine.server.connections), "the connection to be gone")
