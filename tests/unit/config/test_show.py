"""The settings in force, shown."""

from __future__ import annotations

import tomllib
from pathlib import Path

from gwctl.config import show
from gwctl.config.load import Loaded, load
from gwctl.config.sources import Override

TEXT = """\
[pool.web]
app = "shop:app"
env = { A = "1" }
bind = ["127.0.0.1:1", "unix:web.sock"]
[pool.web.timeouts]
drain_timeout_s = 12.5
[pool.live-1]
app = "live:app"
"""


def loaded(folder: Path) -> Loaded:
    (folder / "gw.toml").write_text(TEXT)
    overrides = [Override.parse("pool.web.env.B=2"), Override.parse("pool.live-1.bind=:2")]
    environ = {"GWCTL_POOL_WEB_THREADS": "3"}
    return load(Path("gw.toml"), overrides=overrides, environ=environ, cwd=folder)


def test_as_toml_says_the_same(tmp_path: Path) -> None:
    """What is printed is a gw.toml that loads to the same settings."""
    first = loaded(tmp_path)
    other = tmp_path / "other.toml"
    other.write_text(show.as_toml(first, secrets=True))
    assert load(other, environ={}, cwd=Path("/")).settings == first.settings


def test_as_toml_says_where_from(tmp_path: Path) -> None:
    lines = [" ".join(line.split()) for line in show.as_toml(loaded(tmp_path), secrets=True).splitlines()]
    assert lines[0] == f"# {tmp_path}/gw.toml"
    assert 'app = "shop:app" # gw.toml:2' in lines
    assert "threads = 3 # GWCTL_POOL_WEB_THREADS" in lines
    assert 'env = {A = "1", B = "2"} # gw.toml:3, --set pool.web.env.B' in lines
    assert "drain_timeout_s = 12.5 # gw.toml:6" in lines
    assert 'bind = [":2"] # --set pool.live-1.bind' in lines
    assert "linger_s = 2 # default" in lines
    assert f'chdir = "{tmp_path}" # folder of the file' in lines
    assert f'name = "{tmp_path.name}" # folder of the file' in lines


def test_as_json(tmp_path: Path) -> None:
    data = show.as_json(loaded(tmp_path))
    assert data["file"] == f"{tmp_path}/gw.toml"
    assert data["settings"]["pool.web.threads"] == {"value": 3, "source": "GWCTL_POOL_WEB_THREADS"}
    assert data["settings"]["pool.live-1.timeouts.linger_s"] == {"value": 2.0, "source": "default"}
    toml = tomllib.loads(show.as_toml(loaded(tmp_path)))
    assert data["settings"]["pool.web.bind"]["value"] == toml["pool"]["web"]["bind"]


def test_without_a_file(tmp_path: Path) -> None:
    result = load(None, app="shop.wsgi", environ={}, cwd=tmp_path)
    lines = [" ".join(line.split()) for line in show.as_toml(result).splitlines()]
    assert lines[0] == "# no file"
    assert 'name = "shop" # name of the module' in lines
    assert 'app = "shop.wsgi" # APP' in lines
    assert show.as_json(result)["file"] is None
