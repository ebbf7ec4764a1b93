"""docs/http.md, made from the table of cases: ``python -m tests.conformance.page > docs/http.md``."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

from gwctl.config.model.http2 import Http2Settings
from gwctl.config.model.settings import Limits
from gwctl.config.model.timeouts import Timeouts
from gwctl.workers.balancing.eviction import READER_WAIT_MIN_S, WAIT_MIN_S
from gwctl.workers.balancing.overload import LINGERING_MAX
from gwctl.workers.balancing.slow_clients import PRESSURE_S
from gwctl.workers.exchange.client_wait import OTHERS_WAIT_S
from tests.conformance.case import LIMITS, Case
from tests.conformance.table import CASES, TABLE

_BYTES_MAX = 64
"""What is sent is shown up to this length."""

_SAME_LINES = re.compile(r"(.{4,8}?\\n)\1{6,}")
_SAME_LETTERS = re.compile(r"(.)\1{9,}")

_INTRODUCTION = """\
# HTTP

Made by `make docs` from the cases of tests/conformance; edit those.

gwctl speaks HTTP/1.1 and HTTP/1.0 as RFC 9110 and RFC 9112 say. What is legal is served. What is not, and
what two programs could read in two ways, is refused: a request that a proxy in front and the server behind
it end at different places is how requests are smuggled past the proxy's rules.

- A refusal is a short response with `Connection: close`, and the end of the connection. What came before it
  on the connection is answered in full; of what follows nothing is read as a request.
- A request that is refused never reaches the application. With `asgi`, and with `body_buffering = false`, the
  application runs while the body is received: there a mistake in the body, or one that is too large, ends the
  request as a client does that goes away.
- The status does not depend on the parser (C or Python), on the worker class or on how the network cuts the
  request into packets. The first mistake in the order of the bytes counts.
- With `log_level = "debug"` each refusal is logged with its reason; values of fields are not shown.
- Trailers and chunk extensions are checked and dropped. The percent-encoding of a path is not judged: what is
  no encoding stays as it is, and `..` is the application's business.
- `Upgrade` is taken for WebSockets alone, in `asgi` workers.

The cases below are {count}, {refused} of them refused. The tests play each of them in every worker class, with
either parser, in one piece, byte by byte, and against a real server (`python -m tests.conformance` counts
them). `make fuzz` looks for what the table forgot.

## Limits

What is over a limit is refused before it is kept.

| | default | beyond |
|---|---|---|
| `limits.request_line_bytes_max` | {limits.request_line_bytes_max} | 414 |
| `limits.header_bytes_max`: one field with its line end | {limits.header_bytes_max} | 431 |
| `limits.headers_max` | {limits.headers_max} | 431 |
| `limits.head_bytes_max`: request line and all fields | {limits.head_bytes_max} | 431 |
| `limits.body_bytes_max` | {limits.body_bytes_max} | 413: before it is read where Content-Length says so |
| a chunk's line | 1024 | 400 |
| chunk lines of a body over its data | 16384 | 400 |
| trailers | 16384 | 400 |

| | default | when it passes |
|---|---|---|
| `timeouts.header_timeout_s`: from the first byte of a request to the end of its head | {timeouts.header_timeout_s:g} s | 408 |
| `timeouts.body_timeout_s`: silence within a body | {timeouts.body_timeout_s:g} s | 408; a reset where the response has begun |
| `timeouts.response_timeout_s`: the client takes no byte | {timeouts.response_timeout_s:g} s | a reset |
| `timeouts.keepalive_timeout_s`: silence between requests | {timeouts.keepalive_timeout_s:g} s | the connection is closed |
| a client that vanishes without a word in the middle of a response or a WebSocket: the kernel's probes (TCP only) | 3 min | the connection is over |

## HTTP/2

As RFC 9113, 7541 and 9218 say, in all worker classes: with TLS by ALPN, without where `http` has `h2`, for clients that know beforehand (there is
no Upgrade). WebSockets are opened by an extended CONNECT (RFC 8441), which is offered in `asgi` workers; other protocols than `websocket` are
answered with 501.

- What HTTP/1.1 refuses, HTTP/2 refuses, with the same status: the tests play those of the cases below that both can say. What RFC 9113 calls malformed
  (names in upper case, fields of connections, a pseudo-header that is not sound, control characters) resets the stream with PROTOCOL_ERROR; what is wrong
  with the connection ends it with a GOAWAY that says why and which stream was the last.
- All limits and timeouts hold for each stream; a stream that is over one is answered or reset, and the others go on. `timeouts.keepalive_timeout_s` is
  the silence of a connection without a stream.
- Streams take turns: the most urgent first (`Priority`, PRIORITY_UPDATE), those of the same urgency one after the other. A large download holds up no
  small answer.
- At a drain the client is told in two steps (a GOAWAY that takes back nothing, then one with the last stream) and all that it has asked for by then is
  served.
- Trailers and 1xx go both ways where the interface has them; Cookie is one field; server push does not exist.

| `[pool.NAME.http2]` | default | beyond |
|---|---|---|
| `streams_max`: requests of one connection at once | {http2.streams_max} | RST_STREAM, REFUSED_STREAM: to be sent again |
| `window_bytes`, `connection_window_bytes`: of bodies that are not taken yet | {http2.window_bytes}, {http2.connection_window_bytes} | FLOW_CONTROL_ERROR |
| a head: limits.head_bytes_max and the others above | | 414, 431; over twice as much GOAWAY, ENHANCE_YOUR_CALM |
| a header block in frames | 64 | GOAWAY, ENHANCE_YOUR_CALM |
| `header_table_bytes` | {http2.header_table_bytes} | GOAWAY, COMPRESSION_ERROR |
| `resets_max`: streams that a client breaks off, or has us break off, in ten seconds | {http2.resets_max} | GOAWAY, ENHANCE_YOUR_CALM |
| `idle_frames_max`: frames that ask for nothing, in ten seconds | {http2.idle_frames_max} | GOAWAY, ENHANCE_YOUR_CALM |
| answers (to PING, SETTINGS) that a client does not read | 128 KiB | GOAWAY, ENHANCE_YOUR_CALM |

## When there is no room

Silent and slow clients are held to these limits, so that whoever behaves is served, or told 503 at once. The tests fill each of
them with such clients and then ask for something.

| | how much | beyond |
|---|---|---|
| connections | `connections_max`, else what `nofile` allows but for an eighth (8 to 256) | the one that has been silent longest, {silent_s:g} s at least, is closed for a new one (408 in the middle of a head); if there is none, `overload`, and as many as wait are asked to leave by `Connection: close` in their next response |
| bodies in memory | `limits.bodies_memory_bytes_max`: {bodies_memory} for each worker | WSGI: to temporary files; read during the call: no more is read, new requests with a body get 503 |
| bodies on disk | `limits.bodies_disk_bytes_max`: {bodies_disk} for each worker | 503 |
| slow bodies | `limits.body_rate_min_bytes_per_s`: {limits.body_rate_min_bytes_per_s} on average over each `timeouts.rate_grace_s` ({timeouts.rate_grace_s:g} s); where there is no room for connections, over {silent_s:g} s | 408 |
| slow readers | `limits.response_rate_min_bytes_per_s`: {limits.response_rate_min_bytes_per_s} likewise; where there is no room for connections, over {readers_s:g} s | a reset |
| responses in memory | `limits.responses_memory_bytes_max`: {responses} for each worker, with what an application gave to a send() that waits | a reset for those who would need longer than `timeouts.response_timeout_s` (60 s) for what is left of theirs, at the rate of the last {pressure_s:g} s (the more is held, the shorter, down to 1 s), the slowest first |
| one response in memory (ASGI) | 256 KiB and 64 KiB for the transport: larger blocks are sent in pieces | send() waits for its own client alone; the time does not count for `timeouts.request_timeout_s` |
| slow readers of a WSGI stream for whom others wait | {others_s:g} s of waiting, once `limits.response_spool_bytes_max` ({spool} for each worker) is full | a reset |
| requests | `requests_max`: those beyond wait, or are told 503 (`overload`) | 503 after `timeouts.queue_timeout_s` ({timeouts.queue_timeout_s:g} s), in line, unread or in a proxy that says so in X-Request-Start; whose client has gone is dropped |
| threads | `threads`: those beyond wait in line | likewise |
| refused connections that linger | {lingering} | the oldest is closed for the next one |

Three times the load that a pool can bear, each request on a connection of its own and from a client that gives up after 5 s, with
`queue_timeout_s = 2` (`python -m benchmarks.overload --seconds 12`, two workers, tasks of 50 ms, on two busy cores):

| | can do | asked | answered within 5 s, of what it can do | 503 | gave up | as if nothing had been, after |
|---|---|---|---|---|---|---|
| `sync` | 40/s | 120/s | 111 % | 908 | 0 | 2.1 s |
| `threads = 8` | 320/s | 769/s | 109 % | 6274 | 0 | 2.0 s |
| `asgi`, `requests_max = 8` | 320/s | 942/s | 100 % | 7507 | 96 | 3.2 s |

Over 100 % is what stood in line when the load ended; that line is `queue_timeout_s` long.

In the cases the limits are {line}, {field}, {count_max}, {head} and {body}.

## Cases

`served` means that the application saw the request as it was sent. Of what is sent, only what makes the case is
shown: without the usual request line, `Host: x` and the empty line at the end. Sections are those of the RFC that is named
before them, as in RFC 9112 section 3.2.
"""


def page() -> str:
    """Make the whole page."""
    introduction = _INTRODUCTION.format(
        count=len(CASES),
        refused=sum(case.status != 0 for case in CASES.values()),
        limits=Limits(),
        timeouts=Timeouts(),
        http2=Http2Settings(),
        silent_s=WAIT_MIN_S,
        readers_s=READER_WAIT_MIN_S,
        others_s=OTHERS_WAIT_S,
        bodies_memory=_size(Limits().bodies_memory_bytes_max),
        bodies_disk=_size(Limits().bodies_disk_bytes_max),
        responses=_size(Limits().responses_memory_bytes_max),
        pressure_s=PRESSURE_S,
        spool=_size(Limits().response_spool_bytes_max),
        lingering=LINGERING_MAX,
        line=LIMITS["request_line_bytes_max"],
        field=LIMITS["header_bytes_max"],
        count_max=LIMITS["headers_max"],
        head=LIMITS["head_bytes_max"],
        body=LIMITS["body_bytes_max"],
    )
    lines = introduction.splitlines()
    for group, cases in TABLE.items():
        lines += ["", f"### {group}", "", "| case | sent | answer | RFC |", "|---|---|---|---|"]
        lines += map(_row, cases)
    return "\n".join(lines) + "\n"


def _size(count: int) -> str:
    return f"{count >> 30} GiB" if count >= 1 << 30 else f"{count >> 20} MiB"


def _row(case: Case) -> str:
    return f"| {_cell(case.name)} | {_code(case.raw)} | {_answer(case)} | {case.section} |"


def _answer(case: Case) -> str:
    if not case.status:
        number = "served" if len(case.seen) == 1 else f"{len(case.seen)} served"
        return f"{number}, then closed" if case.closes else number
    before = f"{len(case.seen)} served, then " if case.seen else ""
    return f"{before}**{case.status}**"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*").replace("_", "\\_")


def _code(raw: bytes) -> str:
    """What makes the case: the line that is not as always, or the beginning."""
    text = _SAME_LINES.sub(r"\1…\1", "".join(_shown(raw)))
    text = _SAME_LETTERS.sub(r"\1…\1", text)
    if len(text) > _BYTES_MAX:
        text = text[: _BYTES_MAX - 1] + "…"
    return "`` " + text.replace("|", "\\|") + " ``"


def _shown(raw: bytes) -> Iterator[str]:
    """Escape what cannot be seen; leave out what all cases have in common."""
    for prefix in (
        b"GET / HTTP/1.1\r\nHost: x\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\n",
        b"GET / HTTP/1.1\r\n",
    ):
        if raw.startswith(prefix) and raw != prefix + b"\r\n":
            raw = raw[len(prefix) :]
            break
    raw = raw.removesuffix(b"\r\n\r\n").removesuffix(b"\r\nHost: x")
    for byte in raw:
        yield {13: "\\r", 10: "\\n", 9: "\\t"}.get(byte) or (
            chr(byte) if 32 <= byte < 127 else f"\\x{byte:02x}"
        )


if __name__ == "__main__":
    sys.stdout.write(page())
