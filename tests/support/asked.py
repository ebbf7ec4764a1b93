"""A request, as far as it is counted by."""

from __future__ import annotations


class Asked:
    """Of ``method``, for the root."""

    def __init__(self, method: str = "GET") -> None:
        self.method = method
        self.target = "/"
