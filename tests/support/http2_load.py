"""A load over HTTP/2 and TLS, by h2load: as long as a with-block lasts.

    with Http2Load("https://127.0.0.1:8443/") as load:
        load.wait_for_runs(2)
    assert load.failures == []

h2load says nothing before it has ended, so that it is run again and again, each time on new connections; what is behind the proxy
that it asks keeps its own.
"""

from __future__ import annotations

import re
import subprocess
import threading
from typing import Final, Self

from tests.support.debian import need
from tests.support.wait import DEADLINE_S, until

REQUESTS: Final = 100
"""Of a run, in half a second: eight at a time on each of two connections."""
_SPEED: Final = ("-c", "2", "-m", "8", "--rps", "100")
_DONE: Final = (
    f"requests: {REQUESTS} total, {REQUESTS} started, {REQUESTS} done, {REQUESTS} succeeded, 0 failed, 0 errored, 0 timeout",
    f"status codes: {REQUESTS} 2xx, 0 3xx, 0 4xx, 0 5xx",
    "Application protocol: h2",
)


class Http2Load:
    """To a URL whose certificate nobody looks at."""

    def __init__(self, url: str) -> None:
        h2load = need("h2load", "nghttp2-client")
        self._command = [h2load, "-n", str(REQUESTS), *_SPEED, url]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.runs = 0
        """That have ended."""
        self.failures: list[str] = []
        """What h2load said of a run in which not all was well."""

    def wait_for_runs(self, more: int) -> None:
        goal = self.runs + more
        until(lambda: self.runs >= goal, lambda: f"run {goal} of h2load; there were {self.runs}")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.is_set():
            done = subprocess.run(
                self._command, capture_output=True, text=True, timeout=DEADLINE_S, check=False
            )
            said = re.sub(r" +", " ", done.stdout)
            if done.returncode != 0 or not all(each in said for each in _DONE):
                self.failures.append(said + done.stderr)
            self.runs += 1
