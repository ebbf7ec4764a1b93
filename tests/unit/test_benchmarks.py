"""The benchmark harness reads wrk's report rightly: a figure that is wrong is worse than none."""

from __future__ import annotations

import pytest

from benchmarks.contenders import CONTENDERS, RATIOS, gwctl
from benchmarks.measure import Sample, ServerFailed, parse
from benchmarks.throughput import medians, ratios

REPORT = """Running 1s test @ http://127.0.0.1:8000/
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   612.34us  120.11us   5.02ms   91.30%
    Req/Sec    52.13k     2.06k   54.92k    80.00%
  Latency Distribution
     50%  588.00us
     75%  640.00us
     90%  700.00us
     99%    1.12ms
  57021 requests in 1.10s, 7.83MB read
Requests/sec:  51838.63
Transfer/sec:      7.12MB
"""


def test_a_clean_report() -> None:
    assert parse(REPORT) == Sample(51838.63, 0.588, 1.12, 0)


def test_failures_are_counted() -> None:
    failed = "  Socket errors: connect 1, read 2, write 0, timeout 3\n  Non-2xx or 3xx responses: 40\nRequests/sec:"
    assert parse(REPORT.replace("Requests/sec:", failed)).failures == 46


def test_no_report_is_an_error() -> None:
    with pytest.raises(ServerFailed):
        parse("unable to connect to 127.0.0.1:8000 Connection refused")


def test_medians_and_ratios() -> None:
    samples = {
        "gwctl sync": [Sample(rate, 1, 1, 0) for rate in (30, 10, 20)],
        "gunicorn sync": [Sample(5, 1, 1, 0)],
    }
    rates = medians(samples)
    assert rates == {"gwctl sync": 20, "gunicorn sync": 5}
    assert ratios(rates) == {"gwctl sync / gunicorn sync": 4}


def test_ratios_name_contenders() -> None:
    names = {contender.name for contender in CONTENDERS}
    assert {name for pair in RATIOS for name in pair} <= names


def test_the_settings_of_our_own_contender(tmp_path) -> None:
    command = gwctl("threads", "hello:wsgi", threads=8).command(8000, tmp_path)
    assert "threads = 8" in (tmp_path / "threads.toml").read_text()
    assert command[-2:] == ["-c", str(tmp_path / "threads.toml")]
