"""click's runner for commands called in the test's own process."""

from __future__ import annotations

from typing import Any

from click.testing import CliRunner


def runner() -> CliRunner:
    """With stdout and stderr apart, which click 8.1 does only when asked and 8.2 always."""
    make: Any = CliRunner
    try:
        return make(mix_stderr=False)  # type: ignore[no-any-return]
    except TypeError:
        return CliRunner()
