"""What a connection is to its streams, and a stream to whoever writes its response.

`gwctl.workers.http2.connection` and `gwctl.workers.http2.stream` are what there is of each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gwctl.workers.http1.connection import ConnectionBase
from gwctl.workers.http2.sender import Sender

if TYPE_CHECKING:
    from gwctl.ipc.assignment import Listener
    from gwctl.workers.http2.output import Output
    from gwctl.workers.http2.request_head import RequestHead


class Carrier(ConnectionBase):
    """A connection. All is the loop's thread's.

    Attributes:
        out: What leaves.
        stream_window: How much of a body may come before it is taken.
    """

    __slots__ = ("out", "stream_window")

    out: Output
    stream_window: int

    def what(self) -> str:
        return "a connection of HTTP/2"

    def give_room(self, size: int) -> None:
        """There is room for ``size`` bytes more of bodies."""
        raise NotImplementedError

    def tell(self, frames: bytes) -> None:
        """Send frames about windows."""
        raise NotImplementedError

    def reset_stream(self, stream: Sender, code: int) -> None:
        """Tell the client that nothing follows, and that nothing is wanted."""
        raise NotImplementedError

    def body_came(self, stream: Any) -> None:
        """A stream that has waited for its body has all of it: it goes on when what has come is read."""
        raise NotImplementedError

    def stream_over(self, stream: Sender) -> None:
        """It is no longer one of those that are open."""
        raise NotImplementedError

    # ---- calls in the loop's thread

    def unsent_by_transport(self) -> int:
        """Return how much is held that a call must not overtake."""
        raise NotImplementedError

    def push(self) -> None:
        """Write what goes now, past the transport: it holds nothing while a call is made."""
        raise NotImplementedError

    def poll(self, seconds: float, bell: int = -1) -> bool:
        """Read what has come, or comes within ``seconds``, and write what goes; False: the client is gone.

        ``bell``: a descriptor that ends the wait when it is readable.
        """
        raise NotImplementedError

    def sweep(self, now: float) -> None:
        """See to what has lasted too long."""
        raise NotImplementedError

    @property
    def is_full(self) -> bool:
        """Bodies that are not taken keep clients from sending more of any."""
        raise NotImplementedError


class Carried(Sender):
    """A stream.

    Attributes:
        seized: What its call's thread hands over goes nowhere.
    """

    __slots__ = ("connection", "seized")

    def __init__(
        self, connection: Carrier, stream_id: int, head: RequestHead, fields: Any, now: float
    ) -> None:
        listener: Listener = connection.listener
        super().__init__(fields, connection.peer, listener, stream_id, head, now)
        self.connection = connection
        self.seized = False

    @property
    def is_stuck(self) -> bool:
        """Tell whether it waits for room that its client will not give any more."""
        raise NotImplementedError

    def check_room(self) -> None:
        """Have whoever writes wait, if more than enough waits here."""
        raise NotImplementedError
