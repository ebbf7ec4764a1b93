"""The status document on its way from a master to its reader."""

from __future__ import annotations

import msgspec

from gwctl.control.status import from_json_ready, to_json_ready
from tests.support.invented_status import master, pool, worker


def test_json_round_trip_and_unknown_fields() -> None:
    status = master(pool(worker(0, left_s=1.0)), adopted_at=5.0)
    document = msgspec.json.decode(msgspec.json.encode(to_json_ready(status)))
    assert from_json_ready(document) == status
    document["later"] = {"than": "this"}
    document["pools"][0]["workers"][0]["later"] = 1
    assert from_json_ready(document) == status
