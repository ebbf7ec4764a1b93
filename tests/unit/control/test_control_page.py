"""docs/control.md names every method with its parameters."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from gwctl.control import protocol

PAGE = (Path(__file__).parents[3] / "docs" / "control.md").read_text("utf-8")
ROWS = {row[0]: row[1] for row in re.findall(r"^\| `(\w+)` \| (.*?) \|", PAGE, re.MULTILINE)}


def test_all_methods_are_in_the_table_and_no_others() -> None:
    assert set(ROWS) == set(protocol.METHODS)


@pytest.mark.parametrize("method", protocol.METHODS)
def test_all_parameters_are_named(method: str) -> None:
    assert re.findall(r"`(\w+)`", ROWS[method]) == [
        field.name for field in msgspec.structs.fields(protocol.METHODS[method])
    ]
