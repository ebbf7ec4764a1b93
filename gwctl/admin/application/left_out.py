"""What of an application's metrics could not be used, counted by why."""

from __future__ import annotations

from collections import Counter
from typing import Final, Literal, get_args

Reason = Literal["file", "malformed", "too_large", "too_many", "name", "reserved", "conflict", "storage"]
REASONS: Final[dict[Reason, str]] = {
    "file": "no file that can be read",
    "malformed": "not what prometheus_client writes",
    "too_large": "larger than is read",
    "too_many": "more than is read",
    "name": "no name that Prometheus has always taken",
    "reserved": "gwctl_ is for gwctl's own",
    "conflict": "the same name as another type",
    "storage": "cannot be kept",
}
"""In words."""

assert {*REASONS} == {*get_args(Reason)}

LeftOut = Counter[Reason]
