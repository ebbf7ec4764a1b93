"""What is told: names, labels, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from gwctl.admin.application.left_out import LeftOut, Reason
from gwctl.admin.application.telling import families
from gwctl.admin.application.values import Values
from gwctl.admin.figures.exposition import OPENMETRICS, exposition
from tests.support.multiproc import samples_of, text_of
from tests.unit.admin.figures import examples


def key(family: str, sample: str, labels: Any = None, text: Any = "Help.") -> bytes:
    return json.dumps([family, sample, labels or {}, text]).encode()


def told(**pools: Values) -> tuple[dict[Any, float], dict[str, LeftOut]]:
    left_out = {pool: LeftOut() for pool in pools}
    return samples_of(families(pools, left_out)), left_out


def counters(*keys: bytes) -> Values:
    return Values(sums={"counter": dict.fromkeys(keys, 1.0)})


def test_pools_are_told_apart() -> None:
    found, _ = told(web=counters(key("a", "a_total")), api=counters(key("a", "a_total")))
    assert found == {("a_total", ("pool", "web")): 1, ("a_total", ("pool", "api")): 1}


def test_a_label_of_the_same_name_is_kept_under_another() -> None:
    labels = {"pool": "swimming", "exported_pool": "x"}
    found, _ = told(web=counters(key("a", "a_total", labels)))
    assert [*found] == [
        ("a_total", ("exported_exported_pool", "swimming"), ("exported_pool", "x"), ("pool", "web"))
    ]


def test_another_help_is_the_same_series() -> None:
    """A reload may change it, and both counted."""
    found, _ = told(web=counters(key("a", "a_total"), key("a", "a_total", None, "Other.")))
    assert found == {("a_total", ("pool", "web")): 2}


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"garbage", "malformed"),
        (b"\xff\xfe", "malformed"),
        (b"[" * 4000, "malformed"),
        (key("a", "a_total", {"x": 1}), "malformed"),
        (key("a", "b_total"), "malformed"),
        (key("a", "a"), "malformed"),
        (b'["a", "a_total", {"x": "\\ud800"}, ""]', "malformed"),
        (key("a b", "a b_total"), "name"),
        (key("a\nb 1\n#", "a\nb 1\n#_total"), "name"),
        (key("http.hits", "http.hits_total"), "name"),
        (key("a", "a_total", {"x y": "1"}), "name"),
        (key("a", "a_total", {"__x": "1"}), "name"),
        (key("gwctl_requests", "gwctl_requests_total"), "reserved"),
        (key("gwctl_", "gwctl__total"), "reserved"),
    ],
)
def test_what_is_refused(bad: bytes, reason: Reason) -> None:
    found, left_out = told(web=counters(key("good", "good_total"), bad))
    assert [*found] == [("good_total", ("pool", "web"))]
    assert left_out["web"] == {reason: 1}


def test_a_name_has_one_type() -> None:
    gauge = Values(gauges={"sum": {key("a", "a"): (1.0, 0.0)}})
    found, left_out = told(web=counters(key("a", "a_total")), api=gauge)
    assert [*found] == [("a_total", ("pool", "web"))]
    assert left_out["api"] == {"conflict": 1}


@pytest.mark.parametrize("le", ["x", "nan", ""])
def test_a_bucket_needs_a_bound(le: str) -> None:
    values = Values(sums={"histogram": {key("a", "a_bucket", {"le": le}): 1.0, key("a", "a_bucket"): 1.0}})
    assert told(web=values)[1]["web"] == {"malformed": 2}


def test_odd_texts_stay_in_their_places() -> None:
    """Help and labels are an application's own, and may be anything."""
    odd = 'x"} 1\n# HELP gwctl_up_seconds \\ no\ngwctl_up_seconds 7\n# EOF\n'
    values = counters(key("a", "a_total", {"x": odd}, odd))
    metrics = families({"web": values}, {"web": LeftOut()})
    text = text_of(metrics)
    assert len(text.splitlines()) == 3
    page = exposition(examples.MASTER, OPENMETRICS, others=metrics).decode()
    parsed = {family.name: family for family in text_string_to_metric_families(page)}
    (sample,) = parsed["a"].samples
    assert sample.labels == {"x": odd, "pool": "web"}
    assert parsed["gwctl_up_seconds"].samples[0].value == examples.MASTER.up_s
