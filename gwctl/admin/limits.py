"""How much is done at once: so many altogether, and no more than half of it for one client."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from gwctl.admin.http import RefusedError

_AGAIN: Final = (("retry-after", "1"),)


class Places:
    """``most`` at once. Of a client that is known apart from others, half of them."""

    def __init__(self, most: int, what: str) -> None:
        self._most = most
        self._what = what
        self._taken: Counter[str] = Counter()

    @contextmanager
    def one(self, client: str) -> Iterator[None]:
        """Take a place; ``client`` is empty if it is not known apart from others.

        Raises:
            RefusedError: There is none.
        """
        if self._taken.total() >= self._most:
            raise RefusedError(503, "busy", f"{self._most} {self._what} are open already", _AGAIN)
        if client and self._taken[client] >= self._most // 2:
            raise RefusedError(
                503, "busy", f"{self._most // 2} {self._what} of yours are open already", _AGAIN
            )
        self._taken[client] += 1
        try:
            yield
        finally:
            self._taken[client] -= 1
            if not self._taken[client]:
                del self._taken[client]
