"""Whether the engine under test is the compiled build (hatch_build.py), whose insides cannot be replaced."""

from __future__ import annotations

import pytest

from gwctl.workers.http1 import protocol

COMPILED = not str(protocol.__file__).endswith(".py")

pure_only = pytest.mark.skipif(COMPILED, reason="replaces an inside of the engine: not in the compiled build")
