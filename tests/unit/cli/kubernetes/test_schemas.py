"""Manifests against the schemas of Kubernetes, of its oldest and newest version that there is.

HTTPRoute, ServiceMonitor and ScaledObject are not Kubernetes' own: foreign.py has theirs.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.server import ROOT
from tests.unit.cli.kubernetes.made import IMAGE, gwctl, write

BIN: Final = ROOT / "build/kubernetes/bin"
GATEWAY_API: Final = ROOT / "build/kubernetes/node_modules/@kubernetes-models/gateway-api"
FOREIGN: Final = ROOT / "tests/unit/cli/kubernetes/foreign.py"
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


OF_OTHERS: dict[str, tuple[dict[str, Any], tuple[str, ...], str]] = {
    "gateway": ({}, ("--gateway", "infra/public=*.shop.example", "--namespace", "prod"), "HTTPRoute"),
    "gateway of here": ({}, ("--gateway", "public=shop.example"), "HTTPRoute"),
    "keda": ({}, ("--keda", "http://prometheus:9090", "--namespace", "prod"), "ScaledObject"),
    "keda, a pool that grows": (
        {"web__processes": {"min": 1, "max": 8}},
        ("--keda", "http://prometheus:9090"),
        "ScaledObject",
    ),
    "monitor": ({}, ("--service-monitor", "--explain"), "ServiceMonitor"),
}
BROKEN: dict[str, tuple[str, str, str]] = {
    "another name": ("--gateway=public=shop.example", "backendRefs:", "backends:"),
    "no host": ("--gateway=public=shop.example", "- shop.example", "- shop_example"),
    "another name in keda": ("--keda=http://prometheus:9090", "minReplicaCount: 2", "minReplicas: 2"),
    "another kind": ("--keda=http://prometheus:9090", "minReplicaCount: 2", 'minReplicaCount: "2"'),
    "another name in monitor": ("--service-monitor", 'interval: "15s"', 'every: "15s"'),
}


def test_the_definitions_of_others_are_kept(tmp_path: Path, subtests: pytest.Subtests) -> None:
    """And what does not keep to them would be seen: a field of another name, a value of another kind."""
    if not (BIN / "kubernetes-validate").exists() or not GATEWAY_API.is_dir():
        pytest.skip("no definitions of KEDA and others in build/kubernetes: make test-kubernetes gets them")
    made = tmp_path / "made"
    made.mkdir()
    for name, (settings, options, _) in OF_OTHERS.items():
        result = gwctl("-c", str(write(tmp_path, **settings)), *IMAGE, *options)
        assert result.exit_code == 0, result.stderr
        (made / name).write_text(result.stdout, "utf-8")
    for name, (option, right, wrong) in BROKEN.items():
        text = gwctl("-c", str(write(tmp_path)), *IMAGE, option).stdout
        (made / name).write_text(replaced(text, right, wrong), "utf-8")
    command = [BIN / "python", "-P", FOREIGN, made, GATEWAY_API]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    for name, (_, _, kinds) in OF_OTHERS.items():
        with subtests.test(name):
            assert said[name] == f"right: {kinds}"
    for name in BROKEN:
        with subtests.test(name):
            assert said[name].startswith("wrong: ")


def replaced(text: str, old: str, new: str) -> str:
    assert text.count(f" {old}\n") == 1, text
    return text.replace(f" {old}\n", f" {new}\n")
