"""`processes` as a table: in the file, by variables, on the command line, and shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from gwctl.config import show
from gwctl.config.load import Loaded, load
from gwctl.config.model.scaling import Scaling
from gwctl.config.sources import Override
from gwctl.supervisor.core.policy import ScalePolicy
from gwctl.supervisor.generations.capacity import Capacity
from gwctl.supervisor.generations.plan import make_policy

TABLE = "processes = { min = 2, max = 16 }"


def loaded(folder: Path, text: str, *overrides: str, **environ: str) -> Loaded:
    (folder / "gw.toml").write_text(f'[pool.web]\napp = "shop:app"\n{text}\n')
    parsed = [Override.parse(each) for each in overrides]
    return load(Path("gw.toml"), overrides=parsed, environ=environ, cwd=folder)


def processes(found: Loaded) -> object:
    return found.settings.pool["web"].processes


def test_in_the_file(tmp_path: Path) -> None:
    assert processes(loaded(tmp_path, TABLE)) == Scaling(2, 16)
    assert processes(loaded(tmp_path, "[pool.web.processes]\nbusy = 0.5")) == Scaling(1, "auto", 0.5)
    assert processes(loaded(tmp_path, "processes = {}")) == Scaling()


@pytest.mark.parametrize("text", ["", "processes = 4", 'processes = "auto"', TABLE])
def test_a_part_by_itself_whatever_the_file_has(tmp_path: Path, text: str) -> None:
    least = 2 if text == TABLE else 1
    assert processes(loaded(tmp_path, text, "processes.max=9")) == Scaling(least, 9)
    assert processes(loaded(tmp_path, text, GWCTL_PROCESSES_MAX="9")) == Scaling(least, 9)
    assert processes(loaded(tmp_path, text, GWCTL_POOL_WEB_PROCESSES_MAX="9")) == Scaling(least, 9)


@pytest.mark.parametrize("text", ["", "processes = 4", TABLE])
def test_all_of_it_at_once(tmp_path: Path, text: str) -> None:
    whole = "{ min = 3, max = 5 }"
    assert processes(loaded(tmp_path, text, f"processes={whole}")) == Scaling(3, 5)
    assert processes(loaded(tmp_path, text, GWCTL_PROCESSES=whole)) == Scaling(3, 5)
    assert processes(loaded(tmp_path, text, "processes=7", GWCTL_PROCESSES=whole)) == 7
    assert processes(loaded(tmp_path, text, "processes=auto")) == "auto"


def test_it_is_shown_with_all_its_sources(tmp_path: Path) -> None:
    found = loaded(tmp_path, TABLE, "processes.busy=0.5")
    assert "processes = {min = 2, max = 16, busy = 0.5, shrink_after_s = 60.0}" in show.as_toml(found)
    row = show.as_json(found)["settings"]["pool.web.processes"]
    assert row["value"] == {"min": 2, "max": 16, "busy": 0.5, "shrink_after_s": 60.0}
    assert row["source"] == "gw.toml:3, --set processes.busy"


def test_what_the_core_decides_by(tmp_path: Path) -> None:
    capacity = Capacity(6, "", 6.0)
    fixed = make_policy(loaded(tmp_path, "processes = 4").settings.pool["web"], capacity)
    assert (fixed.size, fixed.scale, fixed.size_max) == (4, None, 4)
    policy = make_policy(loaded(tmp_path, TABLE).settings.pool["web"], capacity)
    assert policy.size == 2
    assert policy.scale == ScalePolicy(2, 16, 0.7, 60.0, 6.0)
    auto = make_policy(loaded(tmp_path, "processes = { min = 2 }").settings.pool["web"], capacity)
    assert auto.size_max == 6
    tight = make_policy(loaded(tmp_path, "processes = { min = 8 }").settings.pool["web"], capacity)
    assert (tight.size, tight.size_max) == (8, 8)
