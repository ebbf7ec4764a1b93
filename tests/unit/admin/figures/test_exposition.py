"""What Prometheus is told: read back by a parser that others wrote, it is what the master said."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from gwctl.admin.figures import rows
from gwctl.admin.figures.exposition import OPENMETRICS, TEXT, Format, chosen, exposition
from gwctl.admin.figures.families import FAMILIES, LABELS
from gwctl.admin.figures.families import OWN as OWN_FAMILIES
from gwctl.control.metrics import METHODS, STATUS_CLASSES, Durations, MasterMetrics
from gwctl.durations import doublings
from gwctl.ipc.scoreboard import LATENCY_BUCKETS
from gwctl.json_text import readable
from gwctl.supervisor.core.state import Phase
from gwctl.supervisor.core.worker import State
from gwctl.workers.observe.counters import Counters, durations
from tests.tidy.checks import ROOT
from tests.unit.admin.figures.examples import BARE, MASTER, ODD_NAME, OWN, POOL, WORKER
from tests.unit.admin.figures.page import page

READERS = {TEXT: read_text, OPENMETRICS: read_openmetrics}
Series = dict[tuple[str, frozenset[tuple[str, str]]], float]
by_format = pytest.mark.parametrize("form", [TEXT, OPENMETRICS], ids=["text", "openmetrics"])


def families(metrics: MasterMetrics, form: Format) -> list[Metric]:
    return list(READERS[form](exposition(metrics, form, OWN).decode()))


def series(found: Iterable[Metric]) -> Series:
    every = [
        (each.name, frozenset(each.labels.items()), each.value) for family in found for each in family.samples
    ]
    assert len({each[:2] for each in every}) == len(every), "each series is there once"
    return {(name, labels): value for name, labels, value in every}


def read(metrics: MasterMetrics = MASTER, form: Format = TEXT) -> Any:
    found = series(families(metrics, form))
    return lambda name, /, **labels: found[name, frozenset(labels.items())]


ALL = (*FAMILIES, *OWN_FAMILIES)
WEB = {"pool": "web"}
SLOT = WEB | {"slot": "0"}
EXPECTED: list[tuple[str, dict[str, str], float]] = [
    ("gwctl_build_info", {"version": "1.2.3", "name": "shop"}, 1),
    ("gwctl_up_seconds", {}, 3661.5),
    ("gwctl_generation", {}, 5),
    ("gwctl_phase", {"gwctl_phase": "reloading"}, 1),
    ("gwctl_phase", {"gwctl_phase": "serving"}, 0),
    ("gwctl_health", {"gwctl_health": "degraded"}, 1),
    ("gwctl_health", {"gwctl_health": "healthy"}, 0),
    ("gwctl_reloads_total", {"outcome": "adopted"}, 4),
    ("gwctl_reloads_total", {"outcome": "refused"}, 1),
    ("gwctl_reloads_total", {"outcome": "rolled_back"}, 0),
    ("gwctl_reload_duration_seconds_count", {}, 4),
    ("gwctl_reload_duration_seconds_sum", {}, 12.5),
    ("gwctl_upgrades_total", {"outcome": "adopted"}, 1),
    ("gwctl_events_total", {}, 77),
    ("gwctl_log_lines_lost_total", {}, 6),
    ("gwctl_pressure_ratio", {"resource": "cpu"}, 0.25),
    ("gwctl_pressure_ratio", {"resource": "io"}, 0),
    ("gwctl_master_memory_bytes", {}, 40 << 20),
    ("gwctl_master_cpu_seconds_total", {}, 3.5),
    ("gwctl_requests_total", WEB | {"method": "GET", "status": "2xx"}, 1000),
    ("gwctl_requests_total", WEB | {"method": "GET", "status": "5xx"}, 2),
    ("gwctl_requests_total", WEB | {"method": "GET", "status": "1xx"}, 3),
    ("gwctl_requests_total", WEB | {"method": "GET", "status": "4xx"}, 0),
    ("gwctl_requests_total", WEB | {"method": "POST", "status": "4xx"}, 5),
    ("gwctl_request_duration_seconds_count", WEB, sum(range(1, 25))),
    ("gwctl_request_duration_seconds_sum", WEB, 99.5),
    ("gwctl_request_queue_seconds_count", WEB, 1010),
    ("gwctl_request_queue_seconds_sum", WEB, 4.5),
    ("gwctl_requests_in_flight", WEB, 3),
    ("gwctl_requests_capacity", WEB, 8),
    ("gwctl_busy_ratio", WEB, 0.375),
    ("gwctl_response_bytes_total", WEB, 123456),
    ("gwctl_request_bytes_total", WEB, 6543),
    ("gwctl_tls_handshakes_total", WEB | {"outcome": "full"}, 20),
    ("gwctl_tls_handshakes_total", WEB | {"outcome": "failed"}, 3),
    ("gwctl_worker_memory_proportional_bytes", SLOT, 50 << 20),
    ("gwctl_connections", WEB, 31),
    ("gwctl_connections_accepted_total", WEB, 600),
    ("gwctl_connections_evicted_total", WEB, 8),
    ("gwctl_refused_total", WEB, 7),
    ("gwctl_requests_dropped_total", WEB, 9),
    ("gwctl_websockets", WEB, 4),
    ("gwctl_backlog_connections", WEB, 2),
    ("gwctl_backlog_connections_max", WEB, 2048),
    ("gwctl_pool_info", WEB | {"worker": "threads"}, 1),
    ("gwctl_pool_size", WEB, 2),
    ("gwctl_pool_ready", WEB, 1),
    ("gwctl_pool_size_min", WEB, 1),
    ("gwctl_pool_size_max", WEB, 6),
    ("gwctl_pool_needed", WEB, 3),
    ("gwctl_pool_ready_min", WEB, 1),
    ("gwctl_pool_workers", WEB | {"state": "ready"}, 1),
    ("gwctl_pool_workers", WEB | {"state": "draining"}, 1),
    ("gwctl_pool_workers", WEB | {"state": "killed"}, 0),
    ("gwctl_worker_exits_total", WEB | {"reason": "signal"}, 1),
    ("gwctl_worker_boot_seconds_count", WEB, 6),
    ("gwctl_cpu_seconds_total", WEB, 50.75),
    ("gwctl_gc_pause_seconds_count", WEB, 40),
    ("gwctl_gc_pause_seconds_sum", WEB, 0.25),
    ("gwctl_gc_pause_max_seconds", WEB, 0.02),
    ("gwctl_worker_up_seconds", SLOT, 840.5),
    ("gwctl_worker_generation", SLOT, 5),
    ("gwctl_worker_requests_total", SLOT, 321),
    ("gwctl_worker_requests_in_flight", SLOT, 3),
    ("gwctl_worker_connections", SLOT, 31),
    ("gwctl_worker_connections_accepted_total", SLOT, 77),
    ("gwctl_worker_memory_bytes", SLOT, 71 << 20),
    ("gwctl_worker_cpu_seconds_total", SLOT, 12.25),
    ("gwctl_worker_loop_lag_seconds", SLOT, 0.004),
    ("gwctl_application_metrics_series", WEB, 120),
    ("gwctl_statsd_packets_total", {"outcome": "lost"}, 2),
    ("gwctl_application_metrics_left_out", WEB | {"reason": "name"}, 3),
    ("gwctl_worker_up_seconds", WEB | {"slot": "1"}, 0.5),
]


@by_format
def test_each_value_comes_back(form: Format) -> None:
    value = read(form=form)
    assert [(name, labels, value(name, **labels)) for name, labels, _ in EXPECTED] == EXPECTED
    assert {name for name, *_ in EXPECTED} | {"gwctl_request_duration_seconds_bucket"} >= {
        f"{family.name}_count" if family.kind in {"histogram", "summary"} else family.name for family in ALL
    }, "each family is among them"


@by_format
def test_types_and_help_come_back(form: Format) -> None:
    found = {each.name: each for each in families(MASTER, form)}
    for family in ALL:
        kind = (
            {"info": "gauge", "stateset": "gauge"}.get(family.kind, family.kind)
            if form is TEXT
            else family.kind
        )
        name = family.name
        if family.kind == "counter" or (family.kind == "info" and form is OPENMETRICS):
            name = name.removesuffix("_total").removesuffix("_info")
        assert (found[name].type, found[name].documentation) == (kind, family.help)
        assert found[name].unit == (family.unit if form is OPENMETRICS else "")
    assert len(found) == len(ALL)


@by_format
def test_a_pool_whose_name_is_odd_is_read_as_it_is(form: Format) -> None:
    value = read(form=form)
    name = readable(ODD_NAME)
    assert value("gwctl_pool_size", pool=name) == 1
    assert value("gwctl_request_duration_seconds_count", pool=name) == 0


@given(st.text())
def test_any_text_is_a_label(text: str) -> None:
    metrics = msgspec.structs.replace(MASTER, pools=(msgspec.structs.replace(BARE, name=text),))
    for form in (TEXT, OPENMETRICS):
        assert read(metrics, form)("gwctl_pool_size", pool=readable(text)) == 1


def test_what_is_not_known_is_absent() -> None:
    found = series(families(MASTER, TEXT))
    names = {name for name, labels in found if ("pool", readable(ODD_NAME)) in labels}
    assert (
        names
        & {
            "gwctl_requests_capacity",
            "gwctl_busy_ratio",
            "gwctl_backlog_connections",
            "gwctl_worker_up_seconds",
        }
        == set()
    )
    assert {"gwctl_pool_size", "gwctl_pool_ready", "gwctl_connections"} <= names


def test_a_slot_is_there_once_and_is_its_serving_worker() -> None:
    older = msgspec.structs.replace(WORKER, state="draining", generation=4, requests=9)
    newer = msgspec.structs.replace(WORKER, state="starting", generation=6, requests=0)
    for workers in ((WORKER, older, newer), (newer, older, WORKER)):
        metrics = msgspec.structs.replace(MASTER, pools=(msgspec.structs.replace(POOL, workers=workers),))
        assert read(metrics)("gwctl_worker_requests_total", pool="web", slot="0") == 321
    metrics = msgspec.structs.replace(MASTER, pools=(msgspec.structs.replace(POOL, workers=(older, newer)),))
    assert read(metrics)("gwctl_worker_generation", pool="web", slot="0") == 6


def test_states_that_are_not_known_here_are_told() -> None:
    workers = (msgspec.structs.replace(WORKER, state="dreaming"),)
    metrics = msgspec.structs.replace(
        MASTER, phase="resting", pools=(msgspec.structs.replace(POOL, workers=workers),)
    )
    value = read(metrics)
    assert value("gwctl_pool_workers", pool="web", state="dreaming") == 1
    assert value("gwctl_phase", gwctl_phase="resting") == 1


def test_the_words_are_those_of_the_master() -> None:
    assert {each.value for each in Phase} == {*rows.PHASES}
    assert {each.value for each in State} - {"dead"} == {*rows.STATES}


def test_the_health_is_one_of_those_of_the_status() -> None:
    text = (ROOT / "gwctl" / "control" / "health.py").read_text("utf-8")
    assert {*re.findall(r"^    (\w+) {2,}\w", text.split('"""')[1], re.MULTILINE)} | {"healthy"} == {
        *rows.HEALTH
    }


# ---- durations


@pytest.mark.parametrize(
    ("seconds", "smallest"),
    [
        (0.0, "0.0004"),
        (0.00039, "0.0004"),
        (0.00041, "0.0008"),
        (0.0127, "0.0128"),
        (0.0129, "0.0256"),
        (104.0, "104.8576"),
        (105.0, "+Inf"),
        (100_000.0, "+Inf"),
    ],
)
def test_a_request_is_below_the_bounds_that_it_was_faster_than(seconds: float, smallest: str) -> None:
    """As a worker counts it."""
    counters = Counters()
    counters.add("GET", "/", 200, 0, seconds)
    below = [
        bound
        for bound, count in rows.buckets(Durations(tuple(doublings(durations(counters.rows))))).counts
        if count
    ]
    assert below[0] == smallest
    assert below[-1] == "+Inf"


@given(st.lists(st.integers(0, 10**9), max_size=LATENCY_BUCKETS + 2))
def test_buckets_only_rise_and_end_with_all(counts: list[int]) -> None:
    found = [count for _, count in rows.buckets(Durations(tuple(counts))).counts]
    assert found == sorted(found)
    assert found[-1] == sum(counts)
    assert len(found) == len(rows.BOUNDS) + 1


def test_bounds_are_exact_and_written_short() -> None:
    bounds = [bound for bound, _ in rows.buckets(Durations()).counts]
    assert bounds[:4] == ["0.0004", "0.0008", "0.0016", "0.0032"]
    assert bounds[-2:] == ["104.8576", "+Inf"]
    assert max(map(len, bounds)) <= len("104.8576")
    assert rows.BOUNDS[-1] < LATENCY_BUCKETS - 1


# ---- counters only grow


def test_what_grows_at_the_master_grows_here() -> None:
    """Counters, and what is counted of summaries and histograms, of a master that has gone on."""

    def more(value: Any) -> Any:
        match value:
            case bool() | str() | None:
                return value
            case int() | float():
                return value + 1
            case dict():
                return {key: more(each) for key, each in value.items()}
            case tuple():
                return tuple(map(more, value))
        return msgspec.structs.replace(
            value, **{name: more(getattr(value, name)) for name in value.__struct_fields__}
        )

    def later(pool: Any) -> Any:
        grown = more(pool)
        return msgspec.structs.replace(grown, workers=pool.workers)

    after = msgspec.structs.replace(more(MASTER), pools=tuple(later(pool) for pool in MASTER.pools))
    before, now = series(families(MASTER, TEXT)), series(families(after, TEXT))
    counters = [key for key in before if key[0].endswith(("_total", "_bucket", "_count", "_sum"))]
    assert [key for key in counters if now[key] < before[key]] == []
    still = {
        key[0] for key in counters if now[key] == before[key] and ("pool", "web") in key[1] and before[key]
    }
    assert {name for name in still if not name.startswith("gwctl_worker_")} == set()


# ---- what is asked for

PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", TEXT),
        ("*/*", TEXT),
        ("text/plain", TEXT),
        ("text/html,application/xhtml+xml,*/*;q=0.8", TEXT),
        ("application/json", TEXT),
        (PROMETHEUS, OPENMETRICS),
        ("application/openmetrics-text", OPENMETRICS),
        ('Application/OpenMetrics-Text; version="1.0.0"', OPENMETRICS),
        ("application/openmetrics-text;version=1.0.0,text/plain;q=0.5", OPENMETRICS),
        ("application/openmetrics-text;q=0.1,text/plain", TEXT),
        ("application/openmetrics-text;q=0", TEXT),
        ("application/openmetrics-text;q=x", TEXT),
        ("application/openmetrics-text;q=nan,*/*;q=0", TEXT),
        ("application/openmetrics-text;version=2.0.0", TEXT),
        ("application/openmetrics-text;version=0.0.1,text/plain;q=0.1", TEXT),
        (";;;,,,=;q", TEXT),
    ],
)
def test_the_format_is_the_one_that_is_preferred(accept: str, form: Format) -> None:
    assert chosen(accept) is form


@given(st.text())
def test_whatever_is_accepted_is_understood(accept: str) -> None:
    assert chosen(accept) in READERS


def test_slow_requests_are_shown_at_their_buckets() -> None:
    """In OpenMetrics; the text format has no place for it."""
    (found,) = [
        each for each in families(MASTER, OPENMETRICS) if each.name == "gwctl_request_duration_seconds"
    ]
    shown = {
        sample.labels["le"]: (sample.exemplar.labels, sample.exemplar.value, float(sample.exemplar.timestamp))
        for sample in found.samples
        if sample.exemplar is not None
    }
    assert shown == {
        "0.4096": ({"request_id": "6f1c2f0e53b4"}, 0.25, 1800000000.5),
        "+Inf": ({"request_id": "0d7c2b6f8a11"}, 200.0, 1800000001.0),
    }
    assert b"6f1c2f0e53b4" not in exposition(MASTER, TEXT)


# ---- the table


def test_names_are_as_prometheus_has_them() -> None:
    for family in ALL:
        assert re.fullmatch(r"gwctl_[a-z]+(_[a-z]+)*", family.name)
        assert family.name.endswith("_total") == (family.kind == "counter")
        assert family.name.endswith("_info") == (family.kind == "info")
        assert family.help.endswith(".")
        assert "  " not in family.help
    assert len({family.name for family in ALL}) == len(ALL)


def test_labels_are_explained_and_few() -> None:
    said = {label for name, labels in series(families(MASTER, TEXT)) for label, _ in labels}
    assert said - {"le", "gwctl_phase", "gwctl_health"} == {*LABELS}
    assert set(MASTER.pools[0].requests) < {*METHODS}
    assert len(METHODS) * len(STATUS_CLASSES) == 48


def test_sources_are_in_the_document() -> None:
    document = msgspec.to_builtins(MASTER)
    for family in FAMILIES:
        for source in family.source.split(", "):
            place: Any = document
            for name in source.split("."):
                place = place[name.removesuffix("[]")]
                place = place[0] if name.endswith("[]") else place


def test_the_library_s_own_registry_is_left_alone() -> None:
    exposition(MASTER, TEXT)
    assert not [each.name for each in REGISTRY.collect() if each.name.startswith("gwctl")]


def test_the_page_is_up_to_date() -> None:
    assert (ROOT / "docs" / "metrics.md").read_text("utf-8") == page(), "make docs"


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool (of prometheus) is not on PATH")
def test_promtool_finds_nothing_to_complain_about() -> None:
    found = subprocess.run(
        ["promtool", "check", "metrics"], input=exposition(MASTER, TEXT, OWN), capture_output=True, timeout=60
    )
    assert (found.returncode, found.stdout.decode(), found.stderr.decode()) == (0, "", "")
