"""What Forwarded and X-Forwarded-* mean, and from whom: the reading alone, then under each worker class."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gwctl.config.trusted_proxies import HEADERS, Trusted
from gwctl.workers.exchange.forwarded import OriginalRequest, understand
from tests.support import engine_apps
from tests.support.engine import PARSERS, WORKER_CLASSES, Client, Engine
from tests.support.wait import until

OURS = Trusted(["127.0.0.1", "10.0.0.0/8", "fd00::/8"])
EVERYBODY = Trusted(["*"])
CHAINS = {
    "203.0.113.9": ("203.0.113.9", 0),
    "203.0.113.9, 10.0.0.1": ("203.0.113.9", 0),
    "6.6.6.6, 203.0.113.9,10.0.0.1 , 10.0.0.2": ("203.0.113.9", 0),
    "10.0.0.3, 10.0.0.2": ("10.0.0.3", 0),
    "203.0.113.9:4711": ("203.0.113.9", 4711),
    "[2001:db8::1]:4711": ("2001:db8::1", 4711),
    "2001:DB8:0::1": ("2001:db8::1", 0),
    "[2001:db8::1], fd00::7": ("2001:db8::1", 0),
    "::ffff:203.0.113.9": ("203.0.113.9", 0),
    "8.8.8.8, ::ffff:10.0.0.1": ("8.8.8.8", 0),
    "6.6.6.6, unknown, 10.0.0.1": ("10.0.0.1", 0),
    "6.6.6.6, evil.example": None,
    "6.6.6.6,": None,
    "": None,
    "1.2.3": None,
    "1.2.3.4:99999": None,
    "fe80::1%eth0": None,
    "10.0.0.1\x00": None,
}


@pytest.mark.parametrize("value", CHAINS)
def test_the_client_is_the_rightmost_that_is_no_proxy(value: str) -> None:
    assert understand({"x-forwarded-for": value}, OURS).client == CHAINS[value]


def test_trusting_everybody_believes_the_first_entry() -> None:
    assert understand({"x-forwarded-for": "6.6.6.6, 8.8.8.8"}, EVERYBODY).client == ("6.6.6.6", 0)


@pytest.mark.parametrize(
    ("values", "scheme"),
    [
        ({"x-forwarded-proto": "https"}, "https"),
        ({"x-forwarded-proto": "HTTPS"}, "https"),
        ({"x-forwarded-proto": "wss"}, "https"),
        ({"x-forwarded-proto": "http"}, "http"),
        ({"x-forwarded-proto": "gopher"}, ""),
        ({"x-forwarded-proto": "https, http"}, "http"),
        ({"x-forwarded-proto": "https, http", "x-forwarded-for": "6.6.6.6"}, "http"),
        ({"x-forwarded-proto": "https, http", "x-forwarded-for": "8.8.8.8, 10.0.0.1"}, "https"),
        ({"x-forwarded-proto": "https, http", "x-forwarded-for": "6.6.6.6, 8.8.8.8"}, "http"),
    ],
)
def test_the_scheme_is_that_beside_the_client(values: dict[str, str], scheme: str) -> None:
    assert understand(values, OURS).scheme == scheme


@pytest.mark.parametrize(
    ("host", "server"),
    [
        ("shop.example", ("shop.example", 80)),
        ("shop.example:8443", ("shop.example", 8443)),
        ("[2001:db8::1]", ("2001:db8::1", 80)),
        ("[2001:db8::1]:81", ("2001:db8::1", 81)),
        ("evil example", None),
        ("evil/../", None),
        ("a:0", None),
        ("a:70000", None),
        ("user@host", None),
        ("", None),
    ],
)
def test_host(host: str, server: tuple[str, int] | None) -> None:
    original = understand({"x-forwarded-host": host}, OURS)
    assert original.server == server
    assert original.host == (host if server else "")


def test_the_port_goes_with_the_host_and_the_scheme() -> None:
    values = {"x-forwarded-host": "shop.example", "x-forwarded-proto": "https"}
    assert understand(values, OURS).server == ("shop.example", 443)
    assert understand({**values, "x-forwarded-port": "8443"}, OURS).server == ("shop.example", 8443)
    for wrong in ("0", "-1", "65536", "99999999999", "\u0663", "x", ""):
        assert understand({**values, "x-forwarded-port": wrong}, OURS).server == ("shop.example", 443)


@pytest.mark.parametrize(
    ("value", "prefix"),
    [
        ("/api", "/api"),
        ("/api/v1/", "/api/v1"),
        ("/a, /b", "/b"),
        ("/", ""),
        ("api", ""),
        ("//evil.example", ""),
        ("/a/../b", ""),
        ("/a/./b", ""),
        ("/..a", "/..a"),
        ("/a b", ""),
        ("/a%2e", ""),
        ("/a?b", ""),
    ],
)
def test_prefix(value: str, prefix: str) -> None:
    assert understand({"x-forwarded-prefix": value}, OURS).prefix == prefix


FORWARDED = {
    "for=192.0.2.60;proto=https;by=203.0.113.43;host=shop.example": (
        ("192.0.2.60", 0),
        "https",
        "shop.example",
    ),
    'For="[2001:db8:cafe::17]:4711"': (("2001:db8:cafe::17", 4711), "", ""),
    "for=192.0.2.43, for=10.0.0.1;proto=http": (("192.0.2.43", 0), "http", ""),
    "for=192.0.2.43;proto=https, for=10.0.0.1;proto=http": (("192.0.2.43", 0), "https", ""),
    "for=6.6.6.6;proto=https, for=192.0.2.43;proto=http": (("192.0.2.43", 0), "http", ""),
    'for="192.0.2.43:47011" ; proto = https': (None, "", ""),
    'for="\\192.0.2.43"': (("192.0.2.43", 0), "", ""),
    "for=6.6.6.6, for=_hidden;proto=https": (None, "https", ""),
    "for=unknown": (None, "", ""),
    'for="6.6.6.6, for=192.0.2.43': (None, "", ""),
    'for=6.6.6.6;x="\\", for=192.0.2.43': (None, "", ""),
    "for=6.6.6.6;for=192.0.2.43": (None, "", ""),
    "for": (None, "", ""),
    ",": (None, "", ""),
    "": (None, "", ""),
}


@pytest.mark.parametrize("value", FORWARDED)
def test_the_standard_field(value: str) -> None:
    """An element that a client left open must not swallow the one that a proxy appended."""
    original = understand({"forwarded": value}, OURS)
    assert (original.client, original.scheme, original.host) == FORWARDED[value]


def test_the_standard_field_goes_before_the_others() -> None:
    values = {"forwarded": "for=192.0.2.60", "x-forwarded-for": "6.6.6.6", "x-forwarded-proto": "https"}
    assert understand(values, OURS) == OriginalRequest(client=("192.0.2.60", 0))
    assert understand({**values, "forwarded": "rubbish"}, OURS) == OriginalRequest()
    both = understand({**values, "x-forwarded-prefix": "/p", "x-forwarded-port": "81"}, OURS)
    assert (both.prefix, both.port) == ("/p", 81)


@given(st.dictionaries(st.sampled_from([name.lower() for name in HEADERS]), st.text(max_size=60)))
def test_nothing_raises(values: dict[str, str]) -> None:
    understand(values, OURS)


@given(st.text(alphabet='forwadptshi=;,"\\ [].:127', max_size=40))
def test_nothing_in_the_standard_field_raises(value: str) -> None:
    understand({"forwarded": value}, OURS)


# ---- under a worker

NGINX = ("X-Forwarded-For: 203.0.113.9", "X-Forwarded-Proto: https")


def path_of(client: Client, *headers: str, path: str = "/path") -> dict[str, Any]:
    shown: dict[str, Any] = json.loads(client.get(path, *headers).body)
    return shown


def facts_of(worker_class: str, shown: dict[str, Any]) -> tuple[str, str, str]:
    """Client, scheme and Host as the application was told them."""
    if worker_class != "asgi":
        return shown["REMOTE_ADDR"], shown["wsgi.url_scheme"], shown["HTTP_HOST"]
    host = dict(shown["headers"])["host"]
    return (shown["client"] or [""])[0], shown["scheme"], host


@pytest.fixture(params=WORKER_CLASSES)
def worker_class(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize("unix", [False, True])
def test_a_trusted_proxy_is_believed_request_by_request(worker_class: str, parser: str, unix: bool) -> None:
    application = engine_apps.application(worker_class)
    peer = "" if unix else "127.0.0.1"
    with (
        Engine(application, worker_class, parser=parser, unix=unix) as engine,
        engine.connect() as client,
    ):
        for headers, expected in (
            ((), (peer, "http", "test")),
            (NGINX, ("203.0.113.9", "https", "test")),
            (
                ("x-forwarded-FOR: 203.0.113.1", "X-FORWARDED-FOR: 203.0.113.7"),
                ("203.0.113.7", "http", "test"),
            ),
            (("X-Forwarded-Host: evil.example", "Forwarded: for=6.6.6.6"), (peer, "http", "test")),
            (("X_Forwarded_For: 6.6.6.6",), (peer, "http", "test")),
            ((), (peer, "http", "test")),
        ):
            assert facts_of(worker_class, path_of(client, *headers)) == expected


def test_nobody_else_is(worker_class: str) -> None:
    """The same requests that a trusted proxy is believed for change nothing, and still reach the application."""
    application = engine_apps.application(worker_class)
    for settings in (
        {"trusted_proxies": ("192.0.2.1", "unix")},
        {"trusted_proxies": ()},
        {"forwarded_headers": ()},
    ):
        with Engine(application, worker_class, **settings) as engine, engine.connect() as client:
            shown = path_of(
                client, *NGINX, "X-Forwarded-Host: evil.example", "Forwarded: for=6.6.6.6;host=evil"
            )
            assert facts_of(worker_class, shown) == ("127.0.0.1", "http", "test")
            seen = (
                dict(shown["headers"])["x-forwarded-for"]
                if worker_class == "asgi"
                else shown["HTTP_X_FORWARDED_FOR"]
            )
            assert seen == "203.0.113.9"


def test_all_of_the_fields(worker_class: str) -> None:
    application = engine_apps.application(worker_class)
    with (
        Engine(application, worker_class, forwarded_headers=HEADERS) as engine,
        engine.connect() as client,
    ):
        headers = (*NGINX, "X-Forwarded-Host: shop.example", "X-Forwarded-Prefix: /path-a")
        shown = path_of(client, *headers, path="/path")
        assert facts_of(worker_class, shown) == ("203.0.113.9", "https", "shop.example")
        if worker_class == "asgi":
            assert (shown["root_path"], shown["path"], shown["server"]) == (
                "/path-a",
                "/path-a/path",
                ["shop.example", 443],
            )
        else:
            assert (shown["SERVER_NAME"], shown["SERVER_PORT"]) == ("shop.example", "443")
            assert shown["HTTPS"] == "on"
        forwarded = 'Forwarded: for=203.0.113.9;proto=https;host="shop.example:8443"'
        shown = path_of(client, forwarded, "X-Forwarded-For: 6.6.6.6")
        assert facts_of(worker_class, shown) == ("203.0.113.9", "https", "shop.example:8443")


@pytest.mark.parametrize(
    ("path", "inside"),
    [
        ("/pre/own/path/x", "/path/x"),
        ("/own/path/x", "/path/x"),
        ("/path/x", "/path/x"),
    ],
)
def test_a_prefix_stands_before_root_path(path: str, inside: str) -> None:
    """Whatever part of it the proxies in front took off."""
    seen: list[tuple[str, str]] = []

    def wsgi(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        seen.append((environ["SCRIPT_NAME"], environ["PATH_INFO"]))
        start_response("200 OK", [])
        return []

    async def asgi(scope: Any, _receive: Any, send: Any) -> None:
        seen.append((scope["root_path"], scope["path"]))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    for name, application in (("sync", wsgi), ("asgi", asgi)):
        settings = {"forwarded_headers": ("X-Forwarded-Prefix",), "root_path": "/own"}
        with Engine(application, name, **settings) as engine, engine.connect() as client:
            client.get(path, "X-Forwarded-Prefix: /pre")
    assert seen == [("/pre/own", inside), ("/pre/own", "/pre/own" + inside)]


def test_the_access_log_names_the_client(worker_class: str) -> None:
    """And the proxy itself for what is no request, such as rubbish after one of a client's."""
    application = engine_apps.application(worker_class)
    with Engine(application, worker_class, access_log=True) as engine, engine.connect() as client:
        client.get("/one", *NGINX)
        client.get("/two")
        client.get("/three", *NGINX)
        client.send(b"rubbish\r\n\r\n")
        assert client.head()[0] == 400
        until(lambda: engine.access_path.read_text().count("\n") == 4, "four lines")
        lines = sorted(
            line.split(" ")[0] + line.split('"')[1] for line in engine.access_path.read_text().splitlines()
        )
    assert lines == sorted(
        [
            "203.0.113.9GET /one HTTP/1.1",
            "127.0.0.1GET /two HTTP/1.1",
            "203.0.113.9GET /three HTTP/1.1",
            "127.0.0.1-",
        ]
    )


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize(
    ("line", "more"),
    [
        (b"GET / HTTP/1.1", b"Host: a b\r\n"),
        (b"CONNECT x:1 HTTP/1.1", b"Host: x\r\n"),
        (b"GET ftp://x/ HTTP/1.1", b"Host: x\r\n"),
        (b"POST / HTTP/1.1", b"Host: x\r\nContent-Length: 99\r\n"),
        (b"POST / HTTP/1.0", b"Content-Length: 1\r\nExpect: luck\r\n"),
    ],
)
def test_what_is_refused_is_blamed_on_the_client_that_sent_it(
    worker_class: str, parser: str, line: bytes, more: bytes
) -> None:
    """And not on the one before, whom a log watcher would shut out."""
    settings: dict[str, Any] = {"trusted_proxies": ("127.0.0.1",), "limits": {"body_bytes_max": 9}}
    application = engine_apps.application(worker_class)
    for sent, told in (b"X-Forwarded-For: 192.0.2.8\r\n", "192.0.2.8"), (b"", "127.0.0.1"):
        with (
            Engine(application, worker_class, parser=parser, access_log=True, **settings) as engine,
            engine.connect() as client,
        ):
            assert client.get("/", "X-Forwarded-For: 192.0.2.7").status == 200
            client.send(line + b"\r\n" + more + sent + b"\r\n")
            assert client.response().status >= 400
            until(lambda: engine.access_path.read_text().count("\n") == 2, "two lines")
            lines = engine.access_path.read_text().splitlines()
            assert [each.split(" ")[0] for each in lines] == ["192.0.2.7", told]
