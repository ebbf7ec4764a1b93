"""Header blocks: requests judged, blocks remembered, responses encoded. No sockets."""

from __future__ import annotations

import tracemalloc
from typing import Any

import hpack
import pytest

from gwctl.config.model.settings import Limits
from gwctl.workers.exchange.heads import HeaderError
from gwctl.workers.exchange.response import COUNTED, MARKED, NO_BODY
from gwctl.workers.http2 import wire
from gwctl.workers.http2.header_blocks import KNOWN_MAX, KNOWN_TOTAL_BYTES_MAX, BlockReader, list_bytes_max
from gwctl.workers.http2.request_head import Malformed, check_trailers, read_priority, read_request
from gwctl.workers.http2.response_head import BlockBuilder
from gwctl.workers.http2.wire import HEADER_TABLE_DEFAULT, Broken

Fields = list[tuple[bytes, bytes]]

LIMITS = Limits()
GET: Fields = [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"x"), (b":path", b"/a?b=c")]


def without(name: bytes) -> Fields:
    return [each for each in GET if each[0] != name]


def replaced(name: bytes, value: bytes) -> Fields:
    return [(each[0], value if each[0] == name else each[1]) for each in GET]


# ---- requests


def test_a_request() -> None:
    head = read_request([*GET, (b"a", b"b"), (b"cookie", b"c=d"), (b"e", b"f"), (b"cookie", b"g=h")], LIMITS)
    assert (head.method, head.target, head.is_head, head.refusal) == ("GET", "/a?b=c", False, None)
    assert head.fields == [(b"host", b"x"), (b"a", b"b"), (b"cookie", b"c=d; g=h"), (b"e", b"f")]
    assert head.head == b"GET /a?b=c HTTP/2.0\r\n"


def test_host_stands_for_authority_and_is_not_there_twice() -> None:
    assert read_request([*without(b":authority"), (b"host", b"y")], LIMITS).fields == [(b"host", b"y")]
    assert read_request([*GET, (b"host", b"x")], LIMITS).fields == [(b"host", b"x")]
    assert read_request([*GET, (b"host", b"y")], LIMITS).refusal.status == 400  # type: ignore[union-attr]
    assert read_request(without(b":authority"), LIMITS).fields == []  # as in HTTP/1, the runner refuses it


def test_an_extended_connect_is_for_websockets_alone() -> None:
    websocket = [*replaced(b":method", b"CONNECT"), (b":protocol", b"websocket")]
    head = read_request(websocket, LIMITS)
    assert (head.refusal, head.protocol, head.target) == (None, "websocket", dict(GET)[b":path"].decode())
    given = [*replaced(b":method", b"CONNECT"), (b":protocol", b"connect-udp")]
    assert read_request(given, LIMITS).refusal.status == 501  # type: ignore[union-attr]


MALFORMED: dict[str, Fields] = {
    "no method": without(b":method"),
    "no scheme": without(b":scheme"),
    "no path": without(b":path"),
    "an empty path": replaced(b":path", b""),
    "a method twice": [*GET, (b":method", b"GET")],
    "an unknown pseudo-header": [*GET, (b":color", b"red")],
    "a pseudo-header of responses": [*GET, (b":status", b"200")],
    "a pseudo-header behind a field": [GET[0], (b"a", b"b"), *GET[1:]],
    "a pseudo-header behind Cookie": [GET[0], (b"cookie", b"b"), *GET[1:]],
    "an uppercase name": [*GET, (b"Accept", b"b")],
    "a blank in a name": [*GET, (b"a b", b"c")],
    "an empty name": [*GET, (b"", b"c")],
    "a colon in a name": [*GET, (b"a:b", b"c")],
    "a byte over 127 in a name": [*GET, (b"caf\xe9", b"c")],
    "a NUL in a value": [*GET, (b"a", b"b\0c")],
    "a CR in a value": [*GET, (b"a", b"b\rc")],
    "a LF in a value": [*GET, (b"a", b"b\nc: d")],
    "a blank before a value": [*GET, (b"a", b" b")],
    "a tab behind a value": [*GET, (b"a", b"b\t")],
    "Connection": [*GET, (b"connection", b"close")],
    "Keep-Alive": [*GET, (b"keep-alive", b"1")],
    "Proxy-Connection": [*GET, (b"proxy-connection", b"close")],
    "Transfer-Encoding": [*GET, (b"transfer-encoding", b"chunked")],
    "Upgrade": [*GET, (b"upgrade", b"websocket")],
    "TE of gzip": [*GET, (b"te", b"gzip")],
    "a LF in the path": replaced(b":path", b"/\r\nx: y"),
    "a CR in the authority": replaced(b":authority", b"x\r\nx: y"),
    "a blank in the method": replaced(b":method", b"GET /x"),
    "an empty method": replaced(b":method", b""),
    "CONNECT with a path": replaced(b":method", b"CONNECT"),
    ":protocol without CONNECT": [*GET, (b":protocol", b"websocket")],
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed(name: str) -> None:
    with pytest.raises(Malformed):
        read_request(MALFORMED[name], LIMITS)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        (replaced(b":path", b"a"), 400),
        (replaced(b":path", b"/a#b"), 400),
        (replaced(b":path", b"/\xe9"), 400),
        (replaced(b":path", b"/a b"), 400),
        (replaced(b":path", b"http://x/"), 400),
        (replaced(b":path", b"*"), 400),
        (replaced(b":scheme", b"ftp"), 400),
        (replaced(b":method", b"get"), 501),
        ([(b":method", b"CONNECT"), (b":authority", b"x:80")], 501),
        ([*GET, (b"content-type", b"a/b"), (b"content-type", b"c/d")], 400),
        (replaced(b":path", b"/" + b"a" * 9000), 414),
        ([*GET, (b"a", b"b" * 9000)], 431),
        ([*GET, *[(b"a", b"b")] * 101], 431),
        ([*GET, *[(b"a", b"b" * 8000)] * 9], 431),
    ],
)
def test_what_http1_refuses_is_refused_with_the_same_status(fields: Fields, status: int) -> None:
    refusal = read_request(fields, LIMITS).refusal
    assert refusal is not None
    assert refusal.status == status


def test_te_of_trailers_and_options_of_the_server() -> None:
    assert read_request([*GET, (b"te", b"trailers")], LIMITS).refusal is None
    options = [(b":method", b"OPTIONS"), (b":scheme", b"http"), (b":path", b"*"), (b"host", b"x")]
    assert read_request(options, LIMITS).refusal is None


@pytest.mark.parametrize(
    "fields", [[(b":path", b"/")], [(b"A", b"b")], [(b"connection", b"x")], [(b"a", b"b\n")]]
)
def test_malformed_trailers(fields: Fields) -> None:
    with pytest.raises(Malformed):
        check_trailers(fields)


@pytest.mark.parametrize(
    ("value", "urgency", "incremental"),
    [
        (b"", 3, False),
        (b"u=0", 0, False),
        (b"u=7, i", 7, True),
        (b"i, u=5", 5, True),
        (b"i=?1", 3, True),
        (b"i=?0", 3, False),
        (b"u=8", 3, False),
        (b"u=-1", 3, False),
        (b"u=1;x=2, i;y", 1, True),
        (b"au=1, bi", 3, False),
        (b"\xff" * 100, 3, False),
    ],
)
def test_priorities(value: bytes, urgency: int, incremental: bool) -> None:
    assert read_priority(value) == (urgency, incremental)


# ---- blocks


def reader(**limits: int) -> BlockReader:
    return BlockReader(Limits(**limits), 4096)


def test_a_block_that_changes_no_table_is_remembered_until_the_table_changes() -> None:
    encoder = hpack.Encoder()
    blocks = reader()
    first = encoder.encode([*GET, (b"a", b"b")])
    second = encoder.encode([*GET, (b"a", b"b")])
    assert first != second
    blocks.request(first)
    head = blocks.request(second)
    assert blocks.request(second) is head
    blocks.request(encoder.encode([*GET, (b"another", b"field")]))  # which takes its first place in the table
    again = encoder.encode([*GET, (b"a", b"b")])
    assert again != second
    assert blocks.request(again).fields == head.fields
    # The same bytes as before mean something else now: "a: b" has moved.
    assert blocks.request(second).fields != head.fields


def test_a_change_of_the_tables_size_has_all_forgotten() -> None:
    encoder = hpack.Encoder()
    blocks = reader()
    for _ in range(2):
        second = encoder.encode([*GET, (b"a", b"b")])
        head = blocks.request(second)
    encoder.header_table_size = 0
    assert blocks.request(encoder.encode(GET)).target == head.target
    with pytest.raises(Broken) as fault:
        blocks.request(second)
    assert fault.value.code == wire.COMPRESSION_ERROR


def test_what_is_remembered_has_a_bound() -> None:
    blocks = reader()
    for number in range(10 * KNOWN_MAX):
        name = b"%d" % number
        literal = b"".join(
            b"\0" + bytes((len(n),)) + n + bytes((len(v),)) + v for n, v in [*GET, (name, b"v")]
        )
        assert blocks.request(literal).fields[-1] == (name, b"v")
    assert len(blocks._known) <= KNOWN_MAX


def test_a_thousand_fields_of_a_byte_are_not_what_is_remembered() -> None:
    """A byte of a block can be a field, which takes a hundred times as much memory as it says."""
    limits = Limits(headers_max=2000)
    blocks = BlockReader(limits, 4096)
    encoder = hpack.Encoder()
    blocks.request(encoder.encode([*GET, (b"a", b"")]))
    get = bytes((0x82, 0x87, 0x84, 0x01, 1))
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for number in range(10 * KNOWN_MAX):
        blocks.request(get + b"%c" % (65 + number % 26) + b"\xbe" * (number % 64 * 28))
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < 2 * KNOWN_TOTAL_BYTES_MAX


def test_what_is_refused_is_not_remembered_and_holds_nothing() -> None:
    block = hpack.Encoder().encode([(b":method", b"foo"), *GET[1:]])
    blocks = BlockReader(LIMITS, 4096)
    blocks.request(block)
    first, second = blocks.request(block), blocks.request(block)
    assert first is not second
    assert first.refusal is not None
    assert first.refusal.__traceback__ is None


def test_a_client_has_a_table_of_the_usual_size_until_it_knows_ours() -> None:
    encoder = hpack.Encoder()
    blocks = BlockReader(LIMITS, HEADER_TABLE_DEFAULT)
    fields = [*GET, (b"a", b"b")]
    assert blocks.request(encoder.encode(fields)).fields == blocks.request(encoder.encode(fields)).fields
    blocks.limit_table(0)
    encoder.header_table_size = 0
    assert blocks.request(encoder.encode(fields)).target == "/a?b=c"
    with pytest.raises(Broken):
        blocks.request(hpack.Encoder().encode(fields) + b"\xbe")


def test_a_table_that_stays_too_large_ends_the_connection() -> None:
    blocks = BlockReader(LIMITS, HEADER_TABLE_DEFAULT)
    blocks.limit_table(100)
    with pytest.raises(Broken):
        blocks.request(hpack.Encoder().encode(GET))


@pytest.mark.parametrize(
    "block",
    [
        b"\xff\xff\xff\xff\xff\xff\xff",  # an index without end
        b"\xbe",  # one that is not there
        b"\x80",
        b"\x00\x7f\x05",  # a name that is longer than the block
        b"\x00\x81",
        b"\x82\x3f\xe1\x1f",  # a size behind a field
        b"\x3f\xe1\x7f",  # a table larger than was allowed
        b"\x00\x81\xff\x00",  # Huffman's code, padded with more than there is
    ],
)
def test_what_cannot_be_decoded_ends_the_connection(block: bytes) -> None:
    with pytest.raises(Broken) as fault:
        reader().request(block)
    assert fault.value.code == wire.COMPRESSION_ERROR


def test_an_hpack_bomb_is_stopped() -> None:
    """One byte for each of thousands of copies of a field of 4000 bytes."""
    blocks = reader()
    encoder = hpack.Encoder()
    large = [(b"large", b"x" * 4000)]
    first = encoder.encode([*GET, *large])
    blocks.request(first)
    reference = encoder.encode(large)
    assert len(reference) == 1
    with pytest.raises(Broken) as fault:
        blocks.request(encoder.encode(GET) + reference * 16_000)
    assert fault.value.code == wire.ENHANCE_YOUR_CALM


def test_a_list_that_is_over_the_limit_is_refused_and_the_connection_goes_on() -> None:
    encoder = hpack.Encoder()
    blocks = reader(head_bytes_max=5000, header_bytes_max=3000)
    head = blocks.request(encoder.encode([*GET, (b"a", b"x" * 2500), (b"b", b"y" * 2600)]))
    assert head.refusal is not None
    assert head.refusal.status == 431
    assert blocks.request(encoder.encode(GET)).refusal is None
    assert list_bytes_max(Limits(head_bytes_max=5000)) > 5000


# ---- responses


def decoded(block: bytes) -> list[tuple[bytes, bytes]]:
    return [(bytes(name), bytes(value)) for name, value in hpack.Decoder().decode(block, raw=True)]


def builder(kind: type = bytes) -> BlockBuilder:
    return BlockBuilder(kind, 7)


def fields_of(block: bytes) -> list[tuple[bytes, bytes]]:
    """Without Date and Server, which are the last but Content-Length."""
    return [each for each in decoded(block) if each[0] not in {b"date", b"server"}]


@pytest.mark.parametrize("status", [200, 204, 206, 299, 304, 404, 500, 503])
def test_statuses(status: int) -> None:
    block, _, _ = builder().build(b"", status, [], 0, is_head=False)
    assert decoded(block)[0] == (b":status", b"%d" % status)


def test_fields_are_lowered_checked_and_remembered() -> None:
    heads = builder()
    given = [(b"X-A", b" b "), (b"Content-Type", b"text/plain; charset=utf-8"), (b"Set-Cookie", b"a=b")]
    for _ in range(2):
        block, framing, length = heads.build(b"", 200, given, 5, is_head=False)
        assert fields_of(block) == [
            (b":status", b"200"),
            (b"x-a", b"b"),
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"set-cookie", b"a=b"),
            (b"content-length", b"5"),
        ]
        assert (framing, length) == (COUNTED, 5)
    assert {name for name, _ in decoded(block)} >= {b"date", b"server"}
    for header in [(b"a b", b"c"), (b"a", b"b\n"), ("a", "b"), b"ab", (b":status", b"200")]:
        with pytest.raises(HeaderError):
            heads.build(b"", 200, [header], 0, is_head=False)


def test_fields_of_connections_are_taken_out() -> None:
    names = [b"Connection", b"Keep-Alive", b"Transfer-Encoding", b"Upgrade", b"Proxy-Connection"]
    block, _, _ = builder().build(b"", 200, [(name, b"x") for name in names], 0, is_head=False)
    assert fields_of(block) == [(b":status", b"200"), (b"content-length", b"0")]


def test_the_usual_response_is_what_build_makes() -> None:
    heads = builder()
    given = [(b"content-type", b"text/plain"), (b"content-length", b"5")]
    assert heads.usual(b"", 200, given, 5, -1, 0.0) is None  # not known yet
    built, _, _ = heads.build(b"", 200, given, 5, is_head=False)
    usual = heads.usual(b"", 200, given, 5, -1, 0.0)
    assert usual is not None
    assert fields_of(usual) == fields_of(built)
    assert heads.usual(b"", 200, given, 6, -1, 0.0) is None
    assert heads.usual(b"", 204, given, 5, -1, 0.0) is None


@pytest.mark.parametrize(
    ("status", "given", "known", "is_head", "framing"),
    [
        (200, [], -1, False, MARKED),
        (200, [], 0, False, COUNTED),
        (200, [(b"content-length", b"9")], -1, False, COUNTED),
        (200, [(b"content-length", b"9")], -1, True, NO_BODY),
        (200, [], -1, True, NO_BODY),
        (204, [], 5, False, NO_BODY),
        (304, [(b"content-length", b"9")], 0, False, NO_BODY),
    ],
)
def test_framing(status: int, given: Any, known: int, is_head: bool, framing: int) -> None:
    block, found, _ = builder().build(b"", status, given, known, is_head=is_head)
    assert found == framing
    assert (b"content-length" in dict(decoded(block))) == (bool(given) or (known == 0 and not is_head))


def test_lengths_that_differ_and_lengths_that_are_none() -> None:
    for lengths in ([b"1", b"2"], [b"-1"], [b"x"]):
        with pytest.raises(HeaderError):
            builder().build(b"", 200, [(b"content-length", each) for each in lengths], -1, is_head=False)


def test_the_servers_own_line() -> None:
    heads = builder(str)
    line = heads.wsgi_status("200 OK")[0] + b"X-Request-ID: abc\r\n"
    block, _, _ = heads.build(line, 200, [], 0, is_head=False)
    assert fields_of(block)[1] == (b"x-request-id", b"abc")
    heads.build(b"", 200, [("a", "b")], 0, is_head=False)
    usual = heads.usual(line, 200, [("a", "b")], 3, 3, 0.0)
    assert usual is not None
    assert fields_of(usual)[1] == (b"x-request-id", b"abc")


def test_interim_heads_trailers_and_errors() -> None:
    heads = builder()
    assert decoded(heads.interim(100)) == [(b":status", b"100")]
    assert decoded(heads.interim(103, [(b"Link", b"</a>"), (b"Date", b"x")])) == [
        (b":status", b"103"),
        (b"link", b"</a>"),
    ]
    assert heads.interim(103, [(b"server", b"x")]) == b""
    assert decoded(heads.trailers([(b"X-Sum", b"1"), (b"connection", b"x")])) == [(b"x-sum", b"1")]
    block, body = heads.error(503, is_head=False)
    assert dict(decoded(block))[b"retry-after"] == b"7"
    assert body == b"503 Service Unavailable\n"
    assert heads.error(404, is_head=True)[1] == b""


def test_a_block_is_never_put_into_a_table_and_cookies_never_in_any() -> None:
    """The same bytes mean the same on every connection, in whatever order."""
    heads = builder()
    block, _, _ = heads.build(b"", 200, [(b"a", b"b" * 20), (b"set-cookie", b"secret")], 0, is_head=False)
    decoder = hpack.Decoder()
    fields = list(decoder.decode(block, raw=True))
    assert not decoder.header_table.dynamic_entries
    assert [each.indexable for each in fields if each[0] == b"set-cookie"] == [False]
