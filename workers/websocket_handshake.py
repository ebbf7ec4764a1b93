"""The opening handshake of RFC 6455, judged before a connection is handed over.

Pure functions on the HTTP scope. What the WebSocket library is given afterwards is a head of
ours with the fields that it needs: cookies and targets as long as our own limits allow do not
run into the library's.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any, Final

from gwctl.workers.drain_notice import KEY
from gwctl.workers.policy import Refused

_VERSION: Final = b"13"
_TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_FROM_REQUEST: Final = (
    "asgi",
    "client",
    "server",
    "root_path",
    "path",
    "raw_path",
    "query_string",
    "headers",
)
_SCHEMES: Final = {"http": "ws", "https": "wss"}

Headers = list[tuple[bytes, bytes]]


def asks_for_websocket(method: str, headers: Headers) -> bool:
    """Tell whether a request wants to become a WebSocket; if not, its Upgrade field is ignored.

    Upgrade only counts beside ``Connection: upgrade`` (RFC 9110 section 7.8): alone, somebody on
    the way has passed on what was not meant for us.
    """
    return (
        method == "GET"
        and b"upgrade" in _items(headers, b"connection")
        and b"websocket" in _items(headers, b"upgrade")
    )


def open_with(headers: Headers) -> bytes:
    """Return the head for the library.

    Raises:
        Refused: 426 when we do not speak the client's version, 400 when the handshake is broken.
    """
    versions = _values(headers, b"sec-websocket-version")
    if versions != [_VERSION]:
        raise Refused(426, "a WebSocket of another version than 13")
    keys = _values(headers, b"sec-websocket-key")
    if len(keys) != 1 or not _is_key(keys[0]):
        raise Refused(400, "Sec-WebSocket-Key is not one key of 16 bytes")
    if not all(_TOKEN.fullmatch(item) for item in _items(headers, b"sec-websocket-protocol", lower=False)):
        raise Refused(400, "Sec-WebSocket-Protocol is not a list of names")
    lines = [b"Sec-WebSocket-Extensions: %b\r\n" % v for v in _values(headers, b"sec-websocket-extensions")]
    return (
        b"GET / HTTP/1.1\r\nHost: -\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %b\r\n%b\r\n" % (keys[0], b"".join(lines))
    )


def facts(scope: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the WebSocket's scope takes from that of its request."""
    found = {key: scope[key] for key in _FROM_REQUEST if key in scope}
    found["scheme"] = _SCHEMES.get(scope.get("scheme", "http"), "ws")
    protocols = _items(scope["headers"], b"sec-websocket-protocol", lower=False)
    found["subprotocols"] = [item.decode("ascii") for item in protocols]
    found["extensions"] = {"websocket.http.response": {}}
    for shared in ("tls", KEY):
        if shared in scope.get("extensions", ()):
            found["extensions"][shared] = scope["extensions"][shared]
    return found


def _values(headers: Headers, name: bytes) -> list[bytes]:
    return [header[1].strip(b" \t") for header in headers if header[0] == name]


def _items(headers: Headers, name: bytes, *, lower: bool = True) -> list[bytes]:
    """The items of a list field, of all its lines."""
    whole = b",".join(_values(headers, name))
    items = [item.strip(b" \t") for item in (whole.lower() if lower else whole).split(b",")]
    return [item for item in items if item]


def _is_key(key: bytes) -> bool:
    try:
        return len(base64.b64decode(key, validate=True)) == 16
    except binascii.Error:
        return False
