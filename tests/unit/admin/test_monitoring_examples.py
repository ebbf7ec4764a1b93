"""examples/monitoring: names that there are, expressions that Prometheus takes, alerts that go off and don't."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from gwctl.admin.figures.families import FAMILIES, OWN
from tests.tidy.checks import ROOT

FOLDER = ROOT / "examples" / "monitoring"
DASHBOARD = json.loads((FOLDER / "grafana-dashboard.json").read_text("utf-8"))
ALERTS = (FOLDER / "alerts.yml").read_text("utf-8")
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool (of prometheus) is not on PATH"
)
_PARTS = {"histogram": ("_bucket", "_sum", "_count"), "summary": ("_sum", "_count")}


def known() -> set[str]:
    return {family.name + part for family in (*FAMILIES, *OWN) for part in _PARTS.get(family.kind, ("",))}


def found(text: str) -> set[str]:
    """Names of series, and labels that are named like one (a state set's)."""
    return set(re.findall(r"\bgwctl_\w+", text))


def expressions(value: Any) -> Iterator[str]:
    """All that the dashboard asks Prometheus."""
    if isinstance(value, dict):
        for name, each in value.items():
            if name == "expr":
                yield each
            else:
                yield from expressions(each)
    elif isinstance(value, list):
        for each in value:
            yield from expressions(each)


def promtool(*arguments: str) -> None:
    ran = subprocess.run(["promtool", *arguments], capture_output=True, timeout=60)
    assert ran.returncode == 0, (ran.stdout + ran.stderr).decode()


@pytest.mark.parametrize("name", ["alerts.yml", "grafana-dashboard.json", "prometheus.yml"])
def test_each_name_is_in_the_table(name: str) -> None:
    assert found((FOLDER / name).read_text("utf-8")) - known() == set()


def test_names_are_looked_for() -> None:
    assert {"gwctl_requests_total", "gwctl_health"} <= found(ALERTS)
    assert len(found(json.dumps(DASHBOARD))) > 20


def test_the_pages_name_what_there_is() -> None:
    for page in (ROOT / "docs" / "monitoring.md", FOLDER / "README.md"):
        assert found(page.read_text("utf-8")) - known() == set()


def test_panels_have_a_place_of_their_own() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len({*ids}) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
        assert panel["type"] == "row" or panel["description"].endswith(".")


def test_variables_are_defined() -> None:
    named = {each["name"] for each in DASHBOARD["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(DASHBOARD)))
    assert used - named == {"__rate_interval", "__interval"}
    assert named <= used


@needs_promtool
def test_the_files_are_taken() -> None:
    promtool("check", "rules", str(FOLDER / "alerts.yml"))
    promtool("check", "config", str(FOLDER / "prometheus.yml"))


@needs_promtool
def test_the_receiver_of_opentelemetry_has_a_configuration_of_prometheus(tmp_path: Path) -> None:
    """As the receiver takes it: ``config`` is handed on as it stands."""
    text = (FOLDER / "otel-collector.yml").read_text("utf-8")
    found = re.search(r"^    config:\n((?:      .*\n)+)", text, re.MULTILINE)
    assert found is not None
    (tmp_path / "prometheus.yml").write_text(dedent(found[1]))
    promtool("check", "config", str(tmp_path / "prometheus.yml"))


@needs_promtool
def test_the_dashboard_asks_what_can_be_asked(tmp_path: Path) -> None:
    asked = [re.sub(r"\$__\w+", "5m", each).replace("$", "") for each in expressions(DASHBOARD)]
    assert len(asked) > 25
    rules = [{"record": f"asked:{number}", "expr": each} for number, each in enumerate(asked)]
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    promtool("check", "rules", str(tmp_path / "rules.yml"))


def series(name: str, values: str) -> dict[str, str]:
    labels, _, rest = name.partition("{")
    return {"series": labels + '{instance="a",' + (rest or "}"), "values": values}


GOES_OFF = [
    ("GwctlDown", [{"series": 'up{job="gwctl",instance="a"}', "values": "0x30"}]),
    (
        "GwctlPoolNotReady",
        [series('gwctl_pool_ready{pool="web"}', "1x30"), series('gwctl_pool_ready_min{pool="web"}', "2x30")],
    ),
    (
        "GwctlErrors",
        [
            series('gwctl_requests_total{pool="web",status="5xx",method="GET"}', "0+10x30"),
            series('gwctl_requests_total{pool="web",status="2xx",method="GET"}', "0+90x30"),
        ],
    ),
    (
        "GwctlSlow",
        [
            series('gwctl_request_duration_seconds_bucket{pool="web",le="1.6384"}', "0+0x30"),
            series('gwctl_request_duration_seconds_bucket{pool="web",le="3.2768"}', "0+60x30"),
            series('gwctl_request_duration_seconds_bucket{pool="web",le="+Inf"}', "0+60x30"),
        ],
    ),
    ("GwctlBusy", [series('gwctl_busy_ratio{pool="web"}', "0.95x30")]),
    (
        "GwctlQueueing",
        [
            series('gwctl_request_queue_seconds_sum{pool="web"}', "0+60x30"),
            series('gwctl_request_queue_seconds_count{pool="web"}', "0+100x30"),
        ],
    ),
    (
        "GwctlTurnsAway",
        [
            series('gwctl_refused_total{pool="web"}', "0+5x30"),
            series('gwctl_requests_dropped_total{pool="web"}', "0x30"),
        ],
    ),
    (
        "GwctlBacklog",
        [
            series('gwctl_backlog_connections{pool="web"}', "1500x30"),
            series('gwctl_backlog_connections_max{pool="web"}', "2048x30"),
        ],
    ),
    ("GwctlDegraded", [series('gwctl_health{gwctl_health="degraded"}', "1x30")]),
    ("GwctlReloadRefused", [series('gwctl_reloads_total{outcome="refused"}', "0x20 1x10")]),
    ("GwctlLoopHeldUp", [series('gwctl_worker_loop_lag_seconds{pool="web",slot="0"}', "3x30")]),
    ("GwctlLogLinesLost", [series("gwctl_log_lines_lost_total", "0x20 7x10")]),
    (
        "GwctlApplicationMetricsLeftOut",
        [series('gwctl_application_metrics_left_out{pool="web",reason="name"}', "3x30")],
    ),
    ("GwctlStatsdLost", [series('gwctl_statsd_packets_total{outcome="lost"}', "0+1x30")]),
]
QUIET = [
    {"series": 'up{job="gwctl",instance="a"}', "values": "1x60"},
    series('gwctl_pool_ready{pool="web"}', "4x60"),
    series('gwctl_pool_ready_min{pool="web"}', "1x60"),
    series('gwctl_requests_total{pool="web",status="5xx",method="GET"}', "0+1x60"),
    series('gwctl_requests_total{pool="web",status="2xx",method="GET"}', "0+900x60"),
    series('gwctl_request_duration_seconds_bucket{pool="web",le="0.1024"}', "0+900x60"),
    series('gwctl_request_duration_seconds_bucket{pool="web",le="+Inf"}', "0+901x60"),
    series('gwctl_busy_ratio{pool="web"}', "0.5x60"),
    series('gwctl_request_queue_seconds_sum{pool="web"}', "0+1x60"),
    series('gwctl_request_queue_seconds_count{pool="web"}', "0+900x60"),
    series('gwctl_refused_total{pool="web"}', "5x60"),
    series('gwctl_requests_dropped_total{pool="web"}', "5x60"),
    series('gwctl_backlog_connections{pool="web"}', "3x60"),
    series('gwctl_backlog_connections_max{pool="web"}', "2048x60"),
    series('gwctl_health{gwctl_health="degraded"}', "0x60"),
    series('gwctl_reloads_total{outcome="refused"}', "2x60"),
    series('gwctl_worker_loop_lag_seconds{pool="web",slot="0"}', "0.002x60"),
    series("gwctl_log_lines_lost_total", "3x60"),
]


def judged(tmp_path: Path, given: list[dict[str, str]], checks: list[dict[str, Any]]) -> None:
    test = {
        "rule_files": [str(FOLDER / "alerts.yml")],
        "evaluation_interval": "1m",
        "tests": [{"interval": "1m", "input_series": given, "promql_expr_test": checks}],
    }
    (tmp_path / "test.yml").write_text(json.dumps(test))
    promtool("test", "rules", str(tmp_path / "test.yml"))


def fires(alert: str, *, times: int) -> dict[str, Any]:
    samples = [{"labels": "{}", "value": times}] if times else []
    expression = f'count(ALERTS{{alertname="{alert}",alertstate="firing"}})'
    return {"expr": expression, "eval_time": "25m", "exp_samples": samples}


@needs_promtool
@pytest.mark.parametrize(
    ("alert", "given"), GOES_OFF, ids=lambda value: value if isinstance(value, str) else ""
)
def test_an_alert_goes_off(alert: str, given: list[dict[str, str]], tmp_path: Path) -> None:
    judged(tmp_path, given, [fires(alert, times=1)])


@needs_promtool
def test_none_goes_off_where_all_is_well(tmp_path: Path) -> None:
    judged(tmp_path, QUIET, [fires(alert, times=0) for alert, _ in GOES_OFF])


def test_all_alerts_are_tried() -> None:
    assert re.findall(r"alert: (\w+)", ALERTS) == [alert for alert, _ in GOES_OFF]
