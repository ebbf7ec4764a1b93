"""The settings as JSON Schema, for editors: completion, descriptions and mistakes while one types.

It refuses nothing that some start could take: what the file lacks may come from variables or the command
line. `gwctl check` says more, as it looks at several values together and at the machine.
"""

from __future__ import annotations

from inspect import cleandoc
from typing import Any, Final

import msgspec

from gwctl.config import schema
from gwctl.config.model.settings import Settings
from gwctl.config.model.types import POOL_NAME

DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """Make the schema of a gw.toml."""
    made = _adapted(msgspec.json.schema(Settings))
    tables = made["$defs"]
    root = tables.pop("Settings")
    root["properties"]["pool"] |= {
        "description": "Applications with their listeners and workers, by a name you choose: [pool.web].",
        "propertyNames": {"pattern": _whole(POOL_NAME)},
    }
    for name, table in schema.TABLES.items():
        root["properties"][name]["description"] = cleandoc(table.__doc__ or "")
    return {"$schema": DRAFT, **root, "title": "gw.toml", "$defs": tables}


def _adapted(node: Any) -> Any:
    """Nothing is required of the file, and a pattern means all of a text, as in the settings."""
    if isinstance(node, list):
        return [_adapted(each) for each in node]
    if not isinstance(node, dict):
        return node
    adapted = {key: _adapted(each) for key, each in node.items() if key != "required"}
    if isinstance(node.get("pattern"), str):
        adapted["pattern"] = _whole(node["pattern"])
    return adapted


def _whole(pattern: str) -> str:
    return f"^(?:{pattern})$"
