"""How long a request may take: the setting, by worker class and path.

A path is compared as the application gets it: without query and authority, its percent signs
decoded once. What a client writes otherwise is the same request, and must have the same limit.
"""

from __future__ import annotations

import re
from typing import Final

from gwctl.config.model.timeouts import Timeouts
from gwctl.config.model.types import WEEK_S
from gwctl.config.model.worker_class import WorkerClass

HOLDS_LOOP_S = 60.0
"""What ``auto`` means where one request holds the whole worker: under ``sync``."""
_AUTHORITY: Final = re.compile("^[A-Za-z][A-Za-z0-9+.-]*://[^/?]*")
_ESCAPED: Final = re.compile(rb"%([0-9A-Fa-f]{2})")
FORM = 'PATH SECONDS, as in "/export 600"'


class RequestLimits:
    """The limits of one worker. ``shortest_s`` is that of any path; 0.0: there is none at all."""

    def __init__(self, timeouts: Timeouts, worker_class: WorkerClass, root_path: str = "") -> None:
        chosen = timeouts.request_timeout_s
        self._usual_s = (HOLDS_LOOP_S if worker_class.holds_loop else 0.0) if chosen == "auto" else chosen
        paths = [parse(text) for text in timeouts.request_timeout_paths]
        decoded = [(_decoded(path), limit_s) for path, limit_s in paths]
        self._paths = sorted(decoded, key=lambda each: len(each[0]), reverse=True)
        self._root = root_path.encode()
        self.shortest_s = min(filter(None, [self._usual_s, *(limit_s for _, limit_s in paths)]), default=0.0)

    def of(self, target: str) -> float:
        """Return the seconds that a request for ``target`` may take, in whatever form; 0.0: any."""
        limit_s = self._of_path(target)
        return self._usual_s if limit_s is None else limit_s

    def may_last(self, target: str) -> bool:
        """Tell whether a path was given all the time it wants."""
        return self._of_path(target) == 0.0

    def _of_path(self, target: str) -> float | None:
        if not self._paths:
            return None
        whole = path_of(target)
        root = self._root
        inner = whole[len(root) :] if root and whole.startswith(root + b"/") else whole
        for path, limit_s in self._paths:
            if inner.startswith(path) or whole.startswith(path):
                return limit_s
        return None


def path_of(target: str) -> bytes:
    """``/slow`` of ``/%73low?x=1`` and of ``http://shop/slow``: RFC 9112 section 3.2."""
    path = target if target.startswith("/") else _AUTHORITY.sub("", target)
    path = path.partition("?")[0]
    return _decoded(path) if path.startswith("/") else b"/"


def _decoded(path: str) -> bytes:
    return _ESCAPED.sub(lambda found: bytes((int(found[1], 16),)), path.encode())


def parse(text: str) -> tuple[str, float]:
    """Read one ``PATH SECONDS``.

    Raises:
        ValueError: It is something else.
    """
    path, blank, number = text.rpartition(" ")
    limit_s = float(number)
    if not blank or not path.startswith("/") or " " in path or not 0 <= limit_s <= WEEK_S:
        raise ValueError(text)
    return path, limit_s
