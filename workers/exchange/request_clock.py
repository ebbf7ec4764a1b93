"""Who judges how long requests may take, as the server's sweep asks them."""

from __future__ import annotations

from typing import Any


class RequestClock:
    """Judges how long requests take; none is made where they have no limit, or the master judges."""

    shortest_s: float = 0.0
    """The shortest limit."""

    def check_timeouts(self, now: float) -> None:
        """Give up the requests that are over their limit."""
        raise NotImplementedError

    def extend(self, request: Any, seconds: float) -> None:
        """Let ``request``, as its runner knows it, take that long from now on, if its limit is not later."""
        raise NotImplementedError

    def was_away(self, now: float, seconds: float) -> None:
        """The loop did not turn for so long: what the requests waited for may be there already."""
        raise NotImplementedError
