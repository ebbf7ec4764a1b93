"""The variable by which prometheus_client is told where to count, and what to say where it is set already."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from gwctl.config.model.settings import Settings
from gwctl.config.variables import given

VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
NAMES: Final = (VARIABLE, "prometheus_multiproc_dir")
"""Its former name is understood, too."""


def warnings(settings: Settings, environ: Mapping[str, str]) -> Iterator[str]:
    """What to say about the pools of ``settings``, of a master that has ``environ``."""
    for name, pool in settings.pool.items():
        variables = {**environ, **given(pool)}
        found = next((each for each in NAMES if each in variables), None)
        if pool.application_metrics and found is not None:
            yield (
                f"pool.{name}: application_metrics has no effect: {found} is set ({variables[found]}), so "
                "what the application counts stays there and is not in /metrics. Leave the variable out"
            )
