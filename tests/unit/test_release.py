"""What a release is made of and how: the workflow that nobody sees run before the day it counts."""

from __future__ import annotations

import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

import hatch_build
from tests.support.interpreters import SUPPORTED
from tests.support.server import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


@pytest.fixture(scope="module")
def jobs() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text("utf-8"))[
        "jobs"
    ]
    return found


def test_each_supported_python_has_a_compiled_wheel() -> None:
    build = PROJECT["tool"]["cibuildwheel"]["build"].split()
    assert build == [f"cp{version.replace('.', '')}-*" for version in SUPPORTED]
    named = {f"Programming Language :: Python :: {version}" for version in SUPPORTED}
    assert named <= set(PROJECT["project"]["classifiers"])


def test_each_wheel_is_tested_with_its_own_binaries() -> None:
    settings = PROJECT["tool"]["cibuildwheel"]
    assert settings["environment"] == {"GWCTL_COMPILE": "1"}
    _, script, wheel = settings["test-command"].split()
    assert (ROOT / script.removeprefix("{project}/")).is_file()
    assert wheel == "{wheel}"
    assert set(settings["test-groups"]) <= set(PROJECT["dependency-groups"])


def test_nothing_is_published_that_has_not_passed(jobs: dict[str, Any]) -> None:
    assert set(jobs["publish"]["needs"]) == jobs.keys() - {"publish", "check"}
    assert all(jobs[name]["needs"] == "check" for name in jobs["publish"]["needs"])
    assert any(step.get("run") == "bash .ci/run" for step in jobs["check"]["steps"])
    assert jobs["publish"]["if"] == "github.ref_type == 'tag'"


def test_only_the_upload_may_speak_for_the_project(jobs: dict[str, Any]) -> None:
    """PyPI trusts a job that has this permission, so no other has it, nor a token."""
    assert [name for name, job in jobs.items() if "id-token" in job.get("permissions", {})] == ["publish"]
    assert "secrets." not in (ROOT / ".github/workflows/release.yml").read_text("utf-8")


def test_both_architectures_are_built_where_they_can_be_tested(jobs: dict[str, Any]) -> None:
    assert jobs["compiled"]["strategy"]["matrix"]["runner"] == ["ubuntu-24.04", "ubuntu-24.04-arm"]


def test_a_wheel_of_other_sources_is_not_tested(tmp_path: Path) -> None:
    pure = tmp_path / "pure.whl"
    with zipfile.ZipFile(pure, "w") as archive:
        archive.write(ROOT / "gwctl/__init__.py", "gwctl/__init__.py")
    with pytest.raises(ValueError, match="is not compiled"):
        hatch_build.place_from(pure)
    other = tmp_path / "other.whl"
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("gwctl/__init__.py", '__version__ = "9.9.9"\n')
        archive.writestr("gwctl/made.cpython-311-x86_64-linux-gnu.so", "")
    with pytest.raises(ValueError, match=r"was made from another gwctl/__init__\.py"):
        hatch_build.place_from(other)
    assert not (ROOT / "gwctl/made.cpython-311-x86_64-linux-gnu.so").exists()
