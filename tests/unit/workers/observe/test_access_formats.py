"""Access logs in JSON, by a template, and with fewer lines: under all classes, and whatever a client sends."""

from __future__ import annotations

import base64
import json
import os
import re
import types
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from gwctl.config.model.settings import PoolSettings
from gwctl.log.event_log import Log
from gwctl.workers.observe.access_formats import access_log_for
from gwctl.workers.observe.access_log import AccessLog
from tests.support.access_notes import note
from tests.support.engine import APPENDING, WORKER_CLASSES, Engine
from tests.support.wait import until

NASTY = '" 200 0\\ \t\x01\x7fé\x9b 10.6.6.6'
ALL = (
    '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(m)s %(U)s %(q)s %(H)s %(s)s %(B)s %(b)s "%(f)s" "%(a)s" '
    "%(T)s %(D)s %(M)s %(L)s %(p)s %(worker)s %(generation)s 100%% "
    '"%({X-One}i)s" "%({content-type}i)s" "%({X-Answer}o)s" "%({x-none}o)s" %({x-none}i)s'
)


def assignment(**settings: Any) -> Any:
    return types.SimpleNamespace(
        settings=PoolSettings("a:b", **settings), pool="web", slot=2, generation=3, instance="shop"
    )


def request(**changes: Any) -> Any:
    facts = {
        "peer": ("10.0.0.1", 5),
        "method": "GET",
        "target": "/x?q=1",
        "http11": True,
        "http_version": "1.1",
    }
    return types.SimpleNamespace(**{**facts, **changes})


class Written:
    """An access log to a file, and its lines."""

    def __init__(self, path: Path, **settings: Any) -> None:
        self.path = path
        self.log = access_log_for(assignment(**settings), os.open(path, APPENDING), Log())

    def lines(self) -> list[str]:
        self.log.flush()
        return self.path.read_text("utf-8").splitlines()


@pytest.fixture
def written(tmp_path: Path) -> Any:
    def make(**settings: Any) -> Written:
        return Written(tmp_path / "access", **settings)

    return make


# ---- the usual form


def test_it_is_the_usual_form_unless_something_is_set() -> None:
    fd = os.open(os.devnull, os.O_WRONLY)
    log = access_log_for(assignment(), fd, Log())
    assert type(log) is AccessLog
    log.close()


def test_a_scope_and_an_environ_say_the_same(written: Any) -> None:
    log = written()
    note(log.log, request(), 200, 12, 0.25, "-", "curl", {}, None)
    log.log.add_scope(request(), 200, 12, 0.25, {"headers": [(b"user-agent", b"curl")]}, None, monotonic())
    first, second = [re.sub(r"\[.*?\]", "", line) for line in log.lines()]
    assert first == second == '10.0.0.1 - -  "GET /x?q=1 HTTP/1.1" 200 12 "-" "curl" 0.250000 web.2'


# ---- JSON


def test_json_lines(written: Any) -> None:
    log = written(access_log_format="json")
    note(log.log, request(), 200, 12, 0.25, "-", NASTY, {}, None)
    note(log.log, request(method="", target="", peer="", http11=False), 0, 0, 0, "-", "-")
    first, second = map(json.loads, log.lines())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", first.pop("time"))
    assert first == {
        "kind": "access",
        "instance": "shop",
        "pool": "web",
        "slot": 2,
        "generation": 3,
        "pid": os.getpid(),
        "client_address": "10.0.0.1",
        "method": "GET",
        "path": "/x",
        "query": "q=1",
        "http_version": "1.1",
        "status": 200,
        "response_bytes": 12,
        "duration_s": 0.25,
        "user_agent": NASTY,
    }
    assert (second["status"], second["http_version"], second["client_address"]) == (499, "1.0", "")
    assert "\x7f" not in log.path.read_text("utf-8")
    assert "\x9b" not in log.path.read_text("utf-8")


@pytest.mark.parametrize("agent", ["\udcff", 7, None, "x" * 100_000])
def test_json_lines_are_objects_whatever_an_application_has_put_there(written: Any, agent: Any) -> None:
    log = written(access_log_format="json")
    note(log.log, request(), 200, 12, 0.25, "-", agent, {}, None)
    (line,) = log.lines()
    assert json.loads(line)["status"] == 200


def test_json_lines_to_a_pipe_are_whole_objects() -> None:
    """Workers mix what is longer than a pipe keeps together."""
    read, write = os.pipe()
    log = access_log_for(assignment(access_log_format="json"), write, Log())
    for size in (10, 5000, 10, 60_000):
        note(log, request(target="/" + "é" * size), 200, 1, 0, "-", "a" * size)
    log.flush()
    lines = os.read(read, 1 << 16).split(b"\n")[:-1]
    log.close()
    os.close(read)
    assert all(len(line) < 4096 for line in lines)
    assert [json.loads(line).get("cut", False) for line in lines] == [False, True, False, True]


# ---- templates


def test_every_field_of_a_template(written: Any) -> None:
    log = written(access_log_format=ALL)
    credentials = base64.b64encode(b"eve:secret").decode()
    environ = {
        "REQUEST_METHOD": "GET",
        "HTTP_AUTHORIZATION": f"Basic {credentials}",
        "HTTP_X_ONE": "one",
        "CONTENT_TYPE": "text/plain",
    }
    answer = types.SimpleNamespace(response_headers=[("X-Answer", "a"), ("x-answer", "b")])
    note(log.log, request(), 200, 0, 1.25, "ref", "agent", environ, answer)
    (line,) = log.lines()
    expected = (
        r'10\.0\.0\.1 - eve \[.{26}\] "GET /x\?q=1 HTTP/1\.1" GET /x q=1 HTTP/1\.1 200 0 - "ref" "agent" '
        rf'1 1250000 1250 1\.250000 {os.getpid()} web\.2 3 100% "one" "text/plain" "a,b" "-" -'
    )
    assert re.fullmatch(expected, line), line


def test_a_scope_fills_the_same_fields(written: Any) -> None:
    log = written(
        access_log_format='%(u)s "%({X-One}i)s" "%({X-Answer}o)s" %({scheme}e)s %({nothing}e)s %(f)s %(a)s'
    )
    headers = [(b"x-one", b"1"), (b"x-one", b"2"), (b"user-agent", b"curl")]
    answer = types.SimpleNamespace(response_headers=[(b"X-Answer", b"a")])
    log.log.add_scope(
        request(),
        200,
        0,
        1.25,
        {"type": "http", "scheme": "https", "headers": headers},
        answer,
        monotonic(),
    )
    assert log.lines() == ['- "1,2" "a" https - - curl']


def test_no_client_forges_a_line_or_a_column(written: Any) -> None:
    log = written(access_log_format='%(a)s "%(a)s" %({x}i)s "%({x}i)s" %(q)s %(u)s')
    forged = base64.b64encode(b'a b"\n:x').decode()
    environ = {"REQUEST_METHOD": "GET", "HTTP_X": "a b\n", "HTTP_AUTHORIZATION": f"Basic {forged}"}
    note(log.log, request(target="/"), 200, 0, 0, "-", NASTY, environ, None)
    (line,) = log.lines()
    shown = "\\x22 200 0\\x5c \\x09\\x01\\x7fé\\x9b 10.6.6.6"
    word = shown.replace(" ", "\\x20")
    assert line == f'{word} "{shown}" a\\x20b\\x0a "a b\\x0a" - a\\x20b\\x22\\x0a'


class Hostile:
    def __str__(self) -> str:
        raise SystemExit

    @property
    def response_headers(self) -> Any:
        raise ValueError


def test_what_an_application_does_to_environ_and_scope_costs_a_field(written: Any) -> None:
    log = written(access_log_format="%(a)s %({x}i)s %({x}e)s %({x}o)s %(u)s")
    environ = {
        "REQUEST_METHOD": "GET",
        "HTTP_X": Hostile(),
        "x": Hostile(),
        "HTTP_AUTHORIZATION": "Basic %%%",
    }
    note(log.log, request(), 200, 0, 0, "-", Hostile(), environ, Hostile())
    log.log.add_scope(request(), 200, 0, 0, {"headers": 5}, Hostile(), monotonic())
    note(log.log, request(), 400, 0, 0, "-", "-")
    assert log.lines() == ["- - - - -"] * 3


@pytest.mark.parametrize("worker", WORKER_CLASSES)
@pytest.mark.parametrize("asgi", [False, True], ids=["wsgi", "asgi"])
def test_a_template_in_every_worker_class(worker: str, asgi: bool) -> None:
    """Bridges too: an ASGI application in a sync worker, a WSGI one in an asgi worker."""
    template = '"%(r)s" %(s)s %(B)s "%({X-One}i)s" "%({X-Answer}o)s" %(worker)s'
    app = live if asgi else application
    interface = "asgi" if asgi else "wsgi"
    with Engine(app, worker, access_log=True, interface=interface, access_log_format=template) as engine:
        with engine.connect() as client:
            assert client.get("/a?b", "X-One: 1").status == 200
            assert client.get("/b", "X-One: 2").status == 200
            client.send(b"GET / HTTP/1.1\r\n\r\n")
            assert client.response().status == 400
        until(lambda: engine.access_path.read_text().count("\n") == 3, "three lines")
    lines = engine.access_path.read_text().splitlines()
    assert lines[:2] == [
        '"GET /a?b HTTP/1.1" 200 2 "1" "yes" web.0',
        '"GET /b HTTP/1.1" 200 2 "2" "yes" web.0',
    ]
    assert " 400 " in lines[2]


def application(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [("X-Answer", "yes"), ("Content-Length", "2")])
    return [b"ok"]


async def live(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        raise NotImplementedError
    headers = [(b"x-answer", b"yes"), (b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"ok"})


# ---- fewer lines


def told(log: Written, *requests: tuple[str, int, float]) -> list[str]:
    for target, status, seconds in requests:
        note(log.log, request(target=target), status, 0, seconds, "-", "-")
    return [line.split('"GET ')[1].split(" HTTP")[0] for line in log.lines()]


def test_only_what_is_slow_or_an_error(written: Any) -> None:
    log = written(access_log_slow_s=0.5)
    assert told(log, ("/fast", 200, 0.4), ("/slow", 200, 0.5), ("/error", 500, 0), ("/gone", 0, 0)) == [
        "/slow",
        "/error",
    ]


def test_excluded_paths(written: Any) -> None:
    log = written(access_log_exclude=("/healthz", "/static/*"))
    paths = [
        ("/healthz", 200, 0.0),
        ("/healthz?x", 500, 0.0),
        ("/healthz/", 200, 0.0),
        ("/static/a", 200, 9.0),
        ("/static", 200, 0.0),
    ]
    assert told(log, *paths) == ["/healthz/", "/static"]


def test_a_share_of_the_others(written: Any) -> None:
    log = written(access_log_sample=0.25, access_log_slow_s=1.0)
    found = told(log, *[("/", 200, 0.0)] * 4000, *[("/slow", 200, 1.0)] * 10)
    assert 800 < found.count("/") < 1200
    assert found.count("/slow") == 10
    nothing = Written(log.path.with_name("other"), access_log_sample=0.0)
    assert told(nothing, ("/", 200, 0.0), ("/error", 503, 0.0)) == ["/error"]


def test_fewer_lines_in_any_format_and_file(written: Any, tmp_path: Path) -> None:
    log = written(access_log_format="%(U)s %({x}i)s", access_log_exclude=("/no",))
    note(log.log, request(target="/no"), 200, 0, 0, "-", "-", {"REQUEST_METHOD": "GET", "HTTP_X": "1"}, None)
    log.log.add_scope(request(target="/no"), 200, 0, 0, {"headers": []}, None, monotonic())
    note(log.log, request(target="/yes"), 200, 0, 0, "-", "-", {"REQUEST_METHOD": "GET", "HTTP_X": "1"}, None)
    log.log.reopen(os.open(tmp_path / "new", APPENDING))
    log.log.add_scope(request(target="/new"), 200, 0, 0, {"headers": [(b"x", b"2")]}, None, monotonic())
    log.log.close()
    assert log.path.read_text() == "/yes 1\n"
    assert (tmp_path / "new").read_text() == "/new 2\n"


def test_an_application_that_seeds_chance_keeps_its_own(written: Any) -> None:
    import random

    log = written(access_log_sample=0.5)
    random.seed(7)
    expected = random.random()
    random.seed(7)
    told(log, *[("/", 200, 0.0)] * 10)
    assert random.random() == expected
