"""Clients of a real server, in threads."""

from __future__ import annotations

import threading
from typing import Self

import httpx

IN_VAIN_S = 40


def ask_in_vain(url: str) -> None:
    """For requests that are to be cut: whatever comes instead of an answer is right."""
    try:
        httpx.get(url, timeout=IN_VAIN_S)
    except httpx.HTTPError:
        return


class AskingThreads:
    """Threads that ask as long as the with-block lasts. What each does is `ask`; it ends when ``over`` is set."""

    def __init__(self, count: int) -> None:
        self.over = threading.Event()
        self._threads = [threading.Thread(target=self.ask) for _ in range(count)]

    def ask(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.over.set()
        for thread in self._threads:
            thread.join()
