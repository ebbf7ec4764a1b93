"""How a body is framed, and several requests on one connection."""

from __future__ import annotations

from tests.conformance.case import GET, LIMITS, Case, Seen, chunked, fields, post, posted, refused, served

BODY_MAX = LIMITS["body_bytes_max"]
LAST = b"0\r\n\r\n"


def length(value: bytes, body: bytes = b"abc") -> bytes:
    return post(b"Content-Length: " + value, body=body)


CONTENT_LENGTH = [
    served("a length", "9112 6.3", length(b"3"), posted(b"abc", **{"content-length": "3"})),
    served("zero", "9110 8.6", length(b"0", b""), posted()),
    served("leading zeros", "9110 8.6", length(b"0003"), posted(b"abc")),
    served("many leading zeros", "9110 8.6", length(b"0" * 60 + b"3"), posted(b"abc")),
    served("POST without a length", "9112 6.3", post(), posted()),
    served("GET with a body", "9110 9.3.1", fields(b"Content-Length: 3") + b"abc", Seen(body=b"abc")),
    served(
        "HTTP/1.0 with a length",
        "9112 6.3",
        post(b"Content-Length: 3", body=b"abc", version=b"1.0"),
        posted(b"abc"),
        closes=True,
    ),
    served("all bytes there are", "9112 6.3", length(b"256", bytes(range(256))), posted(bytes(range(256)))),
    served(
        "as much as is allowed",
        "9110 15.5.14",
        length(b"%d" % BODY_MAX, b"b" * BODY_MAX),
        posted(b"b" * BODY_MAX),
    ),
    refused("one byte more than is allowed", "9110 15.5.14", length(b"%d" % (BODY_MAX + 1), b""), 413),
    refused(
        "more than is allowed, though 100-continue is expected",
        "9110 10.1.1",
        post(b"Content-Length: 9999", b"Expect: 100-continue"),
        413,
    ),
    refused("more than 2^63", "9110 8.6", length(b"9223372036854775808", b""), 413),
    refused("3 more than 2^64", "9110 8.6", length(b"18446744073709551619"), 413),
    refused("a length of 200 digits", "9110 8.6", length(b"1" * 200), 413),
    refused("a plus sign", "9110 8.6", length(b"+3")),
    refused("a minus sign", "9110 8.6", length(b"-3")),
    refused("minus zero", "9110 8.6", length(b"-0", b"")),
    refused("hexadecimal", "9110 8.6", length(b"0x3")),
    refused("hexadecimal digits", "9110 8.6", length(b"a", b"abcdefghij")),
    refused("a fraction", "9110 8.6", length(b"3.0")),
    refused("an exponent", "9110 8.6", length(b"3e0")),
    refused("an underscore in it", "9110 8.6", length(b"1_0", b"abcdefghij")),
    refused("a blank within", "9110 8.6", length(b"1 0", b"abcdefghij")),
    refused("a vertical tab before it", "9110 8.6", length(b"\x0b3")),
    refused("digits of another script", "9110 8.6", length("\u0663".encode())),
    refused("a superscript of Latin-1", "9110 8.6", length(b"\xb3")),
    refused("quotes around it", "9110 8.6", length(b'"3"')),
    refused("empty", "9110 8.6", length(b"")),
    refused("a list of the same", "9110 8.6", length(b"3, 3")),
    refused("a list of different ones", "9110 8.6", length(b"3, 4")),
    refused("a comma behind", "9110 8.6", length(b"3,")),
    refused("a comma before", "9110 8.6", length(b",3")),
    refused("twice the same", "9110 8.6", post(b"Content-Length: 3", b"Content-Length: 3", body=b"abc")),
    refused("twice, different", "9110 8.6", post(b"Content-Length: 3", b"Content-Length: 0", body=b"abc")),
    refused(
        "a second one that is empty", "9110 8.6", post(b"Content-Length: 3", b"Content-Length:", body=b"abc")
    ),
    refused("letters", "9110 8.6", length(b"abc")),
    refused("a parameter", "9110 8.6", length(b"3;a=b")),
]


def coding(*values: bytes, body: bytes = LAST, more: tuple[bytes, ...] = ()) -> bytes:
    return post(*[b"Transfer-Encoding: " + value for value in values], *more, body=body)


TRANSFER_ENCODING = [
    served("chunked", "9112 6.1", coding(b"chunked"), posted()),
    served("chunked in capitals", "9112 7", coding(b"ChUnKeD"), posted()),
    served("chunked with blanks around", "9112 5.1", coding(b"  chunked\t "), posted()),
    refused("chunked beside a length", "9112 6.3", coding(b"chunked", more=(b"Content-Length: 5",))),
    refused(
        "a length before chunked",
        "9112 6.3",
        post(b"Content-Length: 5", b"Transfer-Encoding: chunked", body=LAST),
    ),
    refused("chunked beside a length of zero", "9112 6.3", coding(b"chunked", more=(b"Content-Length: 0",))),
    refused("another coding beside a length", "9112 6.3", coding(b"gzip", more=(b"Content-Length: 5",))),
    refused("identity beside a length", "9112 6.3", coding(b"identity", more=(b"Content-Length: 5",))),
    refused(
        "chunked in HTTP/1.0", "9112 6.1", post(b"Transfer-Encoding: chunked", body=LAST, version=b"1.0")
    ),
    refused(
        "identity in HTTP/1.0", "9112 6.1", post(b"Transfer-Encoding: identity", body=LAST, version=b"1.0")
    ),
    refused("another coding before chunked", "9112 6.1", coding(b"gzip, chunked"), 501),
    refused("an unknown coding before chunked", "9112 6.1", coding(b"rot13, chunked"), 501),
    refused("identity before chunked", "9112 6.1", coding(b"identity, chunked"), 501),
    refused(
        "another coding in a field of its own before chunked", "9112 6.1", coding(b"gzip", b"chunked"), 501
    ),
    refused("another coding without chunked", "9112 6.3", coding(b"gzip")),
    refused("an unknown coding", "9112 6.3", coding(b"rot13")),
    refused("identity", "9112 6.3", coding(b"identity")),
    refused("chunked before another coding", "9112 6.3", coding(b"chunked, gzip")),
    refused("chunked before identity", "9112 6.3", coding(b"chunked, identity")),
    refused("chunked before another coding in a field of its own", "9112 6.3", coding(b"chunked", b"gzip")),
    refused("chunked twice in one field", "9112 6.1", coding(b"chunked, chunked")),
    refused("chunked in two fields", "9112 6.1", coding(b"chunked", b"chunked")),
    refused("chunked and an unknown coding in a second field", "9112 6.3", coding(b"chunked", b"x")),
    refused("empty", "9112 6.1", coding(b"")),
    refused("an empty one and chunked", "9112 6.1", coding(b"", b"chunked")),
    refused("a comma behind chunked", "9112 6.1", coding(b"chunked,")),
    refused("a comma before chunked", "9112 6.1", coding(b",chunked")),
    refused("a comma alone", "9112 6.1", coding(b",")),
    refused("chunked with a parameter", "9112 7.1", coding(b"chunked;a=b")),
    refused("chunked with an empty parameter", "9112 7.1", coding(b"chunked;")),
    refused("chunked in quotes", "9112 7", coding(b'"chunked"')),
    refused("chunked with a letter more", "9112 7", coding(b"xchunked")),
    refused("chunked with a blank within", "9112 7", coding(b"chun ked")),
    refused("chunked and a word", "9112 7", coding(b"chunked gzip")),
    refused("chunked behind a vertical tab", "9110 5.5", coding(b"\x0bchunked")),
    refused("chunked behind a NUL", "9110 5.5", coding(b"\0chunked")),
    refused("chunked behind a no-break space", "9112 7", coding(b"\xa0chunked")),
]


def one_chunk(size: bytes, data: bytes = b"abc\r\n") -> bytes:
    return chunked(size + b"\r\n" + data + LAST)


def trailer(text: bytes) -> bytes:
    return chunked(b"3\r\nabc\r\n0\r\n" + text + b"\r\n")


ABC = posted(b"abc")

CHUNKS = [
    served("one chunk", "9112 7.1", one_chunk(b"3"), ABC),
    served("several chunks", "9112 7.1", chunked(b"1\r\na\r\n2\r\nbc\r\n" + LAST), ABC),
    served("no chunk", "9112 7.1", chunked(LAST), posted()),
    served("a size in lower case", "9112 7.1", one_chunk(b"a", b"abcdefghij\r\n"), posted(b"abcdefghij")),
    served("a size in capitals", "9112 7.1", one_chunk(b"A", b"abcdefghij\r\n"), posted(b"abcdefghij")),
    served("a size with leading zeros", "9112 7.1", one_chunk(b"003"), ABC),
    served("a size with many leading zeros", "9112 7.1", one_chunk(b"0" * 100 + b"3"), ABC),
    served("a last chunk of several zeros", "9112 7.1", chunked(b"3\r\nabc\r\n000\r\n\r\n"), ABC),
    served(
        "data that looks like a chunk", "9112 7.1", one_chunk(b"5", b"0\r\n\r\n\r\n"), posted(b"0\r\n\r\n")
    ),
    served("an extension", "9112 7.1.1", one_chunk(b"3;a"), ABC),
    served("an extension with a value", "9112 7.1.1", one_chunk(b"3;a=b"), ABC),
    served("several extensions", "9112 7.1.1", one_chunk(b"3;a=b;c;d=e"), ABC),
    served("blanks around the parts of an extension", "9112 7.1.1", one_chunk(b"3 ; a = b"), ABC),
    served("an extension in quotes", "9112 7.1.1", one_chunk(b'3;a="b;c=\\"d"'), ABC),
    served("an extension of the last chunk", "9112 7.1.1", chunked(b"3\r\nabc\r\n0;a=b\r\n\r\n"), ABC),
    refused("an empty size", "9112 7.1", one_chunk(b"")),
    refused("a size that is no number", "9112 7.1", one_chunk(b"xyz")),
    refused("a plus sign before the size", "9112 7.1", one_chunk(b"+3")),
    refused("a minus sign before the size", "9112 7.1", one_chunk(b"-3")),
    refused("0x before the size", "9112 7.1", one_chunk(b"0x3")),
    refused("an underscore in the size", "9112 7.1", one_chunk(b"0_3")),
    refused("a blank before the size", "9112 7.1", one_chunk(b" 3")),
    refused("a blank after the size", "9112 7.1", one_chunk(b"3 ")),
    refused("a tab after the size", "9112 7.1", one_chunk(b"3\t")),
    refused("a blank within the size", "9112 7.1", one_chunk(b"0 3")),
    refused("a NUL after the size", "9112 7.1", one_chunk(b"3\0")),
    refused("a comma after the size", "9112 7.1", one_chunk(b"3,")),
    refused("3 more than 2^64", "9112 7.1", one_chunk(b"10000000000000003")),
    refused("2^63", "9112 7.1", one_chunk(b"8000000000000000")),
    refused("a size of 16 F", "9112 7.1", one_chunk(b"f" * 16)),
    refused("more than is allowed", "9110 15.5.14", one_chunk(b"3e9", b"b" * 1001 + b"\r\n"), 413),
    refused(
        "more than is allowed in several chunks",
        "9110 15.5.14",
        chunked((b"64\r\n" + b"b" * 100 + b"\r\n") * 11 + LAST),
        413,
    ),
    refused("LF alone after the size", "9112 7.1", chunked(b"3\nabc\r\n" + LAST)),
    refused("CR alone after the size", "9112 7.1", chunked(b"3\rabc\r\n" + LAST)),
    refused("LF alone after the data", "9112 7.1", chunked(b"3\r\nabc\n" + LAST)),
    refused("CR alone after the data", "9112 7.1", chunked(b"3\r\nabc\r" + LAST)),
    refused("no line end after the data", "9112 7.1", chunked(b"3\r\nabc" + LAST)),
    refused("more data than the size says", "9112 7.1", chunked(b"3\r\nabcd\r\n" + LAST)),
    refused("less data than the size says", "9112 7.1", chunked(b"4\r\nabc\r\n" + LAST)),
    refused("LF alone after the last chunk", "9112 7.1", chunked(b"3\r\nabc\r\n0\n\r\n")),
    refused("LF alone at the end", "9112 7.1", chunked(b"3\r\nabc\r\n0\r\n\n")),
    refused("a semicolon without an extension", "9112 7.1.1", one_chunk(b"3;")),
    refused("an extension without a name", "9112 7.1.1", one_chunk(b"3;=b")),
    refused("an extension without its value", "9112 7.1.1", one_chunk(b"3;a=")),
    refused("an extension with quotes that do not close", "9112 7.1.1", one_chunk(b'3;a="b')),
    refused("an extension with a CR", "9112 7.1.1", one_chunk(b"3;a\rb")),
    refused("an extension that ends in LF", "9112 7.1.1", chunked(b"3;a\nabc\r\n" + LAST)),
    refused("an extension with LF in quotes", "9112 7.1.1", chunked(b'3;a="\n"\r\nabc\r\n' + LAST)),
    refused("an extension with a NUL", "9112 7.1.1", one_chunk(b"3;a\0")),
    refused("an extension of 1100 bytes", "9112 7.1.1", one_chunk(b"3;" + b"a" * 1100)),
    refused(
        "extensions without end", "9112 7.1.1", chunked((b"1;" + b"a" * 1000 + b"\r\na\r\n") * 30 + LAST)
    ),
    served("a trailer", "9112 7.1.2", trailer(b"A: b\r\n"), posted(b"abc", a=None)),
    served("several trailers", "9112 7.1.2", trailer(b"A: b\r\nC: d\r\n"), ABC),
    served("a trailer with bytes over 127", "9110 5.5", trailer(b"A: caf\xe9\r\n"), ABC),
    refused("Content-Length as a trailer", "9110 6.5.1", trailer(b"Content-Length: 3\r\n")),
    refused("Transfer-Encoding as a trailer", "9110 6.5.1", trailer(b"transfer-encoding: chunked\r\n")),
    refused("Host as a trailer", "9110 6.5.1", trailer(b"HOST: b\r\n")),
    refused("Authorization as a trailer", "9110 6.5.1", trailer(b"Authorization: b\r\n")),
    refused("Trailer as a trailer", "9110 6.6.2", trailer(b"Trailer: b\r\n")),
    refused("TE as a trailer", "9110 10.1.4", trailer(b"TE: b\r\n")),
    refused("a folded trailer", "9112 5.2", trailer(b"A: b\r\n c\r\n")),
    refused("a blank before the colon of a trailer", "9112 5.1", trailer(b"A : b\r\n")),
    refused("a trailer without a colon", "9112 5", trailer(b"nonsense\r\n")),
    refused("a trailer without a name", "9112 5", trailer(b": b\r\n")),
    refused("a NUL in a trailer", "9110 5.5", trailer(b"A: \0\r\n")),
    refused("a CR in a trailer", "9110 5.5", trailer(b"A: b\rc\r\n")),
    refused("LF alone after a trailer", "9112 2.2", trailer(b"A: b\n")),
    refused("a trailer of 17000 bytes", "9112 7.1.2", trailer(b"A: " + b"b" * 17000 + b"\r\n")),
    refused("trailers without end", "9112 7.1.2", trailer(b"A: bcdefghijk\r\n" * 1400)),
    refused("a request smuggled as a trailer", "9112 7.1.2", trailer(b"GET /b HTTP/1.1\r\n")),
]


def then(*parts: bytes) -> bytes:
    return b"".join(parts)


BAD = b"GET / HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n"
FOUR = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"

PIPELINES: list[Case] = [
    served("two requests at once", "9112 9.3.2", then(GET, FOUR), Seen(), Seen(path="/a")),
    served("twenty requests at once", "9112 9.3.2", GET * 20, *[Seen()] * 20),
    served("a body, then a request", "9112 9.3.2", then(post(b"Content-Length: 3", body=b"abc"), FOUR), ABC, Seen(path="/a")),
    served("chunks, then a request", "9112 9.3.2", then(one_chunk(b"3"), FOUR), ABC, Seen(path="/a")),
    served("chunks and trailers, then a request", "9112 9.3.2", then(trailer(b"A: b\r\n"), FOUR), ABC, Seen(path="/a")),
    served("HEAD, then a request", "9112 9.3.2", then(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n", FOUR), Seen("HEAD"), Seen(path="/a")),
    served("a body that looks like a request, then a request", "9112 6.3", then(post(b"Content-Length: 27", body=GET), FOUR), posted(GET), Seen(path="/a")),
    served("a GET with a body, then a request", "9110 9.3.1", then(fields(b"Content-Length: 3"), b"abc", FOUR), Seen(body=b"abc"), Seen(path="/a")),
    served("an empty line between two requests", "9112 2.2", then(post(b"Content-Length: 3", body=b"abc"), b"\r\n", FOUR), ABC, Seen(path="/a")),
    served("nothing after close", "9112 9.6", then(fields(b"Connection: close"), FOUR), closes=True),
    served("nothing after a body and close", "9112 9.6", then(post(b"Content-Length: 3", b"Connection: close", body=b"abc"), FOUR), ABC, closes=True),
    served("nothing after HTTP/1.0", "9112 9.3", then(b"GET / HTTP/1.0\r\nHost: x\r\n\r\n", FOUR), closes=True),
    served("two requests of HTTP/1.0 with keep-alive", "9112 C.2.2", fields(b"Connection: keep-alive", version=b"1.0") * 2, Seen(), Seen()),
    served("bytes after an upgrade that is not taken are a request", "9110 7.8", then(fields(b"Connection: Upgrade", b"Upgrade: h2c"), FOUR), Seen(), Seen(path="/a")),
    refused("a mistake after a request, and a request after it", "9112 9.3.2", then(GET, BAD, FOUR), 400, Seen()),
    refused("a mistake after three requests", "9112 9.3.2", then(GET * 3, b"nonsense\r\n\r\n", FOUR), 400, *[Seen()] * 3),
    refused("a mistake in a body, and a request after it", "9112 9.3.2", then(chunked(b"x\r\n"), FOUR)),
    refused("a mistake in the second body", "9112 9.3.2", then(one_chunk(b"3"), chunked(b"3\r\nabcd\r\n" + LAST), FOUR), 400, ABC),
    refused("more body than Content-Length says", "9112 6.3", then(post(b"Content-Length: 3", body=b"abcd"), FOUR), 501, ABC),
    refused("a length beside chunks, and what a laxer server would take for a request", "9112 6.3", then(post(b"Content-Length: 6", b"Transfer-Encoding: chunked", body=LAST + b"G"), FOUR)),
    refused("chunks under a coding misspelt, and what a laxer server would take for a request", "9112 6.3", then(post(b"Content-Length: 4", b"Transfer-Encoding: xchunked", body=b"5c\r\n"), FOUR)),
    refused("too much in the second request", "9110 15.5.14", then(GET, post(b"Content-Length: 9999"), FOUR), 413, Seen()),
    refused("a version in the second request", "9112 2.3", then(GET, b"GET / HTTP/2.0\r\nHost: x\r\n\r\n"), 505, Seen()),
]  # fmt: skip
