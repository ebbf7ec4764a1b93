"""What is told about wrong settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from gwctl.config.load import load
from gwctl.config.problems import ConfigError
from gwctl.config.sources import Override
from gwctl.errors import ExitStatus

WEB = '[pool.web]\napp = "shop:app"\n'
"""The least that gw.toml must say."""


def mistakes(
    folder: Path,
    text: str | bytes | None,
    *,
    app: str | None = None,
    sets: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
) -> list[str]:
    """What is told about a gw.toml with this text, the folder's name left out."""
    file = None
    if text is not None:
        file = Path("gw.toml")
        (folder / file).write_bytes(text.encode() if isinstance(text, str) else text)
    overrides = [Override.parse(each) for each in sets]
    with pytest.raises(ConfigError) as caught:
        load(file, app=app, overrides=overrides, environ=environ or {}, cwd=folder)
    assert caught.value.exit_status == ExitStatus.SETTINGS
    return str(caught.value).replace(f"{folder}/", "").splitlines()
