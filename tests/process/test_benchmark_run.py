"""A benchmark really runs: server, load generator, table and JSON, in one very short round."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.support.debian import need
from tests.support.processes import session_of
from tests.support.wait import until
from tests.tidy.checks import ROOT


def test_one_short_round(tmp_path) -> None:
    """For a contender of our own nothing is installed."""
    need("wrk", "wrk")
    need("taskset", "util-linux")
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("a benchmark needs two processor cores")
    options = ["--workloads", "post", "--only", "gwctl sync", "--rounds", "1", "--seconds", "1", "--no-plot"]
    run = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.throughput", *options, "--output", str(tmp_path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    output, _ = run.communicate(timeout=60)
    assert run.returncode == 0, output
    document = json.loads((tmp_path / "throughput.json").read_text())
    (sample,) = document["workloads"]["post"]["contenders"]["gwctl sync"]["samples"]
    assert sample["requests"] > 0
    assert sample["failures"] == 0
    assert sample["requests_per_cpu_s"] > 0
    assert "2 KiB of JSON posted" in output


def test_a_wrong_answer_is_noticed_and_nothing_is_left_behind() -> None:
    """The check before a measurement finds an application that is not the workload's."""
    from dataclasses import replace

    from benchmarks.checks import wrong
    from benchmarks.contenders import gwctl
    from benchmarks.servers import running
    from benchmarks.workloads import BY_NAME

    workload = BY_NAME["hello"]
    impostor = replace(workload, apps={"wsgi": "large:wsgi_10k"})
    with running(gwctl("sync"), impostor) as server:
        assert wrong(server, impostor) == "wrong body of 10240 bytes (right: 13)"
        pid = server.pid
    until(lambda: not session_of(pid), "the server and its worker to be gone")
