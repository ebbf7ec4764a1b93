"""What docs/deploy-kubernetes.md shows: its gw.toml is enough for its commands."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import yaml

from tests.support.pages import blocks, from_page
from tests.unit.cli.kubernetes.made import gwctl

APPLIED = from_page(
    "deploy-kubernetes.md", "gwctl kubernetes --image registry.example/shop:1.4 | kubectl apply -f -"
)
EXPLAINED = from_page(
    "deploy-kubernetes.md",
    "gwctl kubernetes --image registry.example/shop:1.4 --ingress shop.example --explain | less",
)
"""Neither kubectl nor a cluster can be had: what is before the pipe is run."""


def printed(command: str) -> str:
    before, _, _ = command.partition(" | ")
    _, _, *arguments = shlex.split(before)
    result = gwctl(*arguments)
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def test_the_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (settings,) = (each for each in blocks("deploy-kubernetes.md") if each[0] == "[master]")
    (tmp_path / "gw.toml").write_text("\n".join(settings), "utf-8")
    monkeypatch.chdir(tmp_path)
    kinds = [each["kind"] for each in yaml.safe_load_all(printed(APPLIED))]
    assert kinds == ["Deployment", "Service", "PodDisruptionBudget", "HorizontalPodAutoscaler"]
    explained = printed(EXPLAINED)
    assert "Ingress" in [each["kind"] for each in yaml.safe_load_all(explained)]
    assert "# No pod is stopped before another one is ready in its place." in explained
