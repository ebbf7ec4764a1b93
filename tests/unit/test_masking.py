"""What could be a secret stays out of logs, records, status and messages about settings."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from gwctl.cli import main
from gwctl.masking import in_full, masked, masked_head, masked_values, shower
from tests.support import engine_apps
from tests.support.engine import Engine
from tests.tidy.checks import ROOT

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/reset?token=hunter2", "/reset?…"),
        ("GET /reset?token=hunter2 HTTP/1.1", "GET /reset?…"),
        ("GET /a?b?c=hunter2", "GET /a?…"),
        ("/?", "/?…"),
        ("/cart", "/cart"),
        ("/a%3Fb", "/a%3Fb"),
        ("", ""),
        ("GET http://user:hunter2@x/reset?token=hunter2", "GET http://…@x/reset?…"),
        ("http://hunter2@x/a@b", "http://…@x/a@b"),
        ("/a@b://c", "/a@b://c"),
        ("/reset?…", "/reset?…"),
    ],
)
def test_masked(text: str, shown: str) -> None:
    assert masked(text) == shown
    assert masked(shown) == shown
    assert shower(log_queries=False)(text) == shown
    assert shower(log_queries=True)(text) == in_full(text) == text


def test_a_head_is_shown_without_the_values_of_its_fields() -> None:
    head = b"GET /?a=hunter2 HTTP/1.1\r\nHost: x\r\nCookie: hunter2\r\nhunter2\r\n\r\n"
    assert masked_head(head) == "GET /?…\r\nHost: …\r\nCookie: …\r\n…"
    assert len(masked_head(b"x" * 2000)) == 500


def test_values_of_variables() -> None:
    assert masked_values({"KEY": SECRET, "NONE": ""}) == {"KEY": "…", "NONE": ""}


# ---- settings


def run(arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    monkeypatch.setattr("sys.argv", ["gwctl", *arguments])
    with pytest.raises(SystemExit):
        main()
    written = capsys.readouterr()
    return written.out + written.err


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "gw.toml"
    path.write_text(f'[pool.web]\napp = "x:y"\n[pool.web.env]\nKEY = "{SECRET}"\nNONE = ""\n')
    monkeypatch.setenv("GWCTL_POOL_WEB_ENV_OTHER", SECRET)
    return path


def test_config_show(file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["config", "show", "-c", str(file), "--set", f"env.THIRD={SECRET}"]
    text = run(command, monkeypatch, capsys)
    assert SECRET not in text
    assert re.search(r'env = .*KEY = "…".*NONE = "".*OTHER = "…".*THIRD = "…"', text)
    assert "--secrets shows them" in text
    document = run([*command, "--json"], monkeypatch, capsys)
    assert SECRET not in document
    assert json.loads(document)["settings"]["pool.web.env"]["value"]["KEY"] == "…"
    for more in ([], ["--json"]):
        shown = run([*command, "--secrets", *more], monkeypatch, capsys)
        assert shown.count(SECRET) == 3
        assert "--secrets" not in shown


@pytest.mark.parametrize(
    "line",
    [
        "env.KEY = 31337",
        'env.KEY = ["31337"]',
        'env = "31337"',
        "env = { KEY = 31337 }",
        'env = { "A B" = "31337" }',
        "env.KEY = 31337.5",
        'env.KEY = { a = "31337" }',
        'env_file = "secrets"',
    ],
)
def test_mistakes_do_not_show_values(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "gw.toml"
    path.write_text(f'[pool.web]\napp = "x:y"\n{line}\n')
    (tmp_path / "secrets").write_text("sk_31337_and_more\n")
    text = run(["check", "-c", str(path)], monkeypatch, capsys)
    assert "31337" not in text
    if "A B" not in line:
        assert ": " in text
        assert "problem" in text


@pytest.mark.parametrize(
    ("variable", "flag"), [("GWCTL_POOL_WEB_ENV", "env=31337"), ("GWCTL_ENV", "pool.web.env=31337")]
)
def test_mistakes_in_variables_and_flags(
    variable: str, flag: str, file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(variable, "31337")
    text = run(["config", "show", "-c", str(file), "--set", flag], monkeypatch, capsys)
    assert "31337" not in text
    assert "…" in text


# ---- workers


def wsgi_fails(environ: dict[str, Any], start_response: Any) -> Any:
    if environ["PATH_INFO"] == "/short":
        start_response("200 OK", [("Content-Length", "10")])
        return [b"x"]
    raise RuntimeError("no")


async def asgi_fails(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["path"] == "/short":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"10")]})
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        return
    raise RuntimeError("no")


@pytest.mark.parametrize("log_queries", [False, True])
@pytest.mark.parametrize("worker_class", ["sync", "threads", "asgi"])
def test_error_lines(worker_class: str, log_queries: bool) -> None:
    application = asgi_fails if worker_class == "asgi" else wsgi_fails
    with Engine(application, worker_class, log_queries=log_queries) as engine:
        for target in ("/fails?token=hunter2", "/short?token=hunter2", "http://x/abs?token=hunter2"):
            client = engine.connect()
            client.send(f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            _read_all(client)
        if worker_class == "asgi":
            client = engine.connect()
            client.send(
                b"GET /socket?token=hunter2 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )
            _read_all(client)
            engine.wait_for_log("WebSocket /socket?")
        engine.wait_for_log("GET /short?")
        engine.wait_for_log("GET /abs?")
        if log_queries:
            for text in (
                "GET /fails?token=hunter2",
                "GET /short?token=hunter2",
                "GET /abs?token=hunter2",
            ):
                assert text in engine.log
        else:
            assert SECRET not in engine.log
            for text in ("GET /fails?…: ", "GET /short?…: ", "GET /abs?…: "):
                assert text in engine.log


def _read_all(client: Any) -> None:
    with contextlib.suppress(ConnectionResetError):
        client.rest()


def test_a_request_line_that_is_none_is_not_shown_beyond_its_path() -> None:
    with Engine(engine_apps.wsgi, "sync") as engine:
        for target in (
            b"/x?token=hunter2 and more",
            b"http://me:hunter2@x/?a=hunter2",
            b"ftp://x/?a=hunter2",
        ):
            client = engine.connect()
            client.send(b"GET " + target + b" HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = client.rest()
            assert b" 400 " in answer
            assert b"hunter2" not in answer
        engine.wait_for_log("'ftp://x/?…")
        engine.wait_for_log("'http://…@x/?…")
        assert SECRET not in engine.log


def test_nothing_in_a_worker_writes_a_target_as_it_came() -> None:
    """Only the access log and what makes a request's scope or environ of it may; and sync's record, masked when read."""
    written = [
        f"{path.name}: {line.strip()}"
        for path in sorted((ROOT / "workers").rglob("*.py"))
        for line in path.read_text("utf-8").splitlines()
        if re.search(r"\{[\w.]*\btarget[!:}]", line)
        and path.name not in {"access_log.py", "access_formats.py"}
        and not (path.name in {"sync.py", "request_head.py"} and line.endswith('.encode("latin-1")'))
    ]
    assert not written
