"""A page with a hundred small resources, which a browser fetches over one connection of HTTP/2."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.browser import become
from tests.support.server import GwctlServer
from tests.support.tls import Files

RESOURCES = 100
APPLICATION = """
import asyncio

PICTURE = b'<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"><rect width="8" height="8"/></svg>'


def answer(path):
    if path != "/":
        return b"image/svg+xml", PICTURE
    pictures = "".join(f'<img src="/{number}.svg" onload="loaded++">' for number in range(100))
    return b"text/html", f"<!doctype html><script>var loaded = 0</script>{pictures}".encode()


def wsgi(environ, start_response):
    kind, body = answer(environ["PATH_INFO"])
    start_response("200 OK", [("Content-Type", kind.decode())])
    return [body]


async def asgi(scope, receive, send):
    if scope["type"] == "http":
        kind, body = answer(scope["path"])
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
        await send({"type": "http.response.body", "body": body})
"""


@pytest.mark.parametrize(
    ("worker", "interface"), [("asgi", "asgi"), ("threads", "wsgi"), ("sync", "wsgi"), ("sync", "asgi")]
)
def test_a_page_of_many_small_resources(browser: Any, tmp_path: Path, worker: str, interface: str) -> None:
    (tmp_path / "pictures.py").write_text(APPLICATION)
    files = Files(tmp_path, "127.0.0.1")
    tls = {"certificate": str(files.certificate), "key": str(files.key)}
    settings = {"worker": worker, "processes": 1, "bind": ["tls:127.0.0.1:0"], "chdir": str(tmp_path)}
    with GwctlServer(f"pictures:{interface}", tls=tls, **settings) as server:
        found = re.search(r"https://127\.0\.0\.1:\d+", server.log)
        assert found
        context = browser.new_context(ignore_https_errors=True)
        page = context.new_page()
        page.goto(found[0])
        become(page, f"loaded === {RESOURCES}")
        fetched = page.evaluate(
            "performance.getEntriesByType('resource').map(each => [each.name, each.nextHopProtocol])"
        )
        protocols = [protocol for name, protocol in fetched if name.endswith(".svg")]  # not its icon
        assert protocols == ["h2"] * RESOURCES
        context.close()
