"""Who may do what: by where a request arrived, by its token, and by the name that it asks for."""

from __future__ import annotations

from typing import Any

import pytest

from gwctl.admin.access import Access, Guard, Place, client_of, place_of
from gwctl.admin.http import RefusedError, Request
from tests.support.admin_client import ELSEWHERE, LOOPBACK, UNIX, Client, Server, scope, serving
from tests.support.admin_master import FakeMaster, asynchronous

TOKEN = "s3cret-täken"
SENT = TOKEN.encode().decode("latin-1")
"""As it comes in a header field: byte for byte."""
READS = ["/api/status", "/api/metrics", "/api/requests", "/api/history", "/api/events", "/events"]
CHANGES = [
    "/api/reload",
    "/api/rollback",
    "/api/recycle",
    "/api/scale",
    "/api/log_level",
    "/api/dump",
    "/api/profile",
]


def request(server: Server = LOOPBACK, **fields: str) -> Request:
    named = {name.replace("_", "-"): value for name, value in fields.items()}
    return Request(scope("GET", "/api/status", named, server, "192.0.2.7"), None)  # type: ignore[arg-type]


def refused(access: Access, asked: Request, token: str = TOKEN) -> tuple[int, str] | None:
    try:
        Guard(token).check(asked, access)
    except RefusedError as error:
        return error.status, error.code
    return None


@pytest.mark.parametrize(
    ("server", "place"),
    [
        (("127.0.0.1", 80), Place.LOOPBACK),
        (("127.8.8.8", 80), Place.LOOPBACK),
        (("::1", 80), Place.LOOPBACK),
        (("::ffff:127.0.0.1", 80), Place.LOOPBACK),
        (("0.0.0.0", 80), Place.ELSEWHERE),
        (("::", 80), Place.ELSEWHERE),
        (("10.0.0.5", 80), Place.ELSEWHERE),
        (("::ffff:10.0.0.5", 80), Place.ELSEWHERE),
        (("2001:db8::1", 80), Place.ELSEWHERE),
        (("fe80::1%eth0", 80), Place.ELSEWHERE),
        (("localhost", 80), Place.ELSEWHERE),
        (("", 80), Place.ELSEWHERE),
        (["/run/gwctl/admin.sock", None], Place.UNIX),
        (("", None), Place.UNIX),
        (None, Place.ELSEWHERE),
    ],
)
def test_where_it_arrived_decides(server: Any, place: Place) -> None:
    assert place_of(request(server)) is place


def test_where_it_comes_from_does_not() -> None:
    asked = Request(scope("GET", "/", None, ELSEWHERE, "127.0.0.1"), None)  # type: ignore[arg-type]
    assert place_of(asked) is Place.ELSEWHERE
    assert refused(Access.READ, asked) == (401, "unauthorized")


def test_clients_are_told_apart_where_they_come_from_afar() -> None:
    assert (client_of(request(ELSEWHERE)), client_of(request()), client_of(request(UNIX))) == (
        "192.0.2.7",
        "",
        "",
    )


@pytest.mark.parametrize(
    ("sent", "good"),
    [
        (f"Bearer {SENT}", True),
        (f"bearer   {SENT} ", True),
        (f"BEARER {SENT}", True),
        (f"Bearer {SENT}x", False),
        (f"Bearer {SENT[:-1]}", False),
        (f"Basic {SENT}", False),
        (SENT, False),
        (f"Bearer {SENT}, Bearer {SENT}", False),
        ("Bearer", False),
        ("Bearer ", False),
        ("", False),
        ("Bearer \xff\x00", False),
    ],
)
def test_the_token_is_the_whole_of_it(sent: str, good: bool) -> None:
    assert Guard(TOKEN).accepts(request(authorization=sent)) == good


def test_a_token_may_end_with_whatever_utf_8_ends_with() -> None:
    """Bytes that are blanks in other encodings are none here."""
    token = "tokenà\u0085"
    sent = token.encode().decode("latin-1")
    assert Guard(token).accepts(request(authorization=f"Bearer {sent}"))


@pytest.mark.parametrize("sent", ["Bearer", "Bearer ", "Bearer x", ""])
def test_no_token_is_none_that_one_could_send(sent: str) -> None:
    assert not Guard("").accepts(request(authorization=sent))


@pytest.mark.parametrize(
    ("host", "good"),
    [
        ("127.0.0.1:9100", True),
        ("127.0.0.1", True),
        ("localhost:9100", True),
        ("LocalHost", True),
        ("[::1]:9100", True),
        ("[::1]", True),
        ("10.0.0.5:9100", True),
        ("evil.example:9100", False),
        ("127.0.0.1.evil.example", False),
        ("localhost.evil.example", False),
        ("localhost:evil", False),
        ("localhost:", True),
        ("127.1", False),
        ("2130706433", False),
        ("0x7f.0.0.1", False),
        ("::1", False),
        ("[::1", False),
        ("[127.0.0.1]", False),
        ("[evil.example]", False),
        ("localhost@evil.example", False),
        ("", False),
        ("\xff", False),
    ],
)
def test_on_the_loopback_the_host_is_an_address(host: str, good: bool) -> None:
    """What a browser sends here for a page of somebody else's is that one's name."""
    for access in (Access.READ, Access.PAGE):
        assert (refused(access, request(host=host)) is None) == good
    assert refused(Access.OPEN, request(host=host)) is None
    assert refused(Access.READ, request(UNIX, host=host)) is None


def test_two_hosts_are_none() -> None:
    asked = request()
    asked.scope["headers"].append((b"host", b"evil.example"))
    assert refused(Access.READ, asked) == (403, "host")


def test_who_has_the_token_may_ask_by_any_name() -> None:
    """As through a proxy on the same machine."""
    assert refused(Access.READ, request(host="admin.example", authorization=f"Bearer {SENT}")) is None


@pytest.mark.parametrize(
    ("server", "access", "without", "wrong", "right"),
    [
        (UNIX, Access.READ, None, None, None),
        (LOOPBACK, Access.READ, None, None, None),
        (ELSEWHERE, Access.READ, (401, "unauthorized"), (401, "unauthorized"), None),
        (UNIX, Access.CHANGE, (401, "unauthorized"), (401, "unauthorized"), None),
        (LOOPBACK, Access.CHANGE, (401, "unauthorized"), (401, "unauthorized"), None),
        (ELSEWHERE, Access.CHANGE, (401, "unauthorized"), (401, "unauthorized"), None),
        *((server, Access.OPEN, None, None, None) for server in (UNIX, LOOPBACK, ELSEWHERE)),
        *((server, Access.PAGE, None, None, None) for server in (UNIX, LOOPBACK, ELSEWHERE)),
    ],
)
def test_the_table(server: Server, access: Access, without: Any, wrong: Any, right: Any) -> None:
    json = {"content_type": "application/json"}
    found = [
        refused(access, request(server, **json)),
        refused(access, request(server, **json, authorization="Bearer guess")),
        refused(access, request(server, **json, authorization=f"Bearer {SENT}")),
    ]
    assert found == [without, wrong, right]


@pytest.mark.parametrize("server", [UNIX, LOOPBACK, ELSEWHERE])
def test_without_a_token_nothing_can_be_changed_and_read_only_from_here(server: Server) -> None:
    asked = request(server, content_type="application/json", authorization="Bearer ")
    assert refused(Access.CHANGE, asked, "") == (403, "no_token")
    assert refused(Access.READ, asked, "") == ((403, "no_token") if server is ELSEWHERE else None)


@pytest.mark.parametrize(
    ("media", "good"),
    [
        ("application/json", True),
        ("Application/JSON; charset=utf-8", True),
        ("text/plain", False),
        ("application/x-www-form-urlencoded", False),
        ("text/plain; application/json", False),
        ("application/jsonp", False),
        ("", False),
    ],
)
def test_what_changes_is_json(media: str, good: bool) -> None:
    asked = request(content_type=media, authorization=f"Bearer {SENT}")
    assert refused(Access.CHANGE, asked) == (None if good else (415, "not_json"))


# ---- of the whole application


@asynchronous
async def test_each_route_is_behind_the_right_door() -> None:
    async with serving(FakeMaster()) as admin:
        there = Client(admin, ELSEWHERE, "192.0.2.7")
        assert {path: (await there.get(path)).status for path in READS} == dict.fromkeys(READS, 401)
        for path in ("/", "/api/session", "/metrics", "/livez"):
            assert (await there.get(path)).status == 200
        for server in (LOOPBACK, UNIX, ELSEWHERE):
            here = Client(admin, server, "192.0.2.7")
            for token in ("", "guess"):
                assert {(await here.post(path, {}, token)).status for path in CHANGES} == {401}
        rebound = Client(admin, fields={"host": "evil.example"})
        assert {(await rebound.get(path)).status for path in (*READS, "/", "/api/session")} == {403}


@asynchronous
async def test_a_refusal_says_what_is_needed_and_nothing_of_the_token() -> None:
    async with serving(FakeMaster(), TOKEN) as admin:
        reply = await Client(admin, ELSEWHERE).get("/api/status", authorization="Bearer guess")
        assert reply.fields["www-authenticate"] == 'Bearer realm="gwctl"'
        assert reply.json == {
            "error": {"code": "unauthorized", "message": "Authorization: Bearer TOKEN is needed"}
        }
        stream = await Client(admin, ELSEWHERE).get("/events")
        assert (stream.status, stream.text) == (401, "Authorization: Bearer TOKEN is needed\n")


@asynchronous
async def test_a_session_says_whether_the_token_is_good() -> None:
    async with serving(FakeMaster(), TOKEN) as admin:
        client = Client(admin, ELSEWHERE)
        without = (await client.get("/api/session")).json
        assert without == {
            "name": "shop",
            "version": without["version"],
            "token_accepted": False,
            "changes": True,
        }
        assert (await client.get("/api/session", authorization="Bearer x")).json["token_accepted"] is False
        assert (await client.get("/api/session", authorization=f"Bearer {SENT}")).json[
            "token_accepted"
        ] is True
    async with serving(FakeMaster(), "") as admin:
        assert (await Client(admin).get("/api/session")).json["changes"] is False
