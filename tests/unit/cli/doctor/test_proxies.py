"""Configurations of nginx and HAProxy, read and judged."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gwctl.cli.doctor import haproxy, nginx
from gwctl.cli.doctor.proxied import Proxied, proxied
from gwctl.config import addresses
from gwctl.config.load import load
from gwctl.config.sources import Override

ROOT = Path(__file__).resolve().parents[4]


def pool(*bind: str, keepalive_s: float = 75.0, request_s: float = 0.0, name: str = "web") -> Proxied:
    parsed = tuple(addresses.parse(each) for each in bind or ("127.0.0.1:8000",))
    return Proxied(name, parsed, keepalive_s, request_s)  # type: ignore[arg-type]


GOOD = """
http {
    proxy_http_version 1.1;   # for all
    upstream shop { server 127.0.0.1:8000; keepalive 32; }
    server {
        proxy_set_header Connection "";
        location / { proxy_pass http://shop; }
        location ~ \\.php$ { return 404 "a{2} ; it's"; }
    }
}
"""


def of_nginx(text: str, *pools: Proxied) -> list[tuple[str, str]]:
    return [(each.verdict.value, each.text) for each in nginx.check(text, pools or (pool(),))]


def test_nginx_as_it_should_be() -> None:
    """What a location does not set holds from the server and the http block."""
    assert of_nginx(GOOD) == [
        (
            "ok",
            "nginx: keepalive_timeout of upstream shop is 60 s, pool.web.timeouts.keepalive_timeout_s = 75",
        )
    ]


@pytest.mark.parametrize(
    ("old", "new", "part"),
    [
        (
            "keepalive 32;",
            "",
            "upstream shop has no keepalive: each request takes a new connection (nginx before",
        ),
        ("keepalive 32;", "keepalive 0;", "upstream shop sets keepalive 0"),
        (
            "keepalive 32;",
            "keepalive 32; keepalive_timeout 75s;",
            "is 75 s, pool.web.timeouts.keepalive_timeout_s = 75: resets",
        ),
        ("keepalive 32;", "keepalive 32; keepalive_timeout '1m 30s';", "is 90 s"),
        ("proxy_http_version 1.1;", "", "has no proxy_http_version"),
        ("proxy_http_version 1.1;", "proxy_http_version 1.0;", "speaks HTTP/1.0"),
        ('proxy_set_header Connection "";', "", "does not clear Connection"),
        ('proxy_set_header Connection "";', "proxy_set_header connection close;", "sends Connection: close"),
        (
            "proxy_pass http://shop;",
            "proxy_pass http://shop; proxy_set_header Host $host;",
            "does not clear Connection",
        ),
        ("127.0.0.1:8000", "10.0.0.9:8000", "no proxy_pass leads to an address of these settings"),
    ],
)
def test_nginx_that_is_wrong(old: str, new: str, part: str) -> None:
    assert old in GOOD
    found = list(nginx.check(GOOD.replace(old, new), [pool()]))
    (bad,) = [each for each in found if each.verdict.value == "warn"]
    assert part in bad.text
    assert bad.mend


def test_nginx_without_an_upstream() -> None:
    text = "server { location / { proxy_pass http://unix:/run/shop.sock:/app; } }"
    ((verdict, said),) = of_nginx(text, pool("unix:/run/shop.sock"))
    assert verdict == "warn"
    assert "proxy_pass to unix:/run/shop.sock, which is no upstream, has no keepalive" in said


def test_nginx_that_gives_up_first() -> None:
    text = GOOD.replace("proxy_pass", "proxy_read_timeout 30; proxy_pass")
    assert of_nginx(text, pool(request_s=60.0))[-1] == (
        "warn",
        "nginx: proxy_read_timeout (line 7) is 30 s, a request of web may take 60 s: 504 for its client, while it goes on",
    )
    assert of_nginx(GOOD, pool(request_s=60.0))[-1][0] == "ok"


def test_nginx_includes_are_not_followed_and_that_is_told() -> None:
    found = of_nginx("include mime.types; include sites/*.conf;" + GOOD)
    assert found[0] == ("ok", "nginx: not followed, what it includes: mime.types, sites/*.conf")


def test_several_pools() -> None:
    text = (
        GOOD
        + "upstream live { server unix:/run/live.sock; keepalive 2; keepalive_timeout 5m; }"
        + (
            "server { location /a { proxy_pass http://live; proxy_http_version 1.1; proxy_set_header Connection $up; } }"
        )
    )
    live = pool("unix:/run/live.sock", name="live")
    found = of_nginx(text, pool(), live)
    assert [verdict for verdict, _ in found] == ["ok", "warn"]
    assert "pool.live.timeouts.keepalive_timeout_s = 75: resets now and then" in found[1][1]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("a {", "in the midst"),
        ("a", "in the midst"),
        ("}", "line 1: } is not"),
        ("\n;", "line 2: ;"),
        ('a "x;', "line 1: a quote"),
        ("a b } c;", "line 1: }"),
    ],
)
def test_no_configuration(text: str, part: str) -> None:
    with pytest.raises(nginx.NotUnderstoodError, match=part):
        nginx.parse(text)


def test_lua_is_passed_over() -> None:
    (block, other) = nginx.parse("content_by_lua_block { local t = {['a'] = \"it's\"} -- don't\n } x y;")
    assert (block.name, other.words, other.line) == ("content_by_lua_block", ["y"], 2)


@given(st.text(alphabet="abc {};\"'\\#\n$1", max_size=80))
def test_any_text_is_a_configuration_or_none(text: str) -> None:
    with contextlib.suppress(nginx.NotUnderstoodError):
        list(nginx.check(text, [pool()]))
    list(haproxy.check(text, [pool()]))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("75", 75),
        ("75s", 75),
        ("1m30s", 90),
        ("1m 30s", 90),
        ("500ms", 0.5),
        ("1h", 3600),
        ("x", None),
        ("", None),
        ("5x", None),
    ],
)
def test_times_of_nginx(text: str, expected: float | None) -> None:
    assert nginx.seconds(text) == expected


def test_the_example_is_as_it_should_be() -> None:
    folder = ROOT / "examples" / "nginx"
    loaded = load(Path("gw.toml"), environ={}, cwd=folder)
    found = list(nginx.check((folder / "nginx.conf").read_text("utf-8"), proxied(loaded.settings)))
    assert found
    assert {each.verdict.value for each in found} == {"ok"}


# ---- HAProxy

HAPROXY = """
global
    maxconn 1000
defaults
    mode http
    timeout client 30s
    timeout server 60s
    timeout http-keep-alive 10s
frontend all
    bind :80
    default_backend shop
backend shop
    server a 127.0.0.1:8000 check  # ours
    server b unix@/run/x.sock
"""


def of_haproxy(text: str, *pools: Proxied) -> list[tuple[str, str]]:
    return [(each.verdict.value, each.text) for each in haproxy.check(text, pools or (pool(request_s=60.0),))]


def test_haproxy_as_it_should_be() -> None:
    assert of_haproxy(HAPROXY) == [
        (
            "ok",
            "haproxy: timeout http-keep-alive of backend shop is 10 s, pool.web.timeouts.keepalive_timeout_s = 75",
        ),
        ("ok", "haproxy: timeout server of backend shop is 60 s, one of web ends after 60 s"),
    ]
    assert len(of_haproxy(HAPROXY, pool("unix:/run/x.sock"))) == 1


@pytest.mark.parametrize(
    ("old", "new", "part"),
    [
        ("timeout http-keep-alive 10s", "timeout http-keep-alive 2m", "is 120 s, pool.web"),
        (
            "timeout http-keep-alive 10s",
            "timeout client 90s",
            "timeout client of backend shop (as http-keep-alive is not set)",
        ),
        ("timeout server 60s", "timeout server 5000", "is 5 s, a request of web may take 60 s"),
        ("timeout server 60s", "", "no timeout server"),
        ("mode http", "option http-server-close", "option http-server-close in backend shop"),
        ("127.0.0.1:8000", "127.0.0.1:9000", "no server is an address"),
    ],
)
def test_haproxy_that_is_wrong(old: str, new: str, part: str) -> None:
    assert old in HAPROXY
    found = [text for verdict, text in of_haproxy(HAPROXY.replace(old, new)) if verdict == "warn"]
    assert len(found) == 1
    assert part in found[0]


def test_defaults_of_haproxy_hold_until_the_next() -> None:
    text = (
        HAPROXY
        + "defaults two\n timeout server 9s\nbackend x from two\n no option httpclose\n server c 127.0.0.1:8000\n"
    )
    assert [
        section.timeouts.get("server") for section in haproxy.parse(text) if section.kind == "backend"
    ] == [60, 9]


# ---- addresses


@pytest.mark.parametrize(
    ("bind", "text", "expected"),
    [
        ("127.0.0.1:8000", "127.0.0.1:8000", True),
        ("127.0.0.1:8000", "localhost:8000", True),
        (":8000", "10.1.2.3:8000", True),
        ("127.0.0.1:8000", "127.0.0.1:8001", False),
        ("unix:/run/x.sock", "unix:/run/x.sock", True),
        ("unix:/run/x.sock", "/run/x.sock", True),
        ("127.0.0.1:8000", "shop.example.com", False),
        ("127.0.0.1:8000", "$backend", False),
    ],
)
def test_addresses(bind: str, text: str, expected: bool) -> None:
    assert pool(bind).is_at(text) is expected


def test_how_long_a_request_may_take(tmp_path: Path) -> None:
    def request_s(*settings: str) -> float:
        overrides = [Override.parse(each) for each in settings]
        (found,) = proxied(load(None, app="shop:app", overrides=overrides, environ={}, cwd=tmp_path).settings)
        return found.request_s

    assert request_s("worker=sync") == 60.0
    assert request_s("worker=asgi") == request_s() == 0.0
    assert request_s("timeouts.request_timeout_s=20") == 20.0
