"""The schema for editors: valid itself, takes what is right, refuses what `check` refuses, and explains all."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import pytest
from click.testing import CliRunner
from jsonschema import Draft202012Validator

from gwctl.cli.settings_commands import config
from gwctl.config import schema
from gwctl.config.json_schema import json_schema
from gwctl.config.model.settings import PoolSettings
from gwctl.config.toml_writer import dotted
from tests.tidy.checks import ROOT

VALIDATOR = Draft202012Validator(json_schema())
LEAVES = {("pool", "web", *path): setting for path, setting in schema.pool_leaves().items()} | {
    (table, *path): setting for table in schema.TABLES for path, setting in schema.table_leaves(table).items()
}
FILES = sorted({*ROOT.glob("examples/**/gw*.toml"), *ROOT.glob("benchmarks/**/gw*.toml")})


def document(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    for name in reversed(path):
        value = {name: value}
    return value


def plain(value: Any) -> Any:
    return json.loads(json.dumps(value))


def mistakes(document: dict[str, Any]) -> list[str]:
    return [error.json_path for error in VALIDATOR.iter_errors(document)]


def test_it_is_a_schema() -> None:
    Draft202012Validator.check_schema(json_schema())
    result = CliRunner().invoke(config, ["schema"])
    assert result.exit_code == 0
    assert json.loads(result.output) == plain(json_schema())


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_examples_are_right(path) -> None:
    assert mistakes(tomllib.loads(path.read_text("utf-8"))) == []


def test_there_are_examples() -> None:
    assert FILES


@pytest.mark.parametrize("path", LEAVES, ids=dotted)
def test_every_setting_takes_its_example_and_its_default(path: tuple[str, ...]) -> None:
    setting = LEAVES[path]
    assert mistakes(document(path, plain(setting.example))) == []
    if setting.default is not schema.REQUIRED:
        assert mistakes(document(path, plain(setting.default))) == []


@pytest.mark.parametrize("path", LEAVES, ids=dotted)
def test_every_setting_is_explained_and_refuses_what_it_is_not(path: tuple[str, ...]) -> None:
    wrong: Any = [[1]] if LEAVES[path].name != "env" else {"DEBUG": 1}
    assert mistakes(document(path, wrong)), "a list in a list is right nowhere"
    node = VALIDATOR.schema
    for name in path:
        node = next((each for each in node.get("anyOf", ()) if "$ref" in each), node)  # a value, or a table
        while "$ref" in node:
            node = VALIDATOR.schema["$defs"][node["$ref"].rpartition("/")[2]]
        node = (
            node["properties"][name] if name in node.get("properties", ()) else node["additionalProperties"]
        )
    assert node["description"] == LEAVES[path].description


@pytest.mark.parametrize(
    ("wrong", "where"),
    [
        ({"pools": {}}, "$"),
        ({"pool": {"web": {"workers": 4}}}, "$.pool.web"),
        ({"pool": {"we b": {}}}, "$.pool"),
        ({"pool": {"web": {"processes": 0}}}, "$.pool.web.processes"),
        ({"pool": {"web": {"processes": "many"}}}, "$.pool.web.processes"),
        ({"pool": {"web": {"worker": "gevent"}}}, "$.pool.web.worker"),
        ({"pool": {"web": {"socket_mode": "rwx"}}}, "$.pool.web.socket_mode"),
        ({"pool": {"web": {"socket_mode": "06600"}}}, "$.pool.web.socket_mode"),
        ({"pool": {"web": {"timeouts": {"drain_timeout_s": -1}}}}, "$.pool.web.timeouts.drain_timeout_s"),
        ({"master": {"log_level": "loud"}}, "$.master.log_level"),
    ],
)
def test_mistakes_have_their_place(wrong: dict[str, Any], where: str) -> None:
    assert mistakes(wrong) == [where]


def test_what_may_come_from_elsewhere_is_not_required() -> None:
    """``gwctl start shop:app`` with a file that sets only the number of workers."""
    assert mistakes({"pool": {"web": {"processes": 4}}}) == []
    assert mistakes({}) == []
    assert "app" in PoolSettings.__struct_fields__
