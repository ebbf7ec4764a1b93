"""The build that is named is the build that runs."""

from __future__ import annotations

import re
import sys
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec

import pytest

from gwctl import __version__, build
from tests.support.compiled import COMPILED


def test_it_is_the_one_that_tests_run() -> None:
    assert build.engine() == ("compiled" if COMPILED else "pure Python")


def test_it_is_told_with_both_versions() -> None:
    python = re.escape(".".join(map(str, sys.version_info[:3])))
    assert re.fullmatch(
        rf"gwctl {re.escape(__version__)}, engine (compiled|pure Python), Python {python}",
        build.description(),
    )


@pytest.mark.parametrize(
    ("origin", "engine"),
    [
        (f"/x/server{EXTENSION_SUFFIXES[0]}", "compiled"),
        ("/x/server.py", "pure Python"),
        (None, "pure Python"),
    ],
)
def test_it_goes_by_what_would_be_imported(monkeypatch, origin: str | None, engine: str) -> None:
    """From a program's own copy, or from an archive, that is never compiled."""
    monkeypatch.setattr(build, "find_spec", lambda name: ModuleSpec(name, None, origin=origin))
    assert build.engine() == engine
