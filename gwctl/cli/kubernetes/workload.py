"""Deployment and PodDisruptionBudget: pure."""

from __future__ import annotations

import math
from typing import Any, Final

from gwctl.cli.kubernetes.site import Port, Site
from gwctl.cli.kubernetes.wanted import Wanted
from gwctl.cli.kubernetes.yaml_text import Said

_STARTUP_PERIOD_S: Final = 2
_STARTUP_MARGIN_S: Final = 10
_PROBE_TIMEOUT_S: Final = 3
_PROGRESS_S: Final = 600
"""progressDeadlineSeconds as Kubernetes has it."""

Object = dict[str, Any]


def labels(site: Site) -> Object:
    """By which the objects of this application find its pods."""
    return {"app.kubernetes.io/name": site.name}


def metadata(name: str, site: Site, wanted: Wanted) -> Object:
    """Of any object."""
    of_namespace = {"namespace": wanted.namespace} if wanted.namespace else {}
    return {"name": name, **of_namespace, "labels": labels(site)}


def deployment(site: Site, wanted: Wanted) -> Object:
    why = "No pod is stopped before another one is ready in its place."
    spec: Object = {}
    if not wanted.replicas.scales:
        spec["replicas"] = wanted.replicas.least
    if site.settle_s >= 1:
        why_settle = "reload.settle_s: a new pod lives for so long before an old one is stopped."
        spec["minReadySeconds"] = Said(math.ceil(site.settle_s), why_settle)
    needed = math.ceil(site.start_s + site.settle_s) * 2
    if needed > _PROGRESS_S:
        spec["progressDeadlineSeconds"] = Said(needed, "timeouts.boot_timeout_s, twice.")
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(site.name, site, wanted),
        "spec": {
            **spec,
            "selector": {"matchLabels": labels(site)},
            "strategy": Said(
                {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}, why
            ),
            "template": {"metadata": {"labels": labels(site)}, "spec": _pod(site, wanted)},
        },
    }


def disruption_budget(site: Site, wanted: Wanted) -> Object:
    """Nodes are emptied one pod after the other."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(site.name, site, wanted),
        "spec": {
            "maxUnavailable": Said(1, "When nodes are emptied: one pod after the other."),
            "unhealthyPodEvictionPolicy": Said(
                "AlwaysAllow", "A pod that is not ready keeps no node from being emptied."
            ),
            "selector": {"matchLabels": labels(site)},
        },
    }


def _pod(site: Site, wanted: Wanted) -> Object:
    why = (
        "master.drain_delay_s, the longest timeouts.drain_timeout_s, and the end of what does not finish. "
        "SIGTERM is all that it takes: there is no preStop."
    )
    return {
        "terminationGracePeriodSeconds": Said(math.ceil(site.stop_s), why),
        "automountServiceAccountToken": Said(False, "gwctl asks nothing of Kubernetes."),
        "enableServiceLinks": Said(
            False,
            "Else the Services of the namespace are variables, and one called gwctl is taken for settings.",
        ),
        "securityContext": _pod_security(site, wanted),
        "topologySpreadConstraints": Said(
            [
                {
                    "maxSkew": 1,
                    "topologyKey": "kubernetes.io/hostname",
                    "whenUnsatisfiable": "ScheduleAnyway",
                    "labelSelector": {"matchLabels": labels(site)},
                }
            ],
            "Pods on different nodes, where there is a choice.",
        ),
        "containers": [_container(site, wanted)],
        "volumes": _volumes(site),
    }


def _pod_security(site: Site, wanted: Wanted) -> Object:
    found: Object = {
        "runAsNonRoot": True,
        "runAsUser": Said(wanted.run_as, "Needs no entry in the image. --run-as names another one."),
        "runAsGroup": wanted.run_as,
        "fsGroup": Said(wanted.run_as, "Of volumes: secrets can be read, and what is written is in them."),
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    if site.low_port:
        start = {"name": "net.ipv4.ip_unprivileged_port_start", "value": str(site.low_port)}
        found["sysctls"] = Said([start], f"So that nobody needs a privilege for port {site.low_port}.")
    return found


def _container(site: Site, wanted: Wanted) -> Object:
    ports = [_port(each.name, each.number, f"pool.{each.pool}.bind") for each in site.ports]
    if site.admin_port:
        ports.append(_port("admin", site.admin_port, "admin.bind"))
    found: Object = {"name": "gwctl", "image": wanted.image}
    why = "gwctl of the image's PATH, with the gw.toml of its working directory."
    if wanted.folder:
        found["workingDir"] = wanted.folder
        why = "gwctl of the image's PATH."
    found["command"] = Said(["gwctl", "start", *wanted.arguments], why)
    found["env"] = [
        {
            "name": "RUNTIME_DIRECTORY",
            "value": Said(
                runtime(site), "For the control socket: kubectl exec ... -- gwctl status finds it there."
            ),
        }
    ]
    found["ports"] = ports
    found |= _probes(site)
    found["resources"] = _resources(site, wanted)
    found["securityContext"] = {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    found["volumeMounts"] = _mounts(site)
    return found


def _port(name: str, number: int, setting: str) -> Object:
    return {"name": name, "containerPort": Said(number, f"As {setting} has it.")}


def runtime(site: Site) -> str:
    """Folder of the control socket; gwctl makes one of its own in it."""
    return f"/run/gwctl-{site.name}"


# ---- probes


def _probes(site: Site) -> Object:
    if not site.admin_port:
        asked = next(each for each in site.ports if each.health_path)
        why = (
            f"health_path of pool.{asked.pool}: a worker answers. gwctl itself replaces workers that do not."
        )
        probe = {"httpGet": _health(asked), **_every(2)}
        return {"readinessProbe": Said(probe, why)}
    failures = math.ceil((site.start_s + _STARTUP_MARGIN_S) / _STARTUP_PERIOD_S)
    why_ready = (
        "Each pool has the workers that it needs (ready_min). A stop fails it from its first moment, while "
        f"drain_delay_s goes on to accept connections for {site.drain_delay_s:g} s."
    )
    return {
        "startupProbe": Said(
            {
                "httpGet": _admin("/startupz"),
                "periodSeconds": _STARTUP_PERIOD_S,
                "failureThreshold": Said(failures, "bind_retry_s and the longest boot_timeout_s."),
                "timeoutSeconds": _PROBE_TIMEOUT_S,
            },
            "Each pool has been ready once; the other probes begin then.",
        ),
        "livenessProbe": Said(
            {"httpGet": _admin("/livez"), **_every(10)},
            "The master answers. Workers are its business: it replaces what hangs or dies.",
        ),
        "readinessProbe": Said({"httpGet": _admin("/readyz"), **_every(2)}, why_ready),
    }


def _every(seconds: int) -> Object:
    return {
        "periodSeconds": seconds,
        "failureThreshold": 3 if seconds > 5 else 1,
        "timeoutSeconds": _PROBE_TIMEOUT_S,
    }


def _admin(path: str) -> Object:
    return {"path": path, "port": "admin"}


def _health(port: Port) -> Object:
    return {"path": port.health_path, "port": port.name, "scheme": "HTTPS" if port.tls else "HTTP"}


# ---- resources and places


def _resources(site: Site, wanted: Wanted) -> Object:
    cpu = wanted.cpu or f"{site.cpus:g}"
    memory = wanted.memory or f"{site.memory_bytes >> 20}Mi"
    why_memory = (
        ""
        if wanted.memory
        else (
            f"{site.workers} workers, one that replaces another, {site.worker_bytes >> 20} MiB each, and 128 "
            "MiB for the master. Measure it: kubectl exec ... -- gwctl status shows what workers take."
        )
    )
    limits: Object = {}
    if site.needs_quota:
        limits["cpu"] = Said(cpu, f'processes = "auto" counts it: {site.workers} workers in all.')
    limits["memory"] = Said(memory, "As asked for: what is beyond it is not there when all need it.")
    why_cpu = "" if wanted.cpu else "A guess. --cpu says how much."
    return {"requests": {"cpu": Said(cpu, why_cpu), "memory": Said(memory, why_memory)}, "limits": limits}


def _mounts(site: Site) -> list[Object]:
    found: list[Object] = [
        {"name": "run", "mountPath": runtime(site)},
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - in the container, a volume of its own
    ]
    for number, folder in enumerate(site.writes):
        found.append(
            {"name": f"data-{number + 1}", "mountPath": Said(folder, "What the settings write there.")}
        )
    for number, secret in enumerate(site.secrets):
        found.append({"name": f"secret-{number + 1}", "mountPath": secret.folder, "readOnly": True})
    return found


def _volumes(site: Site) -> list[Any]:
    memory = {"medium": "Memory", "sizeLimit": f"{site.runtime_bytes >> 20}Mi"}
    found: list[Any] = [
        Said({"name": "run", "emptyDir": memory}, "The file system is read-only, but for these."),
        {"name": "tmp", "emptyDir": {}},
    ]
    found += [{"name": f"data-{number + 1}", "emptyDir": {}} for number in range(len(site.writes))]
    for number, secret in enumerate(site.secrets):
        items = [{"key": key, "path": name} for key, name in secret.items]
        volume = {"secretName": secret.name, "defaultMode": 0o440, "items": items}
        found.append(
            {"name": f"secret-{number + 1}", "secret": Said(volume, f"What {secret.setting} names.")}
        )
    return found
