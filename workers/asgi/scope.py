"""The scope of an ASGI request (ASGI 3, HTTP), built from a parsed head.

What is the same for all requests of a connection is made once; a request copies that and adds
its own. The headers are those the client sent: in their order, as often as they came, names in
lower case.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from gwctl.workers.app.drain_notice import KEY
from gwctl.workers.asgi.extensions import OFFERED, PATHSEND, TIMEOUT
from gwctl.workers.balancing.queue_limit import REQUEST_START
from gwctl.workers.exchange import tls_metadata
from gwctl.workers.exchange.forwarded import FIELDS
from gwctl.workers.exchange.request_rules import FOLDED, HOSTS_MAX, Refused, check_host
from gwctl.workers.observe.request_ids import SAID, saying

if TYPE_CHECKING:
    from gwctl.workers.exchange.exchange import Exchange
    from gwctl.workers.exchange.forwarded import OriginalRequest
    from gwctl.workers.exchange.service import Service

Headers = list[tuple[bytes, bytes]]
Fields = dict[bytes, bytes]
Scope = dict[str, Any]

_FOLDED: Final = b""
"""The C parser's name for a folded line (RFC 9112 section 5.2)."""
SPEC_VERSION: Final = "2.3"
"""With 2.4 streams listen for an exception of send() alone, which silent ones never call (docs/adr/0011)."""
BODY_FIELDS: Final = frozenset({b"content-length", b"transfer-encoding", b"expect", b"upgrade"})
_NOTABLE: Final = BODY_FIELDS | FIELDS | {b"host", b"connection", REQUEST_START, _FOLDED}


class ScopeBuilder:
    """Makes scopes; one per worker process, used by the loop's thread only."""

    def __init__(self, service: Service, *, extendable: bool) -> None:
        """``extendable``: requests have a limit of time, and may ask for more."""
        self._state = service.context.state
        self._extendable = extendable
        self._saying = saying(service.context.settings)
        self._notable_names = _NOTABLE | self._saying
        self._root_path = service.context.settings.root_path.rstrip("/")
        self._offered_10: dict[str, Any] = {KEY: service.context.notice}
        if service.context.settings.pathsend:
            self._offered_10[PATHSEND] = {}
        self._offered = {**OFFERED, **self._offered_10}
        self._hosts: set[bytes | None] = set()  # found sound before
        self.notable: Fields | None = None  # of the request built last

    def for_connection(self, exchange: Exchange) -> Scope:
        """Return what all requests of ``exchange`` share."""
        server, client = exchange.addresses()
        base: Scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": SPEC_VERSION},
            "http_version": exchange.http_version.removesuffix(".0"),
            "scheme": "http",
            "root_path": self._root_path,
            "client": client,
            "server": server,
            "extensions": self._offered.copy(),
        }
        if self._extendable:
            base["extensions"][TIMEOUT] = {}
        ssl = exchange.ssl
        if ssl is not None:
            base["scheme"] = "https"
            base["extensions"]["tls"] = tls_metadata.extension(ssl)
        return base

    def forwarded(self, original: OriginalRequest) -> Scope:
        """Return what a trusted proxy's word changes in that."""
        changes: Scope = {}
        if original.client is not None:
            changes["client"] = original.client
        if original.scheme:
            changes["scheme"] = original.scheme
        if original.server is not None:
            changes["server"] = original.server
        if original.prefix:
            changes["root_path"] = original.prefix + self._root_path
        return changes

    def build(self, exchange: Exchange) -> Scope:
        """Return the scope of the request that ``exchange`` has.

        Raises:
            Refused: HTTP/1.1 without Host, one that is not sound, or a folded line.
        """
        headers: Headers = exchange.fields.asgi_headers
        host: bytes | None = None
        notable: Fields | None = None
        notable_names = self._notable_names
        for name, value in headers:
            if name in notable_names:  # one look-up for each of the others
                if name == b"host":
                    host = value
                elif name != b"connection":
                    if notable is None:
                        notable = {}
                    notable[name] = notable[name] + b"," + value if name in notable else value
                elif value != b"keep-alive" and b"close" in value.lower():
                    exchange.keep_alive = False  # to the parsers the last of several fields counts
        self.notable = notable
        if host not in self._hosts:
            self._new_host(host, exchange.http11)
        forwarder = exchange.forwarder
        base: Scope = exchange.base
        if forwarder is not None:
            if notable is None:
                exchange.peer = forwarder.peer
            else:
                base = base | forwarder.apply(exchange, notable)
        if notable is not None and _FOLDED in notable:
            raise Refused(400, FOLDED)
        if exchange.authority:
            headers = _with_host(headers, exchange.authority)
        scope = self._scope(exchange, base.copy(), headers)
        if notable is not None and not notable.keys().isdisjoint(self._saying):
            scope[SAID] = forwarder is not None
        return scope

    def _new_host(self, host: bytes | None, http11: bool) -> None:
        """Judge a value of Host that is not known yet.

        Raises:
            Refused: It is missing, or not sound.
        """
        check_host(host if host is None else host.decode("latin-1"), http11)
        if host is not None:
            if len(self._hosts) >= HOSTS_MAX:
                self._hosts.clear()
            self._hosts.add(host)

    def _scope(self, exchange: Exchange, scope: Scope, headers: Headers) -> Scope:
        target = exchange.target
        path, query = target, b""
        if "?" in target:
            path, _, text = target.partition("?")
            query = text.encode("ascii")
        scope["method"] = exchange.method
        scope["headers"] = headers
        scope["raw_path"] = path.encode("ascii")
        scope["query_string"] = query
        if "%" in path:
            path = unquote(path)
        root = scope["root_path"]
        scope["path"] = self._rooted(path, root) if root else path
        scope["state"] = self._state.copy()
        if not exchange.http11:
            scope["http_version"] = "1.0"
            scope["extensions"] = self._offered_10.copy()
            if exchange.ssl is not None:
                scope["extensions"]["tls"] = exchange.base["extensions"]["tls"]
        return scope

    def _rooted(self, path: str, root: str) -> str:
        """Put back what the proxies in front took off: in ASGI, path includes root_path."""
        own = self._root_path
        if path == root or path.startswith(root + "/"):
            return path
        if own and (path == own or path.startswith(own + "/")):
            return root.removesuffix(own) + path
        return root + path


def _with_host(headers: Headers, authority: str) -> Headers:
    """Replace Host by the authority of an absolute-form target (RFC 9112 section 3.2.2)."""
    return [(b"host", authority.encode("ascii")), *[header for header in headers if header[0] != b"host"]]
