"""As many pods as the load takes: HorizontalPodAutoscaler, or KEDA's ScaledObject. Pure."""

from __future__ import annotations

from typing import Final

from gwctl.cli.kubernetes.site import PoolLoad, Site
from gwctl.cli.kubernetes.wanted import Wanted
from gwctl.cli.kubernetes.workload import Object, metadata
from gwctl.cli.kubernetes.yaml_text import Said

_CPU_PERCENT: Final = 70


def autoscaler(site: Site, wanted: Wanted) -> Object:
    spec = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": site.name},
        "minReplicas": wanted.replicas.least,
        "maxReplicas": wanted.replicas.most,
        "metrics": [_of_pods(each) for each in site.loads] if wanted.by_busy else [_CPU],
    }
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": metadata(site.name, site, wanted),
        "spec": spec,
    }


_CPU: Final = Said(
    {
        "type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": _CPU_PERCENT}},
    },
    "Of requests.cpu. Workers that wait for a database are busy without processor time: with --by-busy it "
    "goes by gwctl's own metrics, which takes an adapter such as prometheus-adapter in the cluster.",
)


def _of_pods(load: PoolLoad) -> Said:
    metric = {"name": load.metric, "selector": {"matchLabels": {"pool": load.pool}}}
    target = {"type": "AverageValue", "averageValue": f"{round(load.target * 1000)}m"}
    return Said({"type": "Pods", "pods": {"metric": metric, "target": target}}, load.why)


def scaled_object(site: Site, wanted: Wanted) -> Object:
    """So many pods as the sum over all of them is thresholds: KEDA makes a HorizontalPodAutoscaler of it."""
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": metadata(site.name, site, wanted),
        "spec": {
            "scaleTargetRef": {"name": site.name},
            "minReplicaCount": wanted.replicas.least,
            "maxReplicaCount": wanted.replicas.most,
            "triggers": [_trigger(each, site, wanted) for each in site.loads],
        },
    }


def _trigger(load: PoolLoad, site: Site, wanted: Wanted) -> Object:
    labels = {"pod": f'=~"{site.name}-[a-z0-9]+-[a-z0-9]+"', "pool": f'="{load.pool}"'}
    if wanted.namespace:
        labels["namespace"] = f'="{wanted.namespace}"'
    query = f"sum({load.metric}{{{','.join(name + test for name, test in labels.items())}}})"
    return {
        "type": "prometheus",
        "metricType": "AverageValue",
        "metadata": {
            "serverAddress": wanted.keda,
            "query": Said(query, load.why),
            "threshold": Said(f"{load.target:g}", "What each pod is to have of it."),
        },
    }
