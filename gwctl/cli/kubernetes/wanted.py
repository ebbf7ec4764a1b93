"""What was asked for on the command line besides the settings, understood."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Final

from msgspec import Struct

from gwctl.errors import ExitStatus, GwctlError

RUN_AS: Final = 10001
"""A user that no image and no node has."""
_LABEL: Final = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_NAME_MAX: Final = 50
"""Of 63, so that what is put behind it has room."""
_HOST: Final = re.compile(r"(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_QUANTITY: Final = re.compile(r"(\d+(?:\.\d+)?)(m|k|M|G|T|Ki|Mi|Gi|Ti)?")
_UNITS: Final = {
    "": 1.0,
    "m": 1e-3,
    "k": 1e3,
    "M": 1e6,
    "G": 1e9,
    "T": 1e12,
    "Ki": 2.0**10,
    "Mi": 2.0**20,
    "Gi": 2.0**30,
    "Ti": 2.0**40,
}


class ManifestError(GwctlError):
    """Manifests cannot be made of what is known; the text says what is to be changed."""


class OptionError(ManifestError):
    """An option is not of its form."""

    exit_status = ExitStatus.SETTINGS


class Replicas(Struct, frozen=True):
    """``most`` above ``least``: as many as the load takes."""

    least: int
    most: int

    @property
    def scales(self) -> bool:
        return self.most > self.least


class Route(Struct, frozen=True):
    """How requests from outside come to the service: by an Ingress, or by a Gateway that is there."""

    host: str
    gateway: str = ""
    gateway_namespace: str = ""


class Wanted(Struct, frozen=True):
    """All of it. Empty texts: not asked for."""

    image: str
    name: str = ""
    namespace: str = ""
    folder: str = ""
    """Of gw.toml in the image."""
    arguments: tuple[str, ...] = ()
    """Of ``gwctl start``, behind ``start``."""
    replicas: Replicas = Replicas(2, 10)
    cpu: str = ""
    memory: str = ""
    run_as: int = RUN_AS
    by_busy: bool = False
    """Scales by gwctl's own metrics instead of processor time."""
    keda: str = ""
    """Address of the Prometheus that KEDA asks; else the HorizontalPodAutoscaler asks the metrics API."""
    service_monitor: bool = False
    route: Route | None = None
    pool: str = ""
    """That the route leads to."""


def replicas(text: str) -> Replicas:
    """``3``, or ``2:10`` for as many as the load takes.

    Raises:
        OptionError: It is neither.
    """
    least, colon, most = text.partition(":")
    numbers = (least, most) if colon else (least, least)
    if not all(each.isascii() and each.isdecimal() and 0 < len(each) <= 4 for each in numbers):
        raise OptionError(f"--replicas {text}: write a number, or MIN:MAX as in 2:10")
    found = Replicas(int(numbers[0]), int(numbers[1]))
    if not 1 <= found.least <= found.most:
        raise OptionError(f"--replicas {text}: at least 1, and MAX not below MIN")
    return found


def ingress(host: str) -> Route:
    """Raises OptionError: It is no host."""
    if not _HOST.fullmatch(host):
        raise OptionError(f"--ingress {host}: write a host, as in shop.example")
    return Route(host)


def gateway(text: str) -> Route:
    """``[NAMESPACE/]GATEWAY=HOST``.

    Raises:
        OptionError: It is not of that form.
    """
    where, equals, host = text.partition("=")
    namespace, slash, name = where.rpartition("/")
    named = [each for each in (namespace, name) if each or slash]
    if not equals or not named or not all(map(_LABEL.fullmatch, named)) or not _HOST.fullmatch(host):
        raise OptionError(
            f"--gateway {text}: write [NAMESPACE/]GATEWAY=HOST, as in infra/public=shop.example"
        )
    return Route(host, name, namespace)


def quantity(option: str, text: str) -> float:
    """How much it is: processors, or bytes.

    Raises:
        OptionError: It is no quantity, or nothing.
    """
    found = _QUANTITY.fullmatch(text)
    amount = float(found[1]) * _UNITS[found[2] or ""] if found else 0.0
    if amount <= 0:
        example = "500m or 2" if option == "--cpu" else "512Mi"
        raise OptionError(f"{option} {text}: write a quantity of Kubernetes, as in {example}")
    return amount


def label(option: str, text: str) -> str:
    """A name for objects, as it is.

    Raises:
        OptionError: No object may be called so.
    """
    if not _LABEL.fullmatch(text) or len(text) > _NAME_MAX:
        raise OptionError(
            f"{option} {text}: a name has small letters, digits and - inside, and begins with a letter; "
            f"{_NAME_MAX} at most"
        )
    return text


def label_of(name: str) -> str:
    """The nearest to ``name`` that objects may be called."""
    found = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    if not found[:1].isalpha():
        found = f"app-{found}" if found else "app"
    return found[:_NAME_MAX].strip("-")


def folder(text: str) -> str:
    """Raises OptionError: It is no folder of an image."""
    path = PurePosixPath(text)
    if not path.is_absolute() or ".." in path.parts:
        raise OptionError(f"--folder {text}: write the folder of gw.toml in the image, as in /srv")
    return str(path)
