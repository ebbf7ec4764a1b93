"""How long a request may take: the setting, by worker class and path."""

from __future__ import annotations

from gwctl.config.scales import WEEK_S
from gwctl.config.timeout_settings import Timeouts

SYNC_S = 60.0
"""What ``auto`` means under ``sync``: one request holds the whole worker there."""
FORM = 'PATH SECONDS, as in "/export 600"'


class RequestLimits:
    """The limits of one worker. ``shortest_s`` is that of any path; 0.0: there is none at all."""

    def __init__(self, timeouts: Timeouts, worker_class: str) -> None:
        chosen = timeouts.request_timeout_s
        self._usual_s = (SYNC_S if worker_class == "sync" else 0.0) if chosen == "auto" else chosen
        paths = [parse(text) for text in timeouts.request_timeout_paths]
        self._paths = sorted(paths, key=lambda each: len(each[0]), reverse=True)
        self.shortest_s = min(filter(None, [self._usual_s, *(limit_s for _, limit_s in paths)]), default=0.0)

    def of(self, target: str) -> float:
        """Return the seconds that a request for ``target`` may take; 0.0: any."""
        for path, limit_s in self._paths:
            if target.startswith(path):
                return limit_s
        return self._usual_s


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
