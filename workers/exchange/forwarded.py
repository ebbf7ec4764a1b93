"""Who the client is when a proxy stands in between: Forwarded and X-Forwarded-*.

Rules
    - Only peers in ``trusted_proxies`` are believed, and of what they send only the fields
      in ``forwarded_headers``: a field that the proxy neither sets nor removes comes from
      the client. Whom to believe is decided when a connection is made; others cost nothing.
    - The client is the rightmost address of the chain that is no trusted proxy; if all are,
      the leftmost. An entry that is no address (``unknown``, ``_hidden``, rubbish) ends the
      walk: what stands left of it was written by nobody we know.
    - A request with ``Forwarded`` (where it is believed) is judged by that alone; of the
      others only X-Forwarded-Port and -Prefix, which have no counterpart in it, still count.
    - X-Forwarded-Proto and -Host may be lists too. If one is as long as X-Forwarded-For, what
      counts is the entry beside the client's, else the last one.
    - What cannot be understood changes nothing, and refuses nothing. The fields themselves
      stay among the request's headers, whoever sent them.

What changes is what all requests of a connection otherwise share (``connection.base``), its
``peer``, for the access log, and ``authority``, which stands for Host. The runners collect the
fields in the same pass over the headers that they make anyway.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Protocol

from gwctl.config import trusted_proxies
from gwctl.config.trusted_proxies import Trusted

if TYPE_CHECKING:
    from gwctl.config.model.settings import PoolSettings

FIELDS: Final = frozenset(
    {
        b"forwarded",
        b"x-forwarded-for",
        b"x-forwarded-proto",
        b"x-forwarded-host",
        b"x-forwarded-port",
        b"x-forwarded-prefix",
    }
)

_REMEMBERED: Final = 4096
"""Combinations of values whose meaning is kept: the same clients come again."""
_REMEMBERED_BYTES_MAX: Final = 512
"""No combination is kept that is longer: clients could fill the memory with them."""
_ENTRIES_MAX: Final = 64
"""Longest chain that is read."""

_SCHEMES: Final = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_HOST: Final = re.compile(r"([A-Za-z0-9._~%-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::(\d{1,5}))?")
_PREFIX: Final = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~!$&'()*+;=:@-]+)+")
_NODE: Final = re.compile(
    r"(?:\[([0-9A-Fa-f:.]{2,45})\]|([0-9.]{7,15}))(?::(\d{1,5}))?|([0-9A-Fa-f:.]{2,45})"
)
_WORD: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PAIR: Final = re.compile(rf'({_WORD})=({_WORD}|"(?:[^"\\]|\\.)*")')
_SPACE: Final = re.compile(r"[ \t]*")

Client = tuple[str, int]


@dataclass(frozen=True, slots=True)
class OriginalRequest:
    """What is known of a request from before the proxies. None, 0 or empty: nothing was said.

    A client's port is 0 where only its address is known. ``host`` is as the client wrote it.
    """

    client: Client | None = None
    scheme: str = ""
    host: str = ""
    port: int = 0
    prefix: str = ""

    @property
    def server(self) -> tuple[str, int] | None:
        """Name and port the client asked for; the port is the scheme's own unless one was said."""
        if not self.host:
            return None
        name, _, port = self.host.rpartition(":") if not self.host.endswith("]") else (self.host, "", "")
        if not name:
            name, port = self.host, ""
        return name.strip("[]"), self.port or int(port or 0) or _DEFAULT_PORTS[self.scheme or "http"]


# ---- what a connection does with it


class ProxiedConnection(Protocol):
    """What changes on a connection (`gwctl.workers.exchange.exchange`)."""

    peer: Any
    base: Any
    authority: str
    fields: Any
    forwarder: Forwarder | None


class Forwarding:
    """One per server: which connections are a trusted proxy's, and what their requests mean."""

    def __init__(
        self,
        trusted: Trusted,
        fields: Sequence[str],
        adapt: Callable[[OriginalRequest], dict[str, Any]],
    ) -> None:
        """``adapt`` says what such a request changes in what a connection's requests share."""
        self._trusted = trusted
        self.fields = [name.lower().encode() for name in fields]
        self._names = [name.lower() for name in fields]
        self._adapt = adapt
        self._changes = lru_cache(_REMEMBERED)(self._understand)

    def connected(self, connection: ProxiedConnection) -> None:
        """Look at the peer of a new connection, after the runner did."""
        if self._trusted.peer(connection.peer):
            connection.forwarder = Forwarder(self, connection)

    def changes(self, *values: bytes | None) -> tuple[Client | None, str, dict[str, Any]]:
        """Return client, Host and changes of the base for the values of ``fields``."""
        short = sum([len(value) for value in values if value is not None]) <= _REMEMBERED_BYTES_MAX
        return (self._changes if short else self._understand)(*values)

    def _understand(self, *values: bytes | None) -> tuple[Client | None, str, dict[str, Any]]:
        given = zip(self._names, values, strict=True)
        original = understand(
            {name: value.decode("latin-1") for name, value in given if value is not None}, self._trusted
        )
        return original.client, original.host, self._adapt(original)


class Forwarder:
    """Of one connection from a trusted proxy: makes its requests those of the client that it names."""

    __slots__ = ("_forwarding", "peer")

    def __init__(self, forwarding: Forwarding, connection: ProxiedConnection) -> None:
        self._forwarding = forwarding
        self.peer = connection.peer

    def apply(self, connection: ProxiedConnection, given: Mapping[bytes, bytes]) -> dict[str, Any]:
        """Return what the present request changes in what the connection's requests share.

        ``given`` has, among others, the request's fields of `FIELDS` by lower-case name, repeated
        ones joined by commas. The connection's peer and authority become those of the client.
        """
        client, host, changes = self._forwarding.changes(
            *[given.get(name) for name in self._forwarding.fields]
        )
        connection.peer = self.peer if client is None else client
        if host:
            connection.authority = host
        return changes

    def apply_parsed(self, connection: ProxiedConnection) -> None:
        """See whose request it is; for one that is refused before its runner has looked."""
        given: dict[bytes, bytes] = {}
        for spelled, value in connection.fields.headers:
            name = spelled.lower()
            if name in FIELDS:
                given[name] = given[name] + b"," + value if name in given else value
        self.apply(connection, given)


# ---- what the fields mean


def understand(values: dict[str, str], trusted: Trusted) -> OriginalRequest:
    """Return what the fields say.

    Args:
        values: By lower-case name, fields sent several times joined by commas in their order.
        trusted: Which addresses of the chain are our own proxies.
    """
    forwarded = values.get("forwarded")
    if forwarded is not None:
        client, scheme, host = _read_forwarded(forwarded, trusted)
    else:
        client, scheme, host = _read_separate(values, trusted)
    port = _last(values, "x-forwarded-port")
    number = int(port) if port.isascii() and port.isdecimal() and len(port) <= 5 else 0
    prefix = _last(values, "x-forwarded-prefix").rstrip("/")
    return OriginalRequest(
        client,
        scheme,
        host,
        number if number < 65536 else 0,
        prefix if _PREFIX.fullmatch(prefix) else "",
    )


def _last(values: dict[str, str], name: str) -> str:
    return values.get(name, "").rpartition(",")[2].strip(" \t")


def _read_separate(values: dict[str, str], trusted: Trusted) -> tuple[Client | None, str, str]:
    chain = _entries(values.get("x-forwarded-for"))
    client, place = _walk(chain, trusted)

    def beside(name: str) -> str:
        entries = _entries(values.get(name))
        if not entries:
            return ""
        return entries[place] if len(entries) == len(chain) and client is not None else entries[-1]

    return client, _SCHEMES.get(beside("x-forwarded-proto").lower(), ""), _host(beside("x-forwarded-host"))


def _entries(value: str | None) -> list[str]:
    if value is None:
        return []
    return [entry.strip(" \t") for entry in value.rsplit(",", _ENTRIES_MAX)[-_ENTRIES_MAX:]]


def _walk(chain: Sequence[str], trusted: Trusted) -> tuple[Client | None, int]:
    """Return the client and its place in the chain, None if even the last entry is no address."""
    client: Client | None = None
    place = len(chain)
    for at in range(len(chain) - 1, -1, -1):
        node = _node(chain[at])
        if node is None:
            break
        address, port = node
        client, place = (str(address), port), at
        if not trusted.address(address):
            break
    return client, place


def _node(text: str) -> tuple[trusted_proxies.Ip, int] | None:
    """Read ``192.0.2.1``, ``192.0.2.1:4711``, ``2001:db8::1`` or ``[2001:db8::1]:4711``."""
    match = _NODE.fullmatch(text)
    if match is None:
        return None
    address = trusted_proxies.ip(match[1] or match[2] or match[4])
    port = int(match[3] or 0)
    return (address, port) if address is not None and port < 65536 else None


def _host(text: str) -> str:
    match = _HOST.fullmatch(text)
    return text if match is not None and int(match[2] or 1) in range(1, 65536) else ""


def _read_forwarded(value: str, trusted: Trusted) -> tuple[Client | None, str, str]:
    """Read RFC 7239. The element that names the client tells scheme and host too.

    A proxy nearer to us is asked where that element says nothing of them.
    """
    elements = _elements(value)
    client, place = _walk([element.get("for", "") for element in elements], trusted)
    told = elements[min(place, len(elements) - 1) :] if elements else []
    scheme = next(filter(None, (_SCHEMES.get(each.get("proto", "").lower(), "") for each in told)), "")
    host = next(filter(None, (_host(each.get("host", "")) for each in told)), "")
    return client, scheme, host


def _elements(value: str) -> list[dict[str, str]]:
    """Split a Forwarded field; nothing if any of it is malformed.

    A client may have opened a quote, which hides in its own element what a proxy appended: the
    whole field is then worth nothing.
    """
    elements: list[dict[str, str]] = [{}]
    at, end = 0, len(value)
    while True:
        at = _skip_space(value, at)
        pair = _PAIR.match(value, at)
        if pair is not None:
            name = pair[1].lower()
            if name in elements[-1]:
                return []
            elements[-1][name] = _unquoted(pair[2])
            at = _skip_space(value, pair.end())
        if at == end:
            return elements[-_ENTRIES_MAX:]
        if value[at] == ",":
            elements.append({})
        elif value[at] != ";":
            return []
        at += 1


def _skip_space(value: str, at: int) -> int:
    match = _SPACE.match(value, at)
    return match.end() if match is not None else at


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1]) if text.startswith('"') else text


def forwarding_for(
    settings: PoolSettings, adapt: Callable[[OriginalRequest], dict[str, Any]]
) -> Forwarding | None:
    """Return a worker's `Forwarding`, None when nobody is believed.

    Also without ``forwarded_headers``: a trusted proxy says when a request came (see `queue_limit`).
    """
    trusted = Trusted(settings.trusted_proxies)
    if not trusted:
        return None
    fields = tuple(dict.fromkeys(settings.forwarded_headers))
    return Forwarding(trusted, fields, adapt)
