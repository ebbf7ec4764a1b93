"""What `gwctl kubernetes` makes of a gw.toml, as a reader of YAML has it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import yaml
from click.testing import Result

from gwctl.cli import cli
from tests.support import toml_text
from tests.support.command import runner

IMAGE: Final = ("--image", "registry.example/shop:1.4")


def write(folder: Path, **settings: Any) -> Path:
    """A gw.toml that fits a cluster, but for ``settings``: ``TABLE__NAME``, of the pool web with ``web__``; None: not there."""
    pool: dict[str, Any] = {"app": "shop:application", "bind": ["0.0.0.0:8000"], "processes": 4}
    tables: dict[str, Any] = {
        "master": {"name": "shop", "drain_delay_s": 5},
        "admin": {"bind": ["0.0.0.0:9100"]},
        "pool": {"web": pool},
    }
    for key, value in settings.items():
        table, _, name = key.partition("__")
        target = pool if table == "web" else tables.setdefault(table, {})
        if value is None:
            target.pop(name, None)
        else:
            target[name] = value
    path = folder / "gw.toml"
    path.write_text(toml_text.dumps({name: table for name, table in tables.items() if table}), "utf-8")
    return path


def gwctl(*arguments: str) -> Result:
    return runner().invoke(cli, ["kubernetes", *arguments], prog_name="gwctl")


def objects(path: Path, *arguments: str) -> dict[str, Any]:
    """By kind, and of several of one kind by kind and name."""
    result = gwctl("-c", str(path), *IMAGE, *arguments)
    assert result.exit_code == 0, result.stderr
    found: dict[str, Any] = {}
    for each in yaml.safe_load_all(result.stdout):
        key = each["kind"]
        found[f"{key} {each['metadata']['name']}" if key in found else key] = each
    return found
