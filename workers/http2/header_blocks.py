"""Header blocks of a client, decoded and remembered.

A client that asks again sends the same block byte for byte, as long as its dynamic table does not change
(RFC 7541): decoded once, it is looked up from then on. A block that changes the table has all of them
forgotten, and is not kept itself: the same bytes mean something else afterwards.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hpack import Decoder
from hpack.exceptions import HPACKError, OversizedHeaderListError
from hpack.table import HeaderTable

from gwctl.workers.exchange.request_rules import SHOWN
from gwctl.workers.http2.request_head import Fields, RequestHead, check_trailers, read_request
from gwctl.workers.http2.wire import COMPRESSION_ERROR, ENHANCE_YOUR_CALM, Broken

if TYPE_CHECKING:
    from gwctl.config.model.settings import Limits

KNOWN_MAX: Final = 32
KNOWN_BYTES_MAX: Final = 2048
"""Neither block nor request is remembered that is larger."""
KNOWN_TOTAL_BYTES_MAX: Final = 131_072
"""What a connection remembers takes so much memory at most."""
_FIELD_MEMORY_BYTES: Final = 160
"""What a field takes besides its bytes: a byte of a block can be one, with names and values of nothing."""
LIST_BYTES_LEAST: Final = 65_536
FIELD_BYTES: Final = 32
"""What RFC 7541 section 4.1 adds for each field."""


class WatchedTable(HeaderTable):
    """``changes`` grows with each change."""

    changes = 0

    def add(self, name: bytes, value: bytes) -> None:
        self.changes += 1
        super().add(name, value)

    @property
    def maxsize(self) -> int:
        return self._maxsize

    @maxsize.setter
    def maxsize(self, newmax: int) -> None:
        self.changes += 1
        HeaderTable.maxsize.fset(self, newmax)  # type: ignore[attr-defined]


def list_bytes_max(limits: Limits) -> int:
    """Return how large the fields of a block may be; what is over a limit below that is refused."""
    return max(2 * (limits.head_bytes_max + FIELD_BYTES * limits.headers_max), LIST_BYTES_LEAST)


class BlockReader:
    """Of one connection."""

    __slots__ = ("_decoder", "_known", "_known_bytes", "_limits", "_table")

    def __init__(self, limits: Limits, table_bytes: int) -> None:
        self._limits = limits
        self._decoder = Decoder(max_header_list_size=list_bytes_max(limits))
        self._decoder.max_allowed_table_size = table_bytes
        self._table = self._decoder.header_table = WatchedTable()
        self._known: dict[bytes, RequestHead] = {}
        self._known_bytes = 0

    def limit_table(self, table_bytes: int) -> None:
        """The client knows how large its table may be: it has to say so if it was larger."""
        self._decoder.max_allowed_table_size = table_bytes

    def request(self, block: bytes) -> RequestHead:
        """Return what ``block`` asks for.

        Raises:
            Broken: It cannot be decoded, or is far too large.
            Malformed: It is no request.
        """
        known = self._known.get(block)
        if known is not None:
            return known
        changes = self._table.changes
        head = read_request(self._decode(block), self._limits)
        if self._table.changes == changes and head.refusal is None:
            self._remember(block, head)
        return head

    def _remember(self, block: bytes, head: RequestHead) -> None:
        size = len(block) + head.size + _FIELD_MEMORY_BYTES * len(head.fields)
        if max(len(block), head.size) > KNOWN_BYTES_MAX or size > KNOWN_TOTAL_BYTES_MAX:
            return
        if len(self._known) >= KNOWN_MAX or self._known_bytes + size > KNOWN_TOTAL_BYTES_MAX:
            self._forget()
        self._known[block] = head
        self._known_bytes += size

    def _forget(self) -> None:
        self._known.clear()
        self._known_bytes = 0

    def trailers(self, block: bytes) -> None:
        """Judge ``block``, which comes behind a body.

        Raises:
            Broken: It cannot be decoded, or is far too large.
            Malformed: It has what trailers must not have.
        """
        check_trailers(self._decode(block))

    def skip(self, block: bytes) -> None:
        """Decode a block that nobody wants: the next one builds on it.

        Raises:
            Broken: It cannot be decoded, or is far too large.
        """
        if block not in self._known:
            self._decode(block)

    def _decode(self, block: bytes) -> Fields:
        changes = self._table.changes
        try:
            fields: Fields = list(self._decoder.decode(block, raw=True))
        except OversizedHeaderListError:
            raise Broken(ENHANCE_YOUR_CALM, "a header block of far more than head_bytes_max") from None
        except (HPACKError, IndexError, ValueError) as error:
            raise Broken(
                COMPRESSION_ERROR, f"a header block that cannot be decoded: {str(error)[:SHOWN]}"
            ) from None
        finally:
            if self._table.changes != changes:
                self._forget()
        return fields
