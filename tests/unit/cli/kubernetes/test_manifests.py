"""Manifests: what the settings make of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.kubernetes.made import objects, write


def pod(found: dict[str, Any]) -> Any:
    return found["Deployment"]["spec"]["template"]["spec"]


def container(found: dict[str, Any]) -> Any:
    (only,) = pod(found)["containers"]
    return only


def test_the_default(tmp_path: Path) -> None:
    found = objects(write(tmp_path))
    assert [*found] == ["Deployment", "Service", "PodDisruptionBudget", "HorizontalPodAutoscaler"]
    assert {each["metadata"]["name"] for each in found.values()} == {"shop"}
    labels = {"app.kubernetes.io/name": "shop"}
    assert found["Service"]["spec"]["selector"] == labels
    assert found["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    spec = found["Deployment"]["spec"]
    assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"] == labels
    assert "replicas" not in spec, "the autoscaler has that"
    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert spec["minReadySeconds"] == 2
    assert container(found)["command"] == ["gwctl", "start"]
    assert "lifecycle" not in container(found)
    scaler = found["HorizontalPodAutoscaler"]["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (2, 10)
    assert scaler["metrics"][0]["resource"]["name"] == "cpu"


def test_the_container_is_a_restricted_one(tmp_path: Path) -> None:
    """As the pod security standard `restricted` has it."""
    found = objects(write(tmp_path))
    security = pod(found)["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security["runAsUser"] == security["runAsGroup"] == security["fsGroup"] == 10001
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container(found)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod(found)["automountServiceAccountToken"] is False
    assert pod(found)["enableServiceLinks"] is False


def test_times_follow_from_the_settings(tmp_path: Path) -> None:
    timeouts = {"boot_timeout_s": 400, "drain_timeout_s": 120.5}
    found = objects(
        write(tmp_path, web__timeouts=timeouts, web__reload={"settle_s": 0}, master__bind_retry_s=0)
    )
    assert pod(found)["terminationGracePeriodSeconds"] == 136, "5 + 120.5 + 10, rounded up"
    startup = container(found)["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 410
    assert found["Deployment"]["spec"]["progressDeadlineSeconds"] == 800
    assert "minReadySeconds" not in found["Deployment"]["spec"]


def test_probes_are_of_the_admin_listener(tmp_path: Path) -> None:
    found = container(objects(write(tmp_path)))
    asked = {name: found[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert asked == {
        "startupProbe": {"path": "/startupz", "port": "admin"},
        "livenessProbe": {"path": "/livez", "port": "admin"},
        "readinessProbe": {"path": "/readyz", "port": "admin"},
    }
    assert found["ports"] == [
        {"name": "web", "containerPort": 8000},
        {"name": "admin", "containerPort": 9100},
    ]


def test_else_readiness_is_asked_of_a_worker(tmp_path: Path) -> None:
    found = container(objects(write(tmp_path, admin__bind=None, web__health_path="/healthz")))
    assert found["readinessProbe"]["httpGet"] == {"path": "/healthz", "port": "web", "scheme": "HTTP"}
    assert "livenessProbe" not in found, (
        "gwctl replaces a worker that hangs; a restart would take all of them"
    )


@pytest.mark.parametrize(
    ("pool", "cpu", "memory", "limited"),
    [
        ({"processes": 4}, "1", "768Mi", False),
        ({"processes": "auto"}, "2", "512Mi", True),
        ({"processes": {"min": 1, "max": 6}}, "1", "1024Mi", False),
        ({"processes": {"min": 1}}, "2", "512Mi", True),
        ({"processes": 2, "recycle": {"memory_hard_bytes": 1 << 30}}, "1", "3200Mi", False),
        ({"processes": 2, "recycle": {"memory_soft_bytes": 1 << 29}}, "1", "1664Mi", False),
    ],
)
def test_resources(tmp_path: Path, pool: dict[str, Any], cpu: str, memory: str, limited: bool) -> None:
    """A quota of processors only where `auto` counts it: else it would only slow down."""
    found = container(objects(write(tmp_path, **{f"web__{key}": value for key, value in pool.items()})))
    expected = {"requests": {"cpu": cpu, "memory": memory}, "limits": {"memory": memory}}
    if limited:
        expected["limits"]["cpu"] = cpu
    assert found["resources"] == expected


def test_resources_as_asked_for(tmp_path: Path) -> None:
    found = container(objects(write(tmp_path, web__processes="auto"), "--cpu", "2500m", "--memory", "1Gi"))
    assert found["resources"]["limits"] == {"cpu": "2500m", "memory": "1Gi"}


def test_places_that_are_written(tmp_path: Path) -> None:
    path = write(
        tmp_path, web__access_log="log/access.log", web__bind=["0.0.0.0:80", "unix:/run/shop/web.sock"]
    )
    found = objects(path, "--folder", "/srv/shop", "--run-as", "1234")
    assert container(found)["workingDir"] == "/srv/shop"
    mounts = {each["mountPath"]: each["name"] for each in container(found)["volumeMounts"]}
    assert [*mounts] == ["/run/gwctl-shop", "/tmp", "/srv/shop/log", "/run/shop"]
    assert {each["name"] for each in pod(found)["volumes"]} == set(mounts.values())
    assert container(found)["env"] == [{"name": "RUNTIME_DIRECTORY", "value": "/run/gwctl-shop"}]
    assert pod(found)["securityContext"]["sysctls"] == [
        {"name": "net.ipv4.ip_unprivileged_port_start", "value": "80"}
    ]
    assert pod(found)["securityContext"]["runAsUser"] == 1234


def test_secrets_are_mounted_where_the_settings_have_them(tmp_path: Path) -> None:
    """These files are in the cluster and not on this machine: nobody looks for them here."""
    tls = {"certificate": ["/etc/shop/tls/shop.pem"], "key": ["/etc/shop/tls/shop.key"]}
    path = write(
        tmp_path, admin__token_file="/etc/shop/admin/token", web__tls=tls, web__bind=["tls:0.0.0.0:8443"]
    )
    found = objects(path)
    secrets = {
        each["secret"]["secretName"]: each["secret"]["items"]
        for each in pod(found)["volumes"]
        if "secret" in each
    }
    assert secrets == {
        "shop-admin-token": [{"key": "token", "path": "token"}],
        "shop-web-tls": [{"key": "tls.crt", "path": "shop.pem"}, {"key": "tls.key", "path": "shop.key"}],
    }
    assert found["Service"]["spec"]["ports"] == [
        {"name": "web", "port": 443, "targetPort": "web", "appProtocol": "https"}
    ]


def test_several_pools(tmp_path: Path) -> None:
    other = {"app": "live:app", "bind": [":8001", ":8002"], "processes": 1, "worker": "asgi"}
    path = write(tmp_path, pool__live=other)
    found = objects(
        path, "--ingress", "live.example", "--pool", "live", "--namespace", "prod", "--name", "all"
    )
    ports = [(each["name"], each["port"]) for each in found["Service"]["spec"]["ports"]]
    assert ports == [("web", 8000), ("live", 8001), ("live-2", 8002)]
    (rule,) = found["Ingress"]["spec"]["rules"]
    assert rule["host"] == "live.example"
    assert rule["http"]["paths"][0]["backend"] == {"service": {"name": "all", "port": {"name": "live"}}}
    assert {each["metadata"]["namespace"] for each in found.values()} == {"prod"}


def test_a_gateway(tmp_path: Path) -> None:
    found = objects(write(tmp_path), "--gateway", "infra/public=shop.example")["HTTPRoute"]["spec"]
    assert found == {
        "parentRefs": [{"name": "public", "namespace": "infra"}],
        "hostnames": ["shop.example"],
        "rules": [{"backendRefs": [{"name": "shop", "port": 80}]}],
    }


def test_scaled_by_how_busy_workers_are(tmp_path: Path) -> None:
    """A pool that sets its size keeps its busy share itself: it goes by how many of its most it needs."""
    asgi = {"app": "a:app", "bind": [":8001"], "worker": "asgi", "requests_max": 100}
    path = write(tmp_path, pool__live=asgi, web__processes={"min": 1, "max": 8})
    metrics = objects(path, "--by-busy")["HorizontalPodAutoscaler"]["spec"]["metrics"]
    seen = [(each["pods"]["metric"], each["pods"]["target"]["averageValue"]) for each in metrics]
    assert seen == [
        ({"name": "gwctl_pool_needed", "selector": {"matchLabels": {"pool": "web"}}}, "6000m"),
        ({"name": "gwctl_busy_ratio", "selector": {"matchLabels": {"pool": "live"}}}, "700m"),
    ]
    found = objects(path, "--keda", "http://prometheus:9090", "--namespace", "prod")
    assert "HorizontalPodAutoscaler" not in found
    triggers = found["ScaledObject"]["spec"]["triggers"]
    assert [each["metadata"]["threshold"] for each in triggers] == ["6", "0.7"]
    assert triggers[1]["metadata"]["query"] == (
        'sum(gwctl_busy_ratio{pod=~"shop-[a-z0-9]+-[a-z0-9]+",pool="live",namespace="prod"})'
    )


@pytest.mark.parametrize(("replicas", "budget"), [("1", False), ("3", True)])
def test_a_fixed_number_of_pods(tmp_path: Path, replicas: str, budget: bool) -> None:
    found = objects(write(tmp_path), "--replicas", replicas)
    assert found["Deployment"]["spec"]["replicas"] == int(replicas)
    assert "HorizontalPodAutoscaler" not in found
    assert ("PodDisruptionBudget" in found) is budget


def test_each_pod_can_be_scraped(tmp_path: Path) -> None:
    found = objects(write(tmp_path), "--service-monitor")
    service = found["Service shop-admin"]
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"] is True
    assert found["ServiceMonitor"]["spec"]["selector"]["matchLabels"] == service["metadata"]["labels"]
    assert (
        found["ServiceMonitor"]["spec"]["selector"]["matchLabels"] != found["Service"]["metadata"]["labels"]
    )
