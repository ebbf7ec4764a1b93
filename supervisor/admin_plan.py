"""What the admin process is to serve, by the settings in force."""

from __future__ import annotations

from gwctl.supervisor.admin.metrics_folder import MetricsFolder
from gwctl.supervisor.admin.process import Plan
from gwctl.supervisor.admin.token import read_token
from gwctl.supervisor.generations.admin_settings import pool_settings
from gwctl.supervisor.generations.generations import Generations
from gwctl.supervisor.recorder import Recorder


def plan_of(
    instance: str, generations: Generations, metrics_folder: MetricsFolder, recorder: Recorder
) -> Plan | None:
    """None: there is neither an admin listener nor anybody to send figures to."""
    settings = generations.current.loaded.settings
    if not (settings.admin.bind or settings.statsd.to):
        return None
    token = read_token(settings.admin.token_file, recorder)
    pool, listeners = pool_settings(settings), generations.admin_listeners
    folder = metrics_folder.for_admin(settings.pool, pool)
    return Plan(instance, pool, listeners, token, folder, settings.statsd)
