"""Services, and what leads to them: pure."""

from __future__ import annotations

from typing import Any

from gwctl.cli.kubernetes.site import Port, Site
from gwctl.cli.kubernetes.wanted import Route, Wanted
from gwctl.cli.kubernetes.workload import Object, labels, metadata
from gwctl.cli.kubernetes.yaml_text import Said


def service(site: Site, wanted: Wanted) -> Object:
    ports = [_service_port(each, site) for each in site.ports]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(site.name, site, wanted),
        "spec": {"selector": labels(site), "ports": ports},
    }


def _service_port(port: Port, site: Site) -> Object:
    return {
        "name": port.name,
        "port": service_port(port, site),
        "targetPort": port.name,
        "appProtocol": "https" if port.tls else "http",
    }


def service_port(port: Port, site: Site) -> int:
    """The usual one where there is no other of its kind, else that of the pod."""
    alike = [each for each in site.ports if each.tls == port.tls]
    usual = 443 if port.tls else 80
    free = all(each.number != usual for each in site.ports if each is not port)
    return usual if len(alike) == 1 and free else port.number


def admin_service(site: Site, wanted: Wanted) -> Object:
    """Each pod by its own address, also while it is not ready: that is when one wants to know."""
    found = metadata(f"{site.name}-admin", site, wanted)
    found["labels"] = {**labels(site), "app.kubernetes.io/component": "admin"}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": found,
        "spec": {
            "clusterIP": Said("None", "No address of its own: it is for those who ask each pod."),
            "publishNotReadyAddresses": True,
            "selector": labels(site),
            "ports": [{"name": "admin", "port": site.admin_port, "targetPort": "admin"}],
        },
    }


def service_monitor(site: Site, wanted: Wanted) -> Object:
    """For the operator of Prometheus."""
    selector = {**labels(site), "app.kubernetes.io/component": "admin"}
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "ServiceMonitor",
        "metadata": metadata(site.name, site, wanted),
        "spec": {
            "selector": {"matchLabels": selector},
            "endpoints": [{"port": "admin", "path": "/metrics", "interval": "15s"}],
        },
    }


def route(site: Site, wanted: Wanted, port: Port, way: Route) -> Object:
    return _http_route(site, wanted, port, way) if way.gateway else _ingress(site, wanted, port, way)


def _ingress(site: Site, wanted: Wanted, port: Port, way: Route) -> Object:
    backend = {"service": {"name": site.name, "port": {"name": port.name}}}
    path = {"path": "/", "pathType": "Prefix", "backend": backend}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": metadata(site.name, site, wanted),
        "spec": {"rules": [{"host": way.host, "http": {"paths": [path]}}]},
    }


def _http_route(site: Site, wanted: Wanted, port: Port, way: Route) -> Object:
    parent: dict[str, Any] = {"name": way.gateway}
    if way.gateway_namespace:
        parent["namespace"] = way.gateway_namespace
    backend = {"name": site.name, "port": service_port(port, site)}
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": metadata(site.name, site, wanted),
        "spec": {"parentRefs": [parent], "hostnames": [way.host], "rules": [{"backendRefs": [backend]}]},
    }
