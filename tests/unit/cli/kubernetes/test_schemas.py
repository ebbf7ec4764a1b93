"""Manifests against the schemas of Kubernetes, of its oldest and newest version that there is.

HTTPRoute, ServiceMonitor and ScaledObject are not Kubernetes' own: what is in them is compared in test_manifests.py.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.server import ROOT
from tests.unit.cli.kubernetes.made import IMAGE, gwctl, write

BIN: Final = ROOT / "build/kubernetes/bin"
VERSIONS: Final = ("1.27", "1.33")

CASES: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "default": ({}, ()),
    "ingress": ({}, ("--ingress", "*.shop.example", "--namespace", "prod", "--explain")),
    "all of it": (
        {
            "admin__token_file": "/etc/shop/admin/token",
            "web__access_log": "/var/log/shop/access.log",
            "web__processes": "auto",
            "web__bind": ["0.0.0.0:80"],
            "pool__a-very_long-name-of-a-pool": {"app": "a:app", "bind": [":8001", ":8002"]},
        },
        ("--by-busy", "--cpu", "1500m", "--explain"),
    ),
    "health path": ({"admin__bind": None, "web__health_path": "/healthz"}, ("--replicas", "3")),
}


@pytest.mark.parametrize("case", CASES)
def test_the_schemas_are_kept(tmp_path: Path, case: str) -> None:
    if not (BIN / "kubernetes-validate").exists():
        pytest.skip("no schemas of Kubernetes in build/kubernetes: make test-kubernetes gets them")
    settings, options = CASES[case]
    made = tmp_path / "made.yaml"
    result = gwctl("-c", str(write(tmp_path, **settings)), *IMAGE, *options)
    assert result.exit_code == 0, result.stderr
    made.write_text(result.stdout, "utf-8")
    for version in VERSIONS:
        command = [BIN / "kubernetes-validate", "--strict", "-k", version, made]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
        passed = done.stdout + done.stderr
        assert passed.count(" passed for resource ") == result.stdout.count("\napiVersion: "), passed
    rules = "{extends: default, rules: {line-length: {max: 130}}}"
    linted = subprocess.run(
        [BIN / "yamllint", "--strict", "-d", rules, made], capture_output=True, text=True, timeout=60
    )
    assert linted.returncode == 0, linted.stdout
