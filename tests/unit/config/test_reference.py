"""The reference is made from the settings, is current, and what it says is so."""

from __future__ import annotations

from pathlib import Path

import pytest

from gwctl.config import foreign_names, schema
from gwctl.config.load import load
from gwctl.config.reference import reference
from gwctl.config.sources import environment_names
from gwctl.config.toml_writer import dotted, value
from tests.support.server import ROOT
from tests.support.tls import Files

LEAVES = {("pool", "web", *path): setting for path, setting in schema.pool_leaves().items()} | {
    (table, *path): setting for table in schema.TABLES for path, setting in schema.table_leaves(table).items()
}
NOT_HERE = (
    {"token_file"}
    | {"chdir", "env_file", "user", "group", "socket_user", "socket_group"}
    | {
        "certificate",
        "key",
        "password_file",
        "client_ca",
        "allow_users",
        "to",
    }
)
"""Examples that name users and files of another machine."""


def test_the_page_is_current() -> None:
    """`make docs` writes it."""
    assert (ROOT / "docs" / "configuration.md").read_text("utf-8") == reference()


@pytest.mark.parametrize("path", LEAVES, ids=dotted)
def test_every_setting_is_described(path: tuple[str, ...]) -> None:
    """Meaning and example are there, and the example is one that is accepted."""
    setting = LEAVES[path]
    assert setting.description.endswith(".")
    assert setting.example is not None
    assert f"### {setting.name}\n" in reference()


@pytest.mark.parametrize("path", [path for path in LEAVES if path[-1] not in NOT_HERE], ids=dotted)
def test_every_example_is_accepted(tmp_path: Path, path: tuple[str, ...]) -> None:
    (tmp_path / "src").mkdir()
    setting = LEAVES[path]
    tables = {"pool.web": 'app = "shop:app"\n'} if path[-1] != "app" else {}
    table = dotted(path[:-1])
    if path[-1] == "application_metrics":
        tables["admin"] = 'bind = "127.0.0.1:9100"\n'
    if path[-1] in {"errors_max", "latency_max", "requests_min"}:
        tables["pool.web.reload"] = "watch_s = 30\n"
    if path[0] == "statsd":
        tables["statsd"] = 'to = "udp://127.0.0.1:8125"\n'
    if "tls" in path or path[2:] == ("bind",):
        shop = Files(tmp_path, "shop.example")
        tables["pool.web.tls"] = f'certificate = "{shop.certificate}"\nkey = "{shop.key}"\n'
        if path[-1] == "verify":
            tables["pool.web.tls"] += f'client_ca = "{shop.certificate}"\n'
        if path[2:] != ("bind",):
            tables["pool.web"] += 'bind = "tls:127.0.0.1:8443"\n'
    tables[table] = tables.get(table, "") + f"{setting.name} = {value(setting.example)}\n"
    (tmp_path / "gw.toml").write_text("".join(f"[{name}]\n{text}" for name, text in tables.items()))
    loaded = load(Path("gw.toml"), environ={}, cwd=tmp_path)
    assert loaded.sources[dotted(path)].startswith("gw.toml:")


def test_every_variable_is_the_one_of_the_page() -> None:
    page = reference()
    names = environment_names(["web"])
    for path in LEAVES:
        mine = [name for name, paths in names.items() if paths == [path]]
        assert mine
        if path[-1] != "env":
            assert any(f"- variable: `{name}`\n" in page for name in mine)


def test_names_end_in_their_units() -> None:
    for path, setting in LEAVES.items():
        kind = str(setting.kind).lower() if setting.otherwise is None else ""
        if "float" in kind and path[-1] not in {"access_log_sample", "busy"}:  # a share has none
            assert path[-1].endswith("_s")


def test_familiar_names_lead_to_settings() -> None:
    """No name of ours stands among those of others, and each of theirs leads somewhere."""
    for name, target in foreign_names.SETTINGS.items():
        path = tuple(target.split("."))
        whole = path if path[0] == "master" else ("pool", "web", *path)
        assert schema.setting_at(whole) is not None, name
        assert ("pool", "web", name) not in LEAVES, name
    assert not foreign_names.SETTINGS.keys() & foreign_names.NOTES.keys()
    assert not any(note.endswith(".") for note in foreign_names.NOTES.values())
    for name, words in foreign_names.WORDS.items():
        setting = next(setting for path, setting in LEAVES.items() if path[-1] == name)
        assert set(words.values()) <= set(setting.words)
        assert not words.keys() & set(setting.words)
