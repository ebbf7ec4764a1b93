"""Response heads, the request policy, the access log and the counters, without a connection."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
import types
from email.utils import formatdate
from fractions import Fraction
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from gwctl.durations import PLACES
from gwctl.ipc.scoreboard import (
    BYTES_OUT,
    ERRORS,
    METHODS,
    REQUESTS,
    SECONDS,
    STATUS_CLASSES,
    WAITED_S,
    Scoreboard,
)
from gwctl.log.event_log import Log
from gwctl.log.level import Level
from gwctl.workers.exchange.heads import HeaderError, http_date
from gwctl.workers.exchange.request_rules import Refused
from gwctl.workers.exchange.response import COUNTED, MARKED, NO_BODY, UNTIL_CLOSE
from gwctl.workers.http1.parser import parser_name
from gwctl.workers.http1.request_rules import split_target
from gwctl.workers.http1.response_head import HeadBuilder
from gwctl.workers.observe import access_log, counters
from gwctl.workers.observe.access_log import AccessLog
from gwctl.workers.observe.counters import Counters
from tests.support.access_notes import note
from tests.support.compiled import pure_only
from tests.support.engine import Engine
from tests.support.engine_apps import application
from tests.support.wait import until


@pytest.fixture
def heads() -> HeadBuilder:
    return HeadBuilder(str)


def build(
    heads: HeadBuilder, headers: Any = (), known: int = -1, **options: Any
) -> tuple[bytes, int, int, bool]:
    line, status = heads.wsgi_status(options.pop("status", "200 OK"))
    given = {"http11": True, "is_head": False, "keep_alive": True, **options}
    return heads.build(line, status, headers, known, given["http11"], given["is_head"], given["keep_alive"])


@pytest.mark.parametrize(
    ("options", "framing", "keep_alive", "line"),
    [
        ({"known": 5}, COUNTED, True, b"Content-Length: 5"),
        ({"known": 0}, COUNTED, True, b"Content-Length: 0"),
        ({}, MARKED, True, b"Transfer-Encoding: chunked"),
        ({"http11": False}, UNTIL_CLOSE, False, b"Connection: close"),
        ({"http11": False, "known": 5}, COUNTED, True, b"Connection: keep-alive"),
        ({"headers": [("content-length", "7")]}, COUNTED, True, b"Content-Length: 7"),
        ({"headers": [("Content-Length", "7")], "is_head": True}, NO_BODY, True, b"Content-Length: 7"),
        ({"is_head": True, "known": 5}, NO_BODY, True, b"Content-Length: 5"),
        ({"status": "204 No Content", "known": 0}, NO_BODY, True, b"HTTP/1.1 204 No Content"),
        (
            {"status": "304 Not Modified", "headers": [("Content-Length", "7")]},
            NO_BODY,
            True,
            b"Content-Length: 7",
        ),
        ({"keep_alive": False, "known": 1}, COUNTED, False, b"Connection: close"),
    ],
)
def test_framing(
    heads: HeadBuilder, options: dict[str, Any], framing: int, keep_alive: bool, line: bytes
) -> None:
    head, got_framing, _length, got_keep_alive = build(heads, **options)
    assert (got_framing, got_keep_alive) == (framing, keep_alive)
    assert line in head.split(b"\r\n")
    assert head.endswith(b"\r\n\r\n")
    assert head.count(b"Content-Length") <= 1


def test_no_length_where_none_belongs(heads: HeadBuilder) -> None:
    assert b"Length" not in build(heads, [("Content-Length", "5")], 5, status="204 No Content")[0]
    assert b"Length" not in build(heads, known=0, is_head=True)[0]


def test_lines_are_cached_but_the_cache_is_bounded(heads: HeadBuilder) -> None:
    for n in range(2000):
        head = build(heads, [("X-Id", str(n)), ("X-Same", "v")], 0)[0]
        assert b"\r\nX-Id: %d\r\nX-Same: v\r\n" % n in head
    assert len(heads._lines) <= 512
    secret = "s" * 200
    build(heads, [("Set-Cookie", "a=b"), ("X-Token", secret)], 0)
    assert not [key for key in heads._lines if key[0] == "Set-Cookie" or key[1] == secret]


def test_two_different_lengths_are_refused(heads: HeadBuilder) -> None:
    with pytest.raises(HeaderError):
        build(heads, [("Content-Length", "1"), ("Content-Length", "2")])


def test_a_date_is_what_the_library_makes_of_it() -> None:
    moments = [0.0, 951_782_400.0, 4_102_444_799.9, *(day * 86_400.0 * 1.01 for day in range(20_000, 20_800))]
    assert [http_date(moment) for moment in moments] == [
        formatdate(moment, usegmt=True) for moment in moments
    ]


def test_the_date_moves(heads: HeadBuilder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gwctl.workers.http1.response_head.time", lambda: 0.75)
    monkeypatch.setattr("gwctl.workers.http1.response_head.monotonic", lambda: 500.0)
    heads._date_until = 0.0
    assert b"Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n" in build(heads)[0]
    monkeypatch.setattr("gwctl.workers.http1.response_head.time", lambda: 1.0)
    assert b"Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n" in build(heads)[0], "made once a second"
    monkeypatch.setattr("gwctl.workers.http1.response_head.monotonic", lambda: 500.25)
    assert b"Date: Thu, 01 Jan 1970 00:00:01 GMT\r\n" in build(heads)[0]


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (b"http://h/a?b", ("/a?b", "h")),
        (b"HTTPS://h:1?b", ("/?b", "h:1")),
        (b"http://[::1]:80", ("/", "[::1]:80")),
        (b"*", ("*", "")),
    ],
)
def test_targets(target: bytes, expected: tuple[str, str]) -> None:
    assert split_target(target) == expected


@pytest.mark.parametrize(
    "target", [b"http:///a", b"/\xff", b"/a#b", b"x://h/", b"http://u@h/", b"http://h:99999/"]
)
def test_targets_refused(target: bytes) -> None:
    with pytest.raises(Refused) as refusal:
        split_target(target)
    assert refusal.value.status == 400


def test_the_parser_can_be_forced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GWCTL_PARSER", "python")
    assert parser_name() == "Python"
    pytest.importorskip("gunicorn_h1c", reason="the C parser is not installed")
    monkeypatch.setenv("GWCTL_PARSER", "c")
    assert parser_name() == "C"


def connection(**changes: Any) -> Any:
    facts = {
        "peer": ("10.0.0.1", 5),
        "method": "GET",
        "target": "/x",
        "http11": True,
        "http_version": "1.1",
        **changes,
    }
    return types.SimpleNamespace(**facts)


def test_access_lines(tmp_path: Path) -> None:
    path = tmp_path / "access"
    log = AccessLog(os.open(path, os.O_WRONLY | os.O_CREAT), "web.0", Log())
    note(log, connection(), 200, 12, 0.25, "-", 'cu"rl\\')
    note(log, connection(method="", peer="", http11=False), 400, 3, 0, "-", "-")
    log.close()
    first, second = path.read_text().splitlines()
    assert first.startswith("10.0.0.1 - - [")
    assert first.endswith('] "GET /x HTTP/1.1" 200 12 "-" "cu\\x22rl\\x5c" 0.250000 web.0')
    assert '] "-" 400 3 "-" "-" 0.000000 web.0' in second


def test_a_reader_that_stops_never_stops_the_server(tmp_path: Path) -> None:
    """A full pipe: lines wait up to a bound, then are dropped and said to be; whole lines come out."""
    event_path = tmp_path / "log"
    event_log = Log(os.open(event_path, os.O_WRONLY | os.O_CREAT), Level.INFO, "x")
    read, write = os.pipe()
    log = AccessLog(write, "web.0", event_log)
    for n in range(60_000):
        note(log, connection(target=f"/{n}"), 200, 1, 0, "-", "-")
        if n % 500 == 0:
            log.flush()
    log.flush()
    got = b""
    os.set_blocking(read, False)
    while True:
        log.flush()
        try:
            got += os.read(read, 1 << 20)
        except BlockingIOError:
            break
    assert all(line.startswith(b"10.0.0.1 - - [") and line.endswith(b"web.0") for line in got.splitlines())
    assert 10_000 < got.count(b"\n") < 60_000
    assert "lines of the access log lost" in event_path.read_text()


@pytest.mark.parametrize("first", [100, 4095, 4096, 9000])
def test_no_line_begins_within_a_long_one(first: int) -> None:
    """Two workers on one pipe: what a client sent as a long field is not continued after another's line."""
    read, write = os.pipe()
    logs = [AccessLog(os.dup(write), "web.0", Log()), AccessLog(write, "web.1", Log())]
    for _ in range(2):
        note(logs[0], connection(), 200, 1, 0, "-", "a" * first + "10.6.6.6 - - [forged]" * 400)
        note(logs[1], connection(), 200, 1, 0, "-", "-")
    for _ in range(3):
        for log in logs:
            log.flush()
    for log in logs:
        log.close()
    with os.fdopen(read, "rb") as pipe:
        lines = pipe.read().splitlines()
    assert len(lines) == 4
    assert all(line.startswith(b"10.0.0.1 - - [") for line in lines)
    assert {len(line) for line in lines if line.endswith(b"...")} == {4095}


def test_no_piece_of_a_line_goes_to_a_pipe_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    log = AccessLog(write, "web.0", Log())
    blocks: list[bytes] = []
    monkeypatch.setattr(os, "write", lambda _fd, block: blocks.append(bytes(block)) or len(block))
    for size in (10, 5000, 10, 4000, 20_000):
        note(log, connection(), 200, 1, 0, "-", "a" * size)
    log.flush()
    monkeypatch.undo()
    log.close()
    os.close(read)
    assert sum(block.count(b"\n") for block in blocks) == 5
    assert all(block.endswith(b"\n") and len(block) <= 4096 for block in blocks)


def test_a_full_disk_is_told_once_in_a_while(tmp_path: Path) -> None:
    """A line for each batch of the loop would fill what is left of the disk."""
    event_path = tmp_path / "log"
    event_log = Log(os.open(event_path, os.O_WRONLY | os.O_CREAT), Level.INFO, "x")
    log = AccessLog(os.open("/dev/full", os.O_WRONLY), "web.0", event_log)
    for _ in range(100):
        note(log, connection(), 200, 1, 0, "-", "-")
        note(log, connection(), 200, 1, 0, "-", "-")
        log.flush()
    log.close()
    first, last = event_path.read_text().splitlines()
    assert first.endswith("/dev/full: 2 lines of the access log lost: No space left on device")
    assert last.endswith("/dev/full: 198 lines of the access log lost: No space left on device")


def test_a_disk_that_stays_full_is_told_less_and_less(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A night of it is some dozens of lines, and the first hour after it is told anew."""
    now = [1000.0]
    monkeypatch.setattr(access_log.time, "monotonic", lambda: now[0])
    event_path = tmp_path / "log"
    event_log = Log(os.open(event_path, os.O_WRONLY | os.O_CREAT), Level.INFO, "x")
    log = AccessLog(os.open("/dev/full", os.O_WRONLY), "web.0", event_log)
    for _ in range(8 * 3600):
        now[0] += 1
        note(log, connection(), 200, 1, 0, "-", "-")
        log.flush()
    assert 45 < len(event_path.read_text().splitlines()) < 60
    now[0] += 3600
    event_path.write_text("")
    for _ in range(30):
        now[0] += 1
        note(log, connection(), 200, 1, 0, "-", "-")
        log.flush()
    assert len(event_path.read_text().splitlines()) == 2


@pytest.mark.parametrize("worker_class", ["sync", "threads", "asgi"])
def test_the_servers_access_log_and_its_reopening(worker_class: str, tmp_path: Path) -> None:
    with (
        Engine(application(worker_class), worker_class, access_log=True) as engine,
        engine.connect() as client,
    ):
        client.get("/length?12", "User-Agent: me", "Referer: there")
        client.send(b"rubbish\r\n\r\n")
        client.response()
        until(lambda: engine.access_path.read_text().count("\n") == 2, "two lines")
        moved = tmp_path / "new"
        engine.call(lambda: engine.server.set_access_log(os.open(moved, os.O_WRONLY | os.O_CREAT)))
        with engine.connect() as other:
            other.get("/status/404")
        until(lambda: "404" in moved.read_text(), "a line in the new file")
    first, second = engine.access_path.read_text().splitlines()
    assert '"GET /length?12 HTTP/1.1" 200 12 "there" "me"' in first
    assert first.endswith("web.0")
    assert '"-" 400' in second


@pytest.mark.parametrize("threads", [1, 3])
def test_counters_are_added_up(threads: int) -> None:
    board = Scoreboard(1)
    record = board.allocate()
    board.close_descriptor()
    assert record
    many = [Counters() for _ in range(threads)]
    for one in many:
        for method, status, seconds in (("GET", 200, 0.00005), ("POST", 500, 0.00015), ("BREW", 0, 1e9)):
            one.add(method, "/", status, 10, seconds)
        one.waited_s += 0.5
        assert one.requests == 3, "at once: what a thread has finished is not under way"
    counters.flush(many, record)
    assert [one.requests for one in many] == [3] * threads
    assert record.words[REQUESTS] == 3 * threads
    assert record.words[ERRORS] == threads
    assert record.words[BYTES_OUT] == 30 * threads
    assert record.latency() == [threads, threads, *[0] * 21, threads]
    assert record.durations() == [threads, threads, *[0] * (PLACES - 3), threads]
    places = [(METHODS.index("GET"), "2xx"), (METHODS.index("POST"), "5xx"), (METHODS.index("other"), "none")]
    counted = [place * len(STATUS_CLASSES) + STATUS_CLASSES.index(kind) for place, kind in places]
    assert [index for index, count in enumerate(record.answers()) if count] == counted
    assert sum(record.answers()) == record.words[REQUESTS]
    assert record.floats[SECONDS] == pytest.approx((1e9 + 0.0002) * threads)
    assert record.floats[WAITED_S] == 0.5 * threads


@pytest.mark.parametrize(
    ("status", "kind"), [(101, "1xx"), (204, "2xx"), (304, "3xx"), (404, "4xx"), (599, "5xx"), (999, "5xx")]
)
def test_a_status_is_of_one_class(status: int, kind: str) -> None:
    board = Scoreboard(1)
    record = board.allocate()
    board.close_descriptor()
    assert record
    one = Counters()
    one.add("DELETE", "/", status, 0, 0.0)
    counters.flush([one], record)
    at = METHODS.index("DELETE") * len(STATUS_CLASSES) + STATUS_CLASSES.index(kind)
    assert record.answers()[at] == sum(record.answers()) == 1
    assert record.words[ERRORS] == (status >= 500)


def test_statuses_of_a_class_share_a_row() -> None:
    """An application may send on whatever statuses it is asked for."""
    one = Counters()
    for _ in range(2):
        for status in [0, *range(100, 1000)]:
            for method in (*METHODS, "BREW"):
                one.add(method, "/", status, 0, 0.0)
    assert len(one.rows) == len(METHODS) * len(STATUS_CLASSES)
    assert one.requests == 2 * 901 * (len(METHODS) + 1)


@pure_only
def test_an_exception_from_another_thread_loses_no_row() -> None:
    class Interrupted(dict[int, list[int]]):
        def __setitem__(self, status: int, row: list[int]) -> None:
            super().__setitem__(status, row)
            raise TimeoutError

    one = Counters()
    one._by_method["GET"] = Interrupted()
    with pytest.raises(TimeoutError):
        one.add("GET", "/", 200, 0, 0.0)
    one.add("GET", "/", 200, 0, 0.0)
    assert one.requests == 1, "the first has come to nothing, the second is found"


def test_small_writes_are_not_delayed() -> None:
    with Engine(application("sync"), "sync") as engine, engine.connect() as client:
        client.get()
        (served,) = engine.call(lambda: list(engine.server._connections))
        assert served.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pure_only
def test_what_is_counted_while_it_is_flushed_is_in_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """By another thread, between two steps of the loop's."""
    board = Scoreboard(1)
    record = board.allocate()
    board.close_descriptor()
    assert record
    one = Counters()
    one.add("GET", "/", 200, 1, 0.0)
    answers = counters._answers

    def counted_meanwhile(rows: Any) -> Any:
        before = answers(rows)
        one.add("GET", "/", 200, 1, 0.0)
        return before

    with monkeypatch.context() as patched:
        patched.setattr(counters, "_answers", counted_meanwhile)
        counters.flush([one], record)
    assert record.words[REQUESTS] == 1
    counters.flush([one], record)
    assert record.words[REQUESTS] == sum(record.answers()) == sum(record.latency()) == 2


class Text(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "500 not what it is\r\n"


class Number(int):
    def __str__(self) -> str:
        return "500 not what it is"

    __repr__ = __format__ = __str__  # type: ignore[assignment]


@pytest.mark.parametrize("known", [False, True])
def test_a_status_is_judged_alike_whether_or_not_it_is_known(known: bool) -> None:
    asgi, wsgi = HeadBuilder(bytes), HeadBuilder(str)
    if known:
        asgi.asgi_status(200)
        wsgi.wsgi_status("200 OK")
    for odd in (200.0, True, Fraction(200), 200 + 0j, "200", b"200", None, [200], -400, 20000, Number(199)):
        with pytest.raises(HeaderError):
            asgi.asgi_status(odd)
    for status in (200, HTTPStatus.OK, Number(200)):
        line, code = asgi.asgi_status(status)
        assert (line, code, type(code)) == (b"HTTP/1.1 200 OK\r\n", 200, int)
    for odd in (b"200 OK", 200, None, ["200 OK"], bytearray(b"200 OK"), Text("20 OK")):
        with pytest.raises(HeaderError):
            wsgi.wsgi_status(odd)
    for text in ("200 OK", Text("200 OK")):
        assert wsgi.wsgi_status(text) == (b"HTTP/1.1 200 OK\r\n", 200)
    assert [type(key) for key in wsgi._wsgi_status] == [str]
    assert [type(key) for key in asgi._asgi_status] == [int]


@pytest.mark.parametrize("known", [False, True])
def test_a_field_is_judged_alike_whether_or_not_it_is_known(known: bool) -> None:
    asgi, wsgi = HeadBuilder(bytes), HeadBuilder(str)
    views = (memoryview(b"x-a"), memoryview(b"1"))
    if known:
        asgi.field((b"x-a", b"1"))
        asgi.build(b"", 200, [(b"x-a", b"1"), (b"content-length", b"5")], -1, True, False, True)
        wsgi.build(b"", 200, [("X-A", "1")], -1, True, False, True)
    head, _, length, _ = asgi.build(
        b"", 200, [views, (memoryview(b"content-length"), memoryview(b"5"))], -1, True, False, True
    )
    assert b"x-a: 1\r\n" in head
    assert length == 5
    assert all(type(item) is bytes for key in asgi._lines for item in key)
    for odd in ((bytearray(b"x-a"), b"1"), (b"x-a", bytearray(b"1")), ("x-a", b"1"), (b"x-a", 1)):
        with pytest.raises(HeaderError):
            asgi.build(b"", 200, [odd], -1, True, False, True)
    head, *_ = wsgi.build(b"", 200, [("X-A", Text("1"))], -1, True, False, True)
    assert b"X-A: 1\r\n" in head
    assert all(type(item) is str for key in wsgi._lines for item in key)


class Loose(str):
    """As some frameworks have them for names: equal whatever the case. Nothing else is as it seems either."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and self.lower() == other.lower()

    def __hash__(self) -> int:
        return hash(self.lower())

    def encode(self, *_arguments: object) -> bytes:  # type: ignore[override]
        return b"X-Evil: 1\r\n\r\n"


class LooseBytes(bytes):
    def __eq__(self, other: object) -> bool:
        return isinstance(other, bytes) and self.lower() == other.lower()

    def __hash__(self) -> int:
        return hash(self.lower())

    def __add__(self, _other: object) -> bytes:  # type: ignore[override]
        return b"x-evil: 1\r\n\r\n"

    def __bytes__(self) -> bytes:
        return b"evil"

    def isdigit(self) -> bool:
        return True


class Raises(str):
    __slots__ = ()

    def __hash__(self) -> int:
        raise RuntimeError


@pytest.mark.parametrize("first", ["loose", "exact"])
@pytest.mark.parametrize(
    ("kind", "exact", "odd", "line"),
    [
        (str, ("etag", "abc"), ("etag", Loose("ABC")), b"etag: ABC\r\n"),
        (str, ("etag", "abc"), (Loose("ETag"), "abc"), b"ETag: abc\r\n"),
        (str, ("etag", "abc"), ("etag", Raises("abc")), b"etag: abc\r\n"),
        (bytes, (b"etag", b"abc"), (b"etag", LooseBytes(b"ABC")), b"etag: ABC\r\n"),
        (bytes, (b"etag", b"abc"), (LooseBytes(b"ETag"), LooseBytes(b"x")), b"ETag: x\r\n"),
    ],
)
def test_a_field_of_another_type_is_sent_as_its_own_text_and_leaves_nothing_to_others(
    kind: type, exact: Any, odd: Any, line: bytes, first: str
) -> None:
    heads = HeadBuilder(kind)
    status = b"HTTP/1.1 200 OK\r\n"
    lines = {id(exact): b"etag: abc\r\n", id(odd): line}
    for header in (odd, exact, odd) if first == "loose" else (exact, odd, exact):
        for headers in ([header], [list(header)]):
            head, *_ = heads.build(status, 200, headers, 2, True, False, True)
            assert head.count(b"\r\n\r\n") == 1
            assert lines[id(header)] in head
            assert b"evil" not in head.lower()
        whole = heads.usual(status, 200, [header], b"ok", 2, 0.0)
        assert (whole is None) == (header is odd)
    assert all(type(item) is kind for key in heads._lines for item in key)


def test_a_length_is_what_its_bytes_say() -> None:
    with pytest.raises(HeaderError, match="not a Content-Length"):
        HeadBuilder(bytes).build(b"", 200, [(b"content-length", LooseBytes(b"5x"))], 2, True, False, True)


@pure_only
def test_no_line_of_a_thread_is_lost_while_the_access_log_is_opened_anew(tmp_path: Path) -> None:
    """A log that is rotated under load has all lines, in one file or another."""
    with Engine(application("threads"), "threads", access_log=True) as engine, engine.connect() as client:
        client.get()
        (connection,) = engine.call(engine.server.open_connections)
        call: Any = types.SimpleNamespace(status=200, sent=0)
        count = 40_000

        def answer() -> None:
            for _ in range(count):
                access = engine.server.accounts.access
                if access is not None:
                    access.add_call(connection, {}, call, 0.0, time.monotonic())

        before = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)
        thread = threading.Thread(target=answer)
        try:
            thread.start()
            paths = [engine.access_path]
            while thread.is_alive():
                paths.append(tmp_path / str(len(paths)))
                fd = os.open(paths[-1], os.O_WRONLY | os.O_CREAT)
                engine.call(partial(engine.server.set_access_log, fd))
        finally:
            sys.setswitchinterval(before)
        thread.join()
        engine.call(engine.server.accounts.flush)
        assert sum(path.read_bytes().count(b"\n") for path in paths) == count + 1
