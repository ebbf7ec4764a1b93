"""What of balancing the runners need."""

from __future__ import annotations

from msgspec import Struct

from gwctl.workers.balancing.handoff import Handover
from gwctl.workers.balancing.queue_limit import QueueLimit
from gwctl.workers.balancing.siblings import Siblings
from gwctl.workers.balancing.slow_clients import LeastRates


class Balancing(Struct, frozen=True):
    """Of one worker. ``handover``: None without siblings to give to."""

    siblings: Siblings
    queue: QueueLimit
    rates: LeastRates
    handover: Handover | None
