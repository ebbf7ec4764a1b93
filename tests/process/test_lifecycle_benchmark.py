"""The lifecycle benchmark really runs: a server, a load, a case, a table and JSON."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.tidy.checks import ROOT


def test_one_case_of_our_own(tmp_path) -> None:
    """For a contender of our own nothing is installed."""
    options = ["--only", "gwctl sync", "--cases", "kill -9 of a worker", "--output", str(tmp_path)]
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.lifecycle", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    (report,) = json.loads((tmp_path / "lifecycle.json").read_text())["reports"]
    assert report["requests"] > 0
    assert report["done_s"] is not None
    assert report["left"] == 0
    assert set(report["failures"]) <= {"reset_reused", "reset_fresh"}, report
    assert "kill -9 of a worker: one of four workers is killed" in run.stdout
