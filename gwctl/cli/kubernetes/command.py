"""``gwctl kubernetes``: print manifests for a gw.toml."""

from __future__ import annotations

from pathlib import Path

import click

from gwctl.cli.kubernetes import network, scaling, workload
from gwctl.cli.kubernetes import wanted as asked
from gwctl.cli.kubernetes.site import Site, site_of
from gwctl.cli.kubernetes.wanted import OptionError, Wanted
from gwctl.cli.kubernetes.yaml_text import documents
from gwctl.cli.options import DEFAULT_FILE, SettingsCommand, read, reader, set_overrides


@click.command(cls=SettingsCommand, short_help="Print Kubernetes manifests for a gw.toml.")
@click.option(
    "-c",
    "--config",
    "file",
    type=click.Path(path_type=Path, readable=False),
    metavar="FILE",
    default="gw.toml",
    help="The settings; the default is gw.toml in this folder.",
)
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="As for gwctl start; the pods have it, too."
)
@click.option("--image", required=True, metavar="IMAGE", help="With gwctl, the application and its gw.toml.")
@click.option(
    "--folder", default="", metavar="PATH", help="Where gw.toml is in it, if not its working directory."
)
@click.option("--name", default="", metavar="NAME", help="Of all objects; else that of the master.")
@click.option("--namespace", default="", metavar="NAME", help="Of all objects; else what kubectl says.")
@click.option("--replicas", default="2:10", metavar="N|MIN:MAX", help="Pods; 2:10 unless said otherwise.")
@click.option("--cpu", default="", metavar="QUANTITY", help="Processor time of a pod, as 500m or 2.")
@click.option("--memory", default="", metavar="QUANTITY", help="Memory of a pod, as 512Mi.")
@click.option(
    "--run-as",
    type=click.IntRange(1, 2**31 - 1),
    metavar="UID",
    default=asked.RUN_AS,
    help="User of the pods.",
)
@click.option("--ingress", default="", metavar="HOST", help="And an Ingress, from this host.")
@click.option(
    "--gateway", default="", metavar="GATEWAY=HOST", help="And an HTTPRoute, from a host of this gateway."
)
@click.option("--pool", default="", metavar="POOL", help="Where the host leads to, if there are several.")
@click.option("--by-busy", is_flag=True, help="Scale by how busy workers are; needs an adapter for metrics.")
@click.option("--keda", default="", metavar="URL", help="Scale so by KEDA, which asks the Prometheus there.")
@click.option("--service-monitor", is_flag=True, help="And a ServiceMonitor, for Prometheus' operator.")
@click.option("--explain", is_flag=True, help="Say above each line what it is for.")
def kubernetes(
    file: Path,
    settings: tuple[str, ...],
    image: str,
    folder: str,
    name: str,
    namespace: str,
    replicas: str,
    cpu: str,
    memory: str,
    run_as: int,
    ingress: str,
    gateway: str,
    pool: str,
    keda: str,
    *,
    by_busy: bool,
    service_monitor: bool,
    explain: bool,
) -> None:
    """Print Kubernetes manifests for a gw.toml: probes, times, resources, a restricted container.

    \b
    gwctl kubernetes --image registry.example/shop:1.4 | kubectl apply -f -
    gwctl kubernetes --image registry.example/shop:1.4 --ingress shop.example --explain | less

    What they are and how they hang together: docs/deploy-kubernetes.md.
    """  # noqa: D301 - \b is click's mark for lines to leave as they are
    if ingress and gateway:
        raise OptionError("--ingress and --gateway are two ways to the same: leave one out")
    if keda and by_busy:
        raise OptionError("--keda goes by how busy workers are already: leave --by-busy out")
    in_file = ("-c", file.name) if file.name != DEFAULT_FILE else ()
    wanted = Wanted(
        image=image,
        name=name,
        namespace=asked.label("--namespace", namespace) if namespace else "",
        folder=asked.folder(folder) if folder else "",
        arguments=(*in_file, *(part for each in settings for part in ("--set", each))),
        replicas=asked.replicas(replicas),
        cpu=cpu,
        memory=memory,
        run_as=run_as,
        by_busy=by_busy,
        keda=keda,
        service_monitor=service_monitor,
        route=asked.ingress(ingress) if ingress else asked.gateway(gateway) if gateway else None,
        pool=pool,
    )
    if memory:
        asked.quantity("--memory", memory)
    loaded = read(reader(None, file, set_overrides(settings), elsewhere=True))
    site = site_of(loaded, loaded.path or Path.cwd() / DEFAULT_FILE, wanted)
    click.echo(documents(manifests(site, wanted), explain=explain), nl=False)
    for note in site.notes:
        click.echo(f"note: {note}", err=True)


def manifests(site: Site, wanted: Wanted) -> list[workload.Object]:
    """All objects, in the order in which one reads them."""
    found = [workload.deployment(site, wanted), network.service(site, wanted)]
    if site.route_to is not None and wanted.route is not None:
        found.append(network.route(site, wanted, site.route_to, wanted.route))
    if wanted.replicas.most > 1:
        found.append(workload.disruption_budget(site, wanted))
    if wanted.replicas.scales:
        found.append(scaling.scaled_object(site, wanted) if wanted.keda else scaling.autoscaler(site, wanted))
    if wanted.service_monitor:
        found += [network.admin_service(site, wanted), network.service_monitor(site, wanted)]
    return found
