"""WSGI applications under asgi."""

from __future__ import annotations

from typing import Any

from gwctl.config.settings import Limits
from gwctl.workers.bridges import WsgiInAsgi
from tests.support.engine import Engine


def test_a_header_with_an_underscore_spoofs_none_and_cookies_are_joined_as_such() -> None:
    """As under the WSGI runners, for a WSGI application under asgi."""
    seen = {}

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        seen.update(environ)
        start_response("200 OK", [])
        return [b"seen"]

    with Engine(WsgiInAsgi(application, Limits()), "asgi") as engine, engine.connect() as client:
        sent = ["X-Real: true", "X_Real: spoofed", "X_Forwarded_For: 6.6.6.6", "Cookie: a=1", "Cookie: b=2"]
        assert client.get("/", *sent).body == b"seen"
    assert seen["HTTP_X_REAL"] == "true"
    assert "HTTP_X_FORWARDED_FOR" not in seen
    assert seen["HTTP_COOKIE"] == "a=1; b=2"
