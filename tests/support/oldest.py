"""Print the oldest versions that pyproject.toml allows, as pip constraints (for `make test-oldest`)."""

from __future__ import annotations

import tomllib
from pathlib import Path


def constraints(pyproject: str) -> list[str]:
    """``name==lower bound`` for each dependency, extras included."""
    project = tomllib.loads(pyproject)["project"]
    extras = [item for extra in project["optional-dependencies"].values() for item in extra]
    return [
        requirement.replace(">=", "==").split(",")[0] for requirement in [*project["dependencies"], *extras]
    ]


if __name__ == "__main__":
    print("\n".join(constraints((Path(__file__).resolve().parents[2] / "pyproject.toml").read_text("utf-8"))))
