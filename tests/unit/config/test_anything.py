"""Whatever stands in gw.toml, the environment or on the command line: settings or problems, never a crash."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gwctl.config import schema, toml_writer
from gwctl.config.load import load
from gwctl.config.problems import ConfigError
from gwctl.config.sources import Override, environment_names
from tests.support.toml_documents import KEYS, SCALARS, VALUES

PATHS = [("pool", "web", *path) for path in schema.pool_leaves()]
PATHS += [(table, *path) for table in schema.TABLES for path in schema.table_leaves(table)]
PATHS += [path[:-1] for path in PATHS]
NAMES = st.sampled_from(sorted({part for path in PATHS for part in path}))
TREES = st.recursive(VALUES, lambda inner: st.dictionaries(NAMES | KEYS, inner, max_size=4), max_leaves=8)
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=10)
VARIABLES = st.sampled_from(sorted(environment_names(["web"]))) | st.from_regex(
    r"GWCTL_[A-Z_]{0,12}", fullmatch=True
)


def test_a_path_with_a_line_end_does_not_break_its_message(tmp_path: Path) -> None:
    (tmp_path / "gw.toml").write_text('[pool.web]\napp = "shop"\n', "utf-8")
    with pytest.raises(ConfigError) as raised:
        load(Path("gw.toml"), environ={"GWCTL_POOL_WEB_CHDIR": "a\n\x1b[2J"}, cwd=tmp_path)
    assert any(r"a\n\x1b[2J" in problem.reason for problem in raised.value.problems)


@given(
    tree=st.dictionaries(NAMES | KEYS, TREES, max_size=3),
    placed=st.lists(st.tuples(st.sampled_from(PATHS), SCALARS | TREES), max_size=4),
    environ=st.dictionaries(VARIABLES, TEXTS, max_size=3),
    sets=st.lists(st.tuples(st.sampled_from(PATHS).map(".".join) | TEXTS, TEXTS), max_size=2),
)
@settings(max_examples=100, deadline=None)
def test_anything(
    tree: dict[str, Any],
    placed: list[tuple[tuple[str, ...], Any]],
    environ: dict[str, str],
    sets: list[tuple[str, str]],
) -> None:
    """Each problem says its place, and has its line when it is of the file."""
    for path, value in placed:
        table: Any = tree
        for part in path[:-1]:
            table = table.setdefault(part, {}) if isinstance(table, dict) else {}
        if isinstance(table, dict):
            table[path[-1]] = value
    text = "".join(f"{toml_writer.key(name)} = {toml_writer.value(value)}\n" for name, value in tree.items())
    overrides = [Override(key, value, f"--set {key}") for key, value in sets]
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "gw.toml").write_text(text, "utf-8")
        try:
            load(Path("gw.toml"), overrides=overrides, environ=environ, cwd=Path(folder))
        except ConfigError as error:
            problems = error.problems
        else:
            return
    assert problems
    for problem in problems:
        assert problem.reason
        assert problem.file in {"gw.toml", "environment", "command line"}
        assert problem.line == 0 or problem.file == "gw.toml"
        assert problem.line > 0 or problem.file != "gw.toml" or not problem.found, str(problem)
        assert not re.search(r"\n", problem.reason + problem.hint)
