"""The environ of a WSGI request (PEP 3333, RFC 3875), built from a parsed head.

What is the same for all requests of a worker is made once, what is the same for a connection
once per connection; a request copies that and adds its own. Header names recur, so their
environ names are kept in a bounded map.

A header with an underscore in its name is left out: `X_Forwarded_For` and `X-Forwarded-For`
are the same environ variable, and a proxy that sets one lets the other through. Fields sent
several times are joined (RFC 9110 section 5.2; cookies with a semicolon). A body in chunks is
complete when the application is called, so it gets a CONTENT_LENGTH like any other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote_to_bytes

from gwctl.ipc.assignment import Assignment
from gwctl.workers.app.drain_notice import KEY, DrainNotice
from gwctl.workers.app.standard_streams import ErrorStream
from gwctl.workers.balancing.queue_limit import REQUEST_START
from gwctl.workers.exchange.body_buffer import NO_BODY
from gwctl.workers.exchange.forwarded import FIELDS
from gwctl.workers.exchange.request_rules import FOLDED, HOSTS_MAX, Refused, check_host
from gwctl.workers.observe.request_ids import SAID, saying
from gwctl.workers.wsgi.file_wrapper import FileWrapper

if TYPE_CHECKING:
    from gwctl.workers.exchange.exchange import Exchange
    from gwctl.workers.exchange.forwarded import OriginalRequest

_NAMES_MAX: Final = 1024
BODY_FIELDS: Final = frozenset({b"content-length", b"transfer-encoding", b"expect"})
_NOTABLE: Final = BODY_FIELDS | FIELDS | {REQUEST_START}
_UNPREFIXED: Final = {"CONTENT_TYPE", "CONTENT_LENGTH"}

Environ = dict[str, Any]
Fields = dict[bytes, bytes]


class EnvironBuilder:
    """Makes environs; one per worker process, used by the loop's thread only."""

    def __init__(self, assignment: Assignment, multithread: bool, notice: DrainNotice) -> None:
        self._root_path = assignment.settings.root_path.rstrip("/")
        self._names: dict[bytes, str] = {}
        self._saying = saying(assignment.settings)
        self._notable_names = {name: _environ_name(name) for name in _NOTABLE | self._saying}
        self._hosts: set[str | None] = set()  # found sound before
        self.notable: Fields | None = None  # of the request built last
        self._base: Environ = {
            "REQUEST_METHOD": "",
            "SCRIPT_NAME": self._root_path,
            "PATH_INFO": "",
            "QUERY_STRING": "",
            "REQUEST_URI": "",
            "RAW_URI": "",  # what gunicorn calls it
            "SERVER_PROTOCOL": "",
            "SERVER_SOFTWARE": "gwctl",
            "GATEWAY_INTERFACE": "CGI/1.1",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.errors": ErrorStream(),
            "wsgi.multithread": multithread,
            "wsgi.multiprocess": assignment.processes > 1,
            "wsgi.run_once": False,
            "wsgi.file_wrapper": FileWrapper,
            "wsgi.input": NO_BODY,
            "wsgi.input_terminated": True,
            KEY: notice,
        }

    def for_connection(self, exchange: Exchange) -> Environ:
        """Return what all requests of one connection share.

        A Unix socket has no port, and nobody knows the client's address there. PEP 3333 wants SERVER_NAME and
        SERVER_PORT not to be empty.
        """
        server, client = exchange.addresses()
        base = self._base.copy()
        base["SERVER_PROTOCOL"] = f"HTTP/{exchange.http_version}"
        base["SERVER_NAME"] = server[0] if server[1] is not None else "localhost"
        base["SERVER_PORT"] = str(server[1]) if server[1] is not None else "80"
        base["REMOTE_ADDR"] = client[0] if client else ""
        base["REMOTE_PORT"] = str(client[1]) if client else ""
        return base

    def forwarded(self, original: OriginalRequest) -> Environ:
        """Return what a trusted proxy's word changes in that."""
        changes: Environ = {}
        if original.client is not None:
            changes["REMOTE_ADDR"] = original.client[0]
            changes["REMOTE_PORT"] = str(original.client[1] or "")
        if original.scheme:
            changes["wsgi.url_scheme"] = original.scheme
            changes["HTTPS"] = "on" if original.scheme == "https" else "off"
        if original.server is not None:
            changes["SERVER_NAME"] = original.server[0]
            changes["SERVER_PORT"] = str(original.server[1])
        elif original.port:
            changes["SERVER_PORT"] = str(original.port)
        if original.prefix:
            changes["SCRIPT_NAME"] = original.prefix + self._root_path
        return changes

    def build(self, exchange: Exchange) -> Environ:
        """Return the environ of the request that ``exchange`` has, with an empty body.

        Raises:
            Refused: HTTP/1.1 without Host, or one that is not sound.
        """
        environ: Environ = exchange.base.copy()
        names = self._names
        self.notable = notable = None
        for name, value in exchange.fields.headers:
            try:
                key = names[name]
            except KeyError:
                key = self._new_name(name)
            if key in environ:
                _join(environ, key, value)
                if key == "HTTP_CONNECTION" and "close" in environ[key].lower():
                    exchange.keep_alive = False  # to the parsers the last field counts
            elif key:
                environ[key] = value.decode("latin-1")
            else:
                self.notable = notable = _note(notable, name, value)
        host = environ.get("HTTP_HOST")
        if host not in self._hosts:
            self._new_host(host, exchange.http11)
        if notable is not None:
            self._see_to_notable(exchange, environ, notable)
        elif exchange.forwarder is not None:
            exchange.peer = exchange.forwarder.peer
        if exchange.authority:
            environ["HTTP_HOST"] = exchange.authority
        environ["REQUEST_METHOD"] = exchange.method
        target = exchange.target
        environ["REQUEST_URI"] = environ["RAW_URI"] = path = target
        if "?" in target:
            path, _, environ["QUERY_STRING"] = target.partition("?")
        if "%" in path:
            path = unquote_to_bytes(path).decode("latin-1")
        environ["PATH_INFO"] = path
        if environ["SCRIPT_NAME"]:
            self._strip_root_path(environ, path)
        if not exchange.http11:
            environ["SERVER_PROTOCOL"] = "HTTP/1.0"
        return environ

    def _see_to_notable(self, exchange: Exchange, environ: Environ, notable: Fields) -> None:
        """Add the fields that mean something to the server too, and do what those of proxies say."""
        for name, value in notable.items():
            if name != b"transfer-encoding":  # the application gets the body without it
                environ[self._notable_names[name]] = value.decode("latin-1")
        forwarder = exchange.forwarder
        if forwarder is not None:
            if not notable.keys().isdisjoint(self._saying):
                environ[SAID] = True
            if notable.keys().isdisjoint(FIELDS):
                exchange.peer = forwarder.peer
            else:
                environ.update(forwarder.apply(exchange, notable))

    def _new_name(self, name: bytes) -> str:
        """Return the environ name of a header, empty for one that is left out or seen to apart.

        Raises:
            Refused: A folded line (RFC 9112 section 5.2), which the C parser gives without a name.
        """
        if not name:
            raise Refused(400, FOLDED)
        key = "" if b"_" in name or name.lower() in self._notable_names else _environ_name(name)
        if len(self._names) >= _NAMES_MAX:
            self._names.clear()
        self._names[name] = key
        return key

    def _new_host(self, host: str | None, http11: bool) -> None:
        """Judge a value of Host that is not known yet.

        Raises:
            Refused: It is missing, or not sound.
        """
        check_host(host, http11)
        if host is not None:
            if len(self._hosts) >= HOSTS_MAX:
                self._hosts.clear()
            self._hosts.add(host)

    def _strip_root_path(self, environ: Environ, path: str) -> None:
        """Take SCRIPT_NAME, or what a proxy that strips its prefix left of it, off PATH_INFO."""
        for root in (environ["SCRIPT_NAME"], self._root_path):
            if root and (path == root or path.startswith(root + "/")):
                environ["PATH_INFO"] = path[len(root) :]
                return


def _environ_name(name: bytes) -> str:
    key = name.decode("ascii").upper().replace("-", "_")
    return key if key in _UNPREFIXED else "HTTP_" + key


def _note(notable: Fields | None, name: bytes, value: bytes) -> Fields | None:
    """Collect a field that is left out of the environ or that the server itself looks at."""
    if b"_" in name:
        return notable
    name = name.lower()
    if notable is None:
        return {name: value}
    notable[name] = notable[name] + b"," + value if name in notable else value
    return notable


def _join(environ: Environ, key: str, value: bytes) -> None:
    if key not in {"CONTENT_TYPE", "CONTENT_LENGTH", "HTTP_HOST"}:  # parsers refuse these twice
        separator = "; " if key == "HTTP_COOKIE" else ","
        environ[key] = environ[key] + separator + value.decode("latin-1")
