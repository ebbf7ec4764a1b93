"""What an nginx configuration says to the servers behind it, against the settings: keep-alive and timeouts.

It is read as nginx reads it: words, quotes, comments, blocks; what a block does not set holds from the one
around it. Files that it includes are not read, and that is told. What is not set has nginx's default.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from gwctl.cli.doctor.finding import Finding, ok, warn
from gwctl.cli.doctor.proxied import Proxied, keepalive, read_timeout
from gwctl.errors import GwctlError

_OPEN, _CLOSE = "{", "}"
_ENDS: Final = frozenset({";", _OPEN})
_PIECE: Final = re.compile(
    r"""\s+|\#[^\n]*|[{};]|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|(?:\$\{\w*\}|\\.|[^\s{};"'\\])+"""
)
_UNITS_S: Final = {
    "ms": 0.001,
    "s": 1,
    "": 1,
    "m": 60,
    "h": 3600,
    "d": 86400,
    "w": 604800,
    "M": 2592000,
    "y": 31536000,
}
_IDLE_S: Final = 60.0
"""Its `keepalive_timeout` of an upstream, by default."""
_READ_S: Final = 60.0
"""Its `proxy_read_timeout`, by default."""


class NotUnderstoodError(GwctlError):
    """The file is no configuration."""


class Directive(msgspec.Struct):
    """``name words... ;`` or ``name words... { block }``."""

    name: str
    words: list[str]
    line: int
    block: list[Directive] | None = None


def parse(text: str) -> list[Directive]:
    """The directives of a file.

    Raises:
        NotUnderstoodError: Says in which line.
    """
    top: list[Directive] = []
    open_blocks = [top]
    words: list[str] = []
    begun = line = 1
    at = 0
    while at < len(text):
        found = _PIECE.match(text, at)
        if found is None:
            raise NotUnderstoodError(f"line {line}: a quote that does not end")
        piece = found[0]
        at = found.end()
        if piece in _ENDS:
            if not words:
                raise NotUnderstoodError(f"line {line}: {piece} without a directive")
            made = Directive(words[0], words[1:], begun, [] if piece == _OPEN else None)
            open_blocks[-1].append(made)
            words = []
            if made.name.endswith("_by_lua_block"):
                end = _end_of_block(text, at)
                piece, at = text[at:end], end
            elif made.block is not None:
                open_blocks.append(made.block)
        elif piece == _CLOSE:
            if words or len(open_blocks) == 1:
                raise NotUnderstoodError(f"line {line}: }} is not expected")
            open_blocks.pop()
        elif not piece[0].isspace() and piece[0] != "#":
            begun = begun if words else line
            words.append(_unquoted(piece))
        line += piece.count("\n")
    if words or len(open_blocks) > 1:
        raise NotUnderstoodError("it ends in the midst of a directive")
    return top


def _end_of_block(text: str, at: int) -> int:
    """Where a block of another language ends, by its braces."""
    depth = 1
    for found in re.finditer(r"[{}]", text[at:]):
        depth += 1 if found[0] == _OPEN else -1
        if not depth:
            return at + found.end()
    return len(text)


def _unquoted(piece: str) -> str:
    return re.sub(r"\\(.)", r"\1", piece[1:-1]) if piece[0] in "\"'" else piece


def seconds(text: str) -> float | None:
    """``75``, ``75s``, ``1m 30s``; None: it is no time."""
    parts = re.findall(r"(\d+)\s*(ms|[smhdwMy]|)", text)
    whole = "".join(number + unit for number, unit in parts)
    return (
        sum(int(number) * _UNITS_S[unit] for number, unit in parts)
        if parts and whole == text.replace(" ", "")
        else None
    )


class _Place(msgspec.Struct, frozen=True):
    """A ``proxy_pass``, with the blocks around it, the innermost first."""

    line: int
    target: str
    blocks: tuple[list[Directive], ...]

    def value(self, name: str) -> list[str] | None:
        """What holds here: that of the innermost block that sets it."""
        for block in self.blocks:
            for each in block:
                if each.name == name and each.words:
                    return each.words
        return None

    def header(self, name: str) -> str | None:
        """As `value`: a block that sets any header inherits none."""
        for block in self.blocks:
            headers = [each.words for each in block if each.name == "proxy_set_header" and each.words]
            if headers:
                return next((" ".join(words[1:]) for words in headers if words[0].lower() == name), None)
        return None


def check(text: str, pools: Sequence[Proxied]) -> Iterator[Finding]:
    """What is to be said about the file.

    Raises:
        NotUnderstoodError: It is none.
    """
    top = parse(text)
    includes = list(_named(top, "include"))
    if includes:
        names = ", ".join(dict.fromkeys(" ".join(each.words) for each in includes))
        yield ok("nginx", f"nginx: not followed, what it includes: {names}")
    upstreams = {
        each.words[0]: each for each in _named(top, "upstream") if each.words and each.block is not None
    }
    places = list(_places(top, (top,)))
    found = [(place, pool) for place in places for pool in pools if _means(place.target, upstreams, pool)]
    if not found:
        text = "nginx: no proxy_pass leads to an address of these settings"
        yield warn(
            "nginx",
            text,
            "name the file that has it, or look at the addresses" if places else "name the file that has one",
        )
    told: set[str] = set()
    for place, pool in found:
        name = _host(place.target)
        upstream = upstreams.get(name)
        if name not in told:
            told.add(name)
            yield from _upstream(name, upstream, pool)
        yield from _place(place, upstream, pool)


def _named(block: Sequence[Directive], name: str) -> Iterator[Directive]:
    for each in block:
        if each.name == name:
            yield each
        yield from _named(each.block or (), name)


def _places(block: list[Directive], around: tuple[list[Directive], ...]) -> Iterator[_Place]:
    for each in block:
        if each.name == "proxy_pass" and each.words:
            yield _Place(each.line, each.words[0], around)
        if each.block is not None:
            yield from _places(each.block, (each.block, *around))


def _host(target: str) -> str:
    """``shop`` of ``http://shop/path``; ``unix:/run/x.sock`` of ``http://unix:/run/x.sock:/path``."""
    rest = re.sub(r"^https?://", "", target)
    return (
        rest.split(":/", 2)[0] + ":/" + rest.split(":/", 2)[1]
        if rest.startswith("unix:/")
        else rest.split("/")[0]
    )


def _means(target: str, upstreams: dict[str, Directive], pool: Proxied) -> bool:
    host = _host(target)
    upstream = upstreams.get(host)
    if upstream is None:
        return pool.is_at(host)
    servers = [each.words[0] for each in upstream.block or () if each.name == "server" and each.words]
    return any(pool.is_at(server) for server in servers)


def _upstream(name: str, upstream: Directive | None, pool: Proxied) -> Iterator[Finding]:
    block = {each.name: each.words for each in (upstream.block or ())} if upstream is not None else {}
    kept = block.get("keepalive", [""])[0]
    if upstream is None or kept in {"", "0"}:
        how = "sets keepalive 0" if kept else "has no keepalive"
        when = "" if kept else " (nginx before 1.29.7)"
        what = (
            f"nginx: upstream {name}"
            if upstream is not None
            else f"nginx: proxy_pass to {name}, which is no upstream,"
        )
        yield warn(
            "nginx",
            f"{what} {how}: each request takes a new connection{when}",
            f"upstream {name} {{ ...  keepalive 32; }}"
            if upstream is not None
            else "upstream shop { server ...;  keepalive 32; }",
        )
        return
    idle = seconds(" ".join(block.get("keepalive_timeout", [f"{_IDLE_S:g}s"])[:1]))
    if idle is not None:
        yield keepalive("nginx", f"keepalive_timeout of upstream {name}", idle, pool)


def _place(place: _Place, upstream: Directive | None, pool: Proxied) -> Iterator[Finding]:
    where = f"nginx: proxy_pass in line {place.line}"
    keeps = (
        any(each.name == "keepalive" and each.words[:1] not in ([], ["0"]) for each in (upstream.block or ()))
        if upstream
        else False
    )
    version = place.value("proxy_http_version")
    connection = place.header("connection")
    if keeps and (version is None or version[0] == "1.0"):
        how = (
            "speaks HTTP/1.0" if version else "has no proxy_http_version, which is 1.0 in nginx before 1.29.7"
        )
        yield warn("nginx", f"{where} {how}: no connection is kept", "proxy_http_version 1.1;")
    if keeps and (connection is None or connection.lower() == "close"):
        how = (
            "sends Connection: close"
            if connection
            else 'does not clear Connection, which is "close" in nginx before 1.29.7'
        )
        yield warn("nginx", f"{where} {how}: no connection is kept", 'proxy_set_header Connection "";')
    given = place.value("proxy_read_timeout")
    reads = seconds(" ".join(given)) if given else _READ_S
    if reads is not None:
        yield from read_timeout("nginx", f"proxy_read_timeout (line {place.line})", reads, pool)
