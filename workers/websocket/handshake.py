"""The opening handshake of RFC 6455, judged before a connection is handed over.

Pure functions on the HTTP scope.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gwctl.workers.app.drain_notice import KEY
from gwctl.workers.exchange.request_rules import Refused
from gwctl.workers.observe.request_ids import SAID

if TYPE_CHECKING:
    from gwctl.workers.websocket.deflate import Agreement

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
    SAID,
)
_SCHEMES: Final = {"http": "ws", "https": "wss"}

_MAGIC: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

Headers = list[tuple[bytes, bytes]]


class Opening(NamedTuple):
    """A sound handshake, and how it is answered."""

    head: bytes
    """The answer's first lines over HTTP/1.1; the application's fields follow."""
    agreement: Agreement | None
    subprotocols: list[str]


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


def judge(headers: Headers, per_message_deflate: bool) -> Opening:
    """Judge a handshake.

    Raises:
        Refused: 426 when we do not speak the client's version, 400 when the handshake is broken.
    """
    from hashlib import sha1  # noqa: PLC0415 - most workers never have a WebSocket

    if _values(headers, b"sec-websocket-version") != [_VERSION]:
        raise Refused(426, "a WebSocket of another version than 13")
    keys = _values(headers, b"sec-websocket-key")
    if len(keys) != 1 or not _is_key(keys[0]):
        raise Refused(400, "Sec-WebSocket-Key is not one key of 16 bytes")
    agreement, protocols = _agree(headers, per_message_deflate)
    accept = base64.b64encode(sha1(keys[0] + _MAGIC, usedforsecurity=False).digest())
    lines = [
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n",
        b"Sec-WebSocket-Accept: %b\r\n" % accept,
    ]
    if agreement is not None:
        lines.append(f"Sec-WebSocket-Extensions: {agreement.answer}\r\n".encode())
    return Opening(b"".join(lines), agreement, protocols)


def judge_connect(headers: Headers, per_message_deflate: bool) -> Opening:
    """Judge the handshake of an extended CONNECT (RFC 8441 section 5), which has no key.

    Raises:
        Refused: 400. There is no Upgrade that a 426 could ask for.
    """
    if _values(headers, b"sec-websocket-version") != [_VERSION]:
        raise Refused(400, "a WebSocket of another version than 13")
    return Opening(b"", *_agree(headers, per_message_deflate))


def _agree(headers: Headers, per_message_deflate: bool) -> tuple[Agreement | None, list[str]]:
    """Return what is agreed on of the client's offers, and its subprotocols.

    Raises:
        Refused: 400.
    """
    from gwctl.workers.websocket.deflate import MalformedError, agree  # noqa: PLC0415

    protocols = _items(headers, b"sec-websocket-protocol", lower=False)
    if not all(_TOKEN.fullmatch(item) for item in protocols):
        raise Refused(400, "Sec-WebSocket-Protocol is not a list of names")
    try:
        agreement = agree(_values(headers, b"sec-websocket-extensions"))
    except MalformedError:
        raise Refused(400, "Sec-WebSocket-Extensions is not a list of extensions") from None
    return agreement if per_message_deflate else None, [item.decode("ascii") for item in protocols]


def websocket_scope(scope: Mapping[str, Any], opening: Opening, state: dict[str, Any]) -> dict[str, Any]:
    """Return the scope of a WebSocket whose handshake came with ``scope``."""
    extensions: dict[str, Any] = {"websocket.http.response": {}}
    for shared in ("tls", KEY):
        if shared in scope.get("extensions", ()):
            extensions[shared] = scope["extensions"][shared]
    return {
        "type": "websocket",
        "http_version": scope.get("http_version", "1.1"),
        **{key: scope[key] for key in _FROM_REQUEST if key in scope},
        "scheme": _SCHEMES.get(scope.get("scheme", "http"), "ws"),
        "subprotocols": [*opening.subprotocols],
        "state": state.copy(),
        "extensions": extensions,
    }


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
