"""The PROXY protocol: every form of header alone, then before requests under each worker class."""

from __future__ import annotations

import json
import socket
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gwctl.workers.transport.proxy_protocol import (
    SIGNATURE,
    V1_BYTES_MAX,
    V2_BYTES_MAX,
    Header,
    ProxyProtocolError,
    read,
)
from tests.support import engine_apps
from tests.support.engine import WORKER_CLASSES, Client, Engine
from tests.support.wait import until

V4 = socket.inet_aton("203.0.113.9") + socket.inet_aton("198.51.100.1") + struct.pack("!HH", 4711, 443)
V6 = (
    socket.inet_pton(socket.AF_INET6, "2001:db8::9")
    + socket.inet_pton(socket.AF_INET6, "2001:db8::1")
    + struct.pack("!HH", 4711, 443)
)
UNIX = b"/client".ljust(108, b"\0") + b"/server".ljust(108, b"\0")
TLV = b"\x01\x00\x02h2"


def v2(family: int, body: bytes, command: int = 0x21, length: int | None = None) -> bytes:
    return SIGNATURE + struct.pack("!BBH", command, family, len(body) if length is None else length) + body


def v1(text: str) -> bytes:
    return f"PROXY {text}\r\n".encode("latin-1")


CLIENT4, SERVER4 = ("203.0.113.9", 4711), ("198.51.100.1", 443)
CLIENT6, SERVER6 = ("2001:db8::9", 4711), ("2001:db8::1", 443)
GOOD: dict[str, tuple[bytes, Any, Any]] = {
    "TCP4": (v1("TCP4 203.0.113.9 198.51.100.1 4711 443"), CLIENT4, SERVER4),
    "TCP6": (v1("TCP6 2001:db8::9 2001:db8::1 4711 443"), CLIENT6, SERVER6),
    "UNKNOWN": (v1("UNKNOWN"), None, None),
    "UNKNOWN with addresses": (v1("UNKNOWN ffff::1 ffff::2 1 2"), None, None),
    "the longest": (v1("UNKNOWN " + "f" * (V1_BYTES_MAX - 16)), None, None),
    "v2 TCP4": (v2(0x11, V4), CLIENT4, SERVER4),
    "v2 TCP6": (v2(0x21, V6), CLIENT6, SERVER6),
    "v2 with fields": (v2(0x11, V4 + TLV + b"\x04\x00\x00"), CLIENT4, SERVER4),
    "v2 Unix": (v2(0x31, UNIX + TLV), None, None),
    "v2 UNSPEC": (v2(0x00, b""), None, None),
    "v2 UNSPEC with bytes": (v2(0x00, b"whatever"), None, None),
    "v2 datagrams": (v2(0x12, V4), None, None),
    "v2 unknown family": (v2(0x41, b"x"), None, None),
}
BAD = {
    "HTTP": b"GET / HTTP/1.1\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00",
    "another protocol": v1("TCP5 203.0.113.9 198.51.100.1 4711 443"),
    "lower case": v1("tcp4 203.0.113.9 198.51.100.1 4711 443"),
    "two spaces": v1("TCP4  203.0.113.9 198.51.100.1 4711 443"),
    "a space behind": v1("TCP4 203.0.113.9 198.51.100.1 4711 443 "),
    "a name": v1("TCP4 localhost 198.51.100.1 4711 443"),
    "the wrong family": v1("TCP4 2001:db8::9 198.51.100.1 4711 443"),
    "a scope": v1("TCP6 fe80::1%lo fe80::2 4711 443"),
    "a leading zero": v1("TCP4 203.0.113.9 198.51.100.1 04711 443"),
    "octal": v1("TCP4 203.0.113.09 198.51.100.1 4711 443"),
    "a port too high": v1("TCP4 203.0.113.9 198.51.100.1 4711 65536"),
    "a port below 0": v1("TCP4 203.0.113.9 198.51.100.1 -1 443"),
    "digits of another script": "PROXY TCP4 203.0.113.9 198.51.100.1 \u0661 443\r\n".encode(),
    "no port": v1("TCP4 203.0.113.9 198.51.100.1 4711"),
    "bare LF": b"PROXY TCP4 203.0.113.9 198.51.100.1 4711 443\n" + b"x" * 80,
    "no end": b"PROXY UNKNOWN" + b" " * 100,
    "one byte too long": v1("UNKNOWN " + "f" * (V1_BYTES_MAX - 15)),
    "version 3": v2(0x11, V4, 0x31),
    "version 1 in binary": v2(0x11, V4, 0x11),
    "command 2": v2(0x11, V4, 0x22),
    "addresses cut": v2(0x11, V4[:-1]),
    "IPv6 in the room of IPv4": v2(0x21, V4),
    "a Unix path cut": v2(0x31, UNIX[:-1]),
    "a field cut": v2(0x11, V4 + TLV[:-1]),
    "a field's head cut": v2(0x11, V4 + b"\x01\x00"),
    "too long": v2(0x11, b"", length=V2_BYTES_MAX),
    "a signature that breaks off": SIGNATURE[:-1] + b"x" * 5,
}


@pytest.mark.parametrize("name", GOOD)
def test_headers(name: str) -> None:
    """Whole, followed by anything, and byte by byte."""
    data, client, server = GOOD[name]
    assert read(data) == read(data + b"GET /") == Header(len(data), client=client, server=server)
    for end in range(len(data)):
        assert read(data[:end]) is None


def test_local_changes_nothing() -> None:
    for body in (b"", V4):
        data = v2(0x11, body, 0x20)
        assert read(data) == Header(len(data), local=True)


@pytest.mark.parametrize("name", BAD)
def test_what_is_none(name: str) -> None:
    with pytest.raises(ProxyProtocolError):
        read(BAD[name])


@given(st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21\x11\0"]), st.binary())
def test_anything_is_a_header_more_to_come_or_an_error(start: bytes, data: bytes) -> None:
    try:
        header = read(start + data)
    except ProxyProtocolError:
        return
    if header is None:
        assert len(start + data) < V2_BYTES_MAX
    else:
        assert header.size <= len(start + data)


# ---- before requests


@pytest.fixture(params=WORKER_CLASSES)
def worker_class(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def engine_of(worker_class: str, **settings: Any) -> Engine:
    return Engine(engine_apps.application(worker_class), worker_class, proxy_protocol=True, **settings)


def addresses(worker_class: str, shown: dict[str, Any]) -> tuple[Any, Any]:
    if worker_class == "asgi":
        client, server = shown["client"], shown["server"]
        return (tuple(client) if client else None), tuple(server)
    client = (shown["REMOTE_ADDR"], int(shown["REMOTE_PORT"] or 0)) if shown["REMOTE_ADDR"] else None
    return client, (shown["SERVER_NAME"], int(shown["SERVER_PORT"]))


REQUEST = b"GET /path HTTP/1.1\r\nHost: test\r\n\r\n"


@pytest.mark.parametrize("name", ["TCP4", "v2 TCP6", "v2 with fields"])
@pytest.mark.parametrize("unix", [False, True])
def test_the_client_is_the_one_named(worker_class: str, name: str, unix: bool) -> None:
    """In one packet with the request and in pieces; for each request of the connection; in the access log."""
    data, *expected = GOOD[name]
    with engine_of(worker_class, unix=unix, access_log=True) as engine:
        for pieces in ([data + REQUEST], [data, REQUEST], [data[:5], data[5:-1], data[-1:] + REQUEST]):
            with engine.connect() as client:
                for piece in pieces:
                    client.send(piece)
                shown = json.loads(client.response().body)
                assert list(addresses(worker_class, shown)) == expected
                assert list(addresses(worker_class, json.loads(client.get("/path").body))) == expected
        until(lambda: engine.access_path.read_text().count("\n") == 6, "the access log")
        assert {line.split(" ")[0] for line in engine.access_path.read_text().splitlines()} == {
            expected[0][0]
        }


def test_forwarded_headers_of_the_client_behind_it_are_its_own(worker_class: str) -> None:
    """Known or unknown, the client is not the proxy; a LOCAL connection is."""
    spoofed = ("X-Forwarded-For: 6.6.6.6",)
    with engine_of(worker_class) as engine:
        for data, expected in (
            (GOOD["TCP4"][0], "203.0.113.9"),
            (GOOD["UNKNOWN"][0], None),
            (GOOD["v2 UNSPEC"][0], None),
            (GOOD["v2 Unix"][0], None),
            (v2(0, b"", 0x20), "6.6.6.6"),
            (v1("TCP4 127.0.0.1 127.0.0.1 1 2"), "6.6.6.6"),
        ):
            with engine.connect() as client:
                client.send(data)
                seen = addresses(worker_class, json.loads(client.get("/path", *spoofed).body))[0]
                assert (seen and seen[0]) == expected


def closed(client: Client) -> bool:
    try:
        return client.at_end()
    except ConnectionResetError:
        return True


def test_others_are_closed_and_told_of_once(worker_class: str) -> None:
    with engine_of(worker_class, trusted_proxies=("192.0.2.1",)) as engine:
        for _ in range(3):
            with engine.connect() as client:
                assert closed(client)
        engine.wait_for_log("closed a connection of 127.0.0.1: proxy_protocol is on, and this address")
        assert engine.log.count("closed a connection") == 1
        until(lambda: not engine.call(lambda: engine.server.connections), "nothing left")


@pytest.mark.parametrize("name", ["HTTP", "TLS", "a name", "a field cut"])
def test_what_is_no_header_is_closed(worker_class: str, name: str) -> None:
    with engine_of(worker_class) as engine, engine.connect() as client:
        client.send(BAD[name] + REQUEST)
        assert closed(client)
        engine.wait_for_log(" warn ")


@pytest.mark.parametrize("start", [b"", b"PROXY TCP4 ", SIGNATURE])
def test_a_header_that_does_not_come(worker_class: str, start: bytes) -> None:
    with (
        engine_of(worker_class, timeouts={"header_timeout_s": 0.2}) as engine,
        engine.connect() as client,
    ):
        client.send(start)
        assert closed(client)
        until(lambda: not engine.call(lambda: engine.server.connections), "nothing left")


def test_a_client_that_leaves_in_the_middle(worker_class: str) -> None:
    with engine_of(worker_class) as engine:
        for start in (b"", b"PROXY TCP4 ", SIGNATURE):
            with engine.connect() as client:
                client.send(start)
                client.finish_sending()
                assert closed(client)
        until(lambda: not engine.call(lambda: engine.server.connections), "nothing left")


def test_drain_does_not_wait_for_a_header(worker_class: str) -> None:
    with engine_of(worker_class, timeouts={"linger_s": 0.1}) as engine, engine.connect() as client:
        until(lambda: engine.call(lambda: engine.server.connections), "the connection")
        engine.call(lambda: engine.server.drain(sweep=True))
        assert closed(client)
        until(lambda: engine.call(lambda: engine.server.drained), "drained")
