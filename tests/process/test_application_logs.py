"""What applications log reaches the event log, once, unless they have seen to it themselves."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx
import pytest

from tests.support.server import GwctlServer
from tests.support.wait import until

CLASSES = ["sync", "threads", "asgi"]
JSON = {"format": "json"}
ERRORS = {"allow_errors": ["two", "no price", "wrong", "shop", "silent"], "allow_kill": True}


def app(worker: str) -> str:
    return "logs:live" if worker == "asgi" else "logs:application"


def objects(server: GwctlServer) -> list[dict[str, Any]]:
    until(lambda: server.log.endswith("\n"), "the last line to be whole")
    return [json.loads(line) for line in server.log.splitlines() if line.startswith("{")]


def logged(server: GwctlServer) -> list[str]:
    """The lines from the workers' ready on that are of the application."""
    httpx.get(server.url + "/x")
    server.wait_for_log("no price")
    return server.log.splitlines()


@pytest.mark.parametrize("preload", [False, True], ids=["", "preload"])
@pytest.mark.parametrize("worker", CLASSES)
def test_in_json_a_record_is_an_object_with_its_logger(gwctl_server, worker: str, preload: bool) -> None:
    with gwctl_server(app(worker), worker=worker, preload=preload, log=JSON, **ERRORS) as server:
        lines = logged(server)
        found = {each["text"]: each for each in objects(server) if each["kind"] == "application"}
    assert all(line.startswith("{") for line in lines)
    low = found["stock of tea is low"]
    assert low["logger"] == "shop.views"
    assert low["level"] == "warning"
    assert low["figures"] == {"left": 3, "path": "\\udcff"}
    assert (low["pool"], low["slot"], low["generation"], low["subject"]) == ("web", 0, 1, "web.0 g1")
    assert found["two\nlines"]["level"] == "critical"
    assert found["from a library"]["logger"] == "silent"
    assert "'%d' with arguments that do not fit it" in str(found)
    price = found["no price"]
    assert price["exception_type"] == "KeyError"
    assert price["exception_stacktrace"].startswith('  File "')
    assert "while imported" in found
    assert "some news" not in found


@pytest.mark.parametrize("form", ["json", "text"])
@pytest.mark.parametrize("worker", CLASSES)
def test_lines_of_a_request_have_its_id(gwctl_server, worker: str, form: str) -> None:
    """The application's, also those of its libraries, and what is told of its failure."""
    ids = {"request_id_header": "X-Request-ID", "log": {"format": form}}
    with gwctl_server(app(worker), worker=worker, **ids, **ERRORS) as server:
        httpx.get(server.url + "/x", headers={"X-Request-ID": "abc-1"})
        server.wait_for_log("no price")
        log = server.log
        found = objects(server)
    if form == "text":
        assert re.search(r"warn  web\.0 g1   shop\.views \[abc-1\]: stock of tea is low$", log, re.MULTILINE)
        assert re.search(r"warn  web\.0 g1   shop\.views: while imported$", log, re.MULTILINE)
        return
    of = {each["text"]: each.get("request_id") for each in found if each["kind"] == "application"}
    assert of["stock of tea is low"] == of["no price"] == of["from a library"] == "abc-1"
    assert of["while imported"] is None


@pytest.mark.parametrize("worker", CLASSES)
def test_the_line_of_a_request_that_failed_has_its_id(gwctl_server, worker: str) -> None:
    raises = "raises:live" if worker == "asgi" else "raises:application"
    with gwctl_server(raises, worker=worker, log=JSON, request_id_header="X-Request-ID", **ERRORS) as server:
        httpx.get(server.url + "/x", headers={"X-Request-ID": "abc-1"})
        server.wait_for_log("the application raised.*\n")
        (line,) = [each for each in objects(server) if each.get("exception_type")]
    assert line["request_id"] == "abc-1"


@pytest.mark.parametrize("worker", CLASSES)
def test_in_text_they_look_like_the_other_lines(gwctl_server, worker: str) -> None:
    with gwctl_server(app(worker), worker=worker, **ERRORS) as server:
        log = "\n".join(logged(server))
    for line in (
        r"warn  web\.0 g1   shop\.views: while imported",
        r"warn  web\.0 g1   shop\.views: stock of tea is low",
        r"error web\.0 g1   shop\.child: two\n  lines",
        r'error web\.0 g1   shop\.views: no price\n +File ".*logs\.py", line \d+, in say\n',
    ):
        assert len(re.findall(rf"^\d\d:\d\d:\d\d\.\d{{3}} {line}", log, re.MULTILINE)) == 1, log


@pytest.mark.parametrize("how", ["basic", "own", "dict", "late", "late-dict"])
@pytest.mark.parametrize("worker", CLASSES)
def test_what_the_application_has_configured_is_its_own(gwctl_server, worker: str, how: str) -> None:
    with gwctl_server(app(worker), worker=worker, environ={"LOGS": how}, **ERRORS) as server:
        lines = logged(server)
    of = [line for line in lines if "stock of tea" in line]
    assert of == ["mine: stock of tea is low"], lines
    assert sum("no price" in line for line in lines) == 1
    assert sum("some news" in line for line in lines) == (how in {"basic", "dict", "late-dict"})
    assert sum("from a library" in line for line in lines) == 1


@pytest.mark.parametrize(("how", "news"), [("uvicorn", 0), ("level", 1), ("implicit", 0)])
def test_levels_and_what_is_no_handler_of_its_own(gwctl_server, how: str, news: int) -> None:
    with gwctl_server(app("asgi"), worker="asgi", environ={"LOGS": how}, **ERRORS) as server:
        lines = logged(server)
    shop = [line for line in lines if "web.0 g1   shop.views: " in line]
    assert sum("some news" in line for line in shop) == news
    assert sum("stock of tea" in line for line in lines) == sum("stock of tea" in line for line in shop) == 1


@pytest.mark.parametrize("preload", [False, True], ids=["", "preload"])
def test_the_level_of_the_root_is_a_setting(gwctl_server, preload: bool) -> None:
    info = {"log_application_level": "info", "preload": preload}
    with gwctl_server(app("sync"), worker="sync", **info, **ERRORS) as server:
        lines = logged(server)
    assert sum(line.endswith("info  web.0 g1   shop.views: some news") for line in lines) == 1


@pytest.mark.parametrize("worker", CLASSES)
def test_it_can_be_switched_off(gwctl_server, worker: str) -> None:
    with gwctl_server(app(worker), worker=worker, log_application=False, **ERRORS) as server:
        lines = logged(server)
    assert "stock of tea is low" in lines
    assert "while imported" in lines


# ---- frameworks


@pytest.mark.parametrize(
    ("spec", "worker", "logger", "text"),
    [
        ("flask_app:app", "sync", "flask_app", "Exception on /raise [GET]"),
        ("flask_app:app", "threads", "flask_app", "Exception on /raise [GET]"),
        ("flask_app:app", "asgi", "flask_app", "Exception on /raise [GET]"),
        ("django_project.wsgi:application", "sync", "django.request", "Internal Server Error: /raise"),
        ("django_project.wsgi:application", "threads", "django.request", "Internal Server Error: /raise"),
        ("django_project.asgi:application", "asgi", "django.request", "Internal Server Error: /raise"),
    ],
)
def test_what_frameworks_log_is_there_once(
    gwctl_server, spec: str, worker: str, logger: str, text: str
) -> None:
    with gwctl_server(spec, worker=worker, log=JSON, allow_errors=[".*"], allow_kill=True) as server:
        assert httpx.get(server.url + "/raise").status_code == 500
        httpx.get(server.url + "/nowhere")
        server.wait_for_log(re.escape(text))
        found = [each for each in objects(server) if each["kind"] == "application"]
        lines = server.log.splitlines()
    assert [(each["logger"], each["text"]) for each in found] == [(logger, text)]
    assert found[0]["exception_type"] == "common.Deliberate"
    assert all(line.startswith("{") for line in lines), lines


@pytest.mark.parametrize("worker", CLASSES)
def test_fastapi_says_once_what_it_raises(gwctl_server, worker: str) -> None:
    with gwctl_server(
        "fastapi_app:app", worker=worker, log=JSON, allow_errors=[".*"], allow_kill=True
    ) as server:
        assert httpx.get(server.url + "/raise").status_code == 500
        server.wait_for_log("Deliberate")
        found = [each for each in objects(server) if each.get("exception_type")]
        lines = server.log.splitlines()
    assert [(each["kind"], each["exception_type"]) for each in found] == [("worker", "common.Deliberate")]
    assert all(line.startswith("{") for line in lines), lines
