"""What `gwctl init` finds in a folder, and that what it writes is right."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from gwctl.config import schema
from gwctl.config.discover import discover
from gwctl.config.init_file import InitError, content, write
from gwctl.config.load import load
from gwctl.config.model.settings import PoolSettings
from tests.support.server import ROOT

DJANGO = "from django.core.{0} import get_{0}_application\napplication = get_{0}_application()\n"

FOLDERS: dict[str, tuple[dict[str, str], list[str]]] = {
    "nothing": ({}, []),
    "Django": (
        {
            "manage.py": "import os\n",
            "shop/__init__.py": "",
            "shop/settings.py": "app = 1\n",
            "shop/asgi.py": DJANGO.format("asgi"),
            "shop/wsgi.py": DJANGO.format("wsgi"),
        },
        ["shop.wsgi:application a Django application", "shop.asgi:application a Django application"],
    ),
    "FastAPI": (
        {"main.py": "from fastapi import FastAPI\napi = FastAPI()\n"},
        ["main:api a FastAPI application"],
    ),
    "Flask": (
        {"app.py": "import flask\n\napp: flask.Flask = flask.Flask(__name__)\napp.debug = True\n"},
        ["app:app a Flask application"],
    ),
    "Falcon in both forms": (
        {"app.py": "import falcon\nimport falcon.asgi as fa\nw = falcon.App()\na = fa.App()\n"},
        ["app:w a Falcon application", "app:a a Falcon application"],
    ),
    "Starlette": (
        {"asgi.py": "from starlette.applications import Starlette as S\napp = S()\n"},
        ["asgi:app a Starlette application"],
    ),
    "Quart in src": (
        {"src/shop/__init__.py": "from quart import Quart\napp = Quart(__name__)\n"},
        ["shop:app a Quart application in src"],
    ),
    "bare WSGI": (
        {"wsgi.py": "def application(environ, start_response):\n    return []\n"},
        ["wsgi:application a WSGI application"],
    ),
    "bare ASGI": (
        {"app.py": "async def app(scope, receive, send): ...\nasync def other(a): ...\n"},
        ["app:app an ASGI application"],
    ),
    "a factory": (
        {
            "shop/__init__.py": "from flask import Flask\ndef create_app(config=None):\n    return Flask('shop')\n"
        },
        ["shop:create_app() a Flask application"],
    ),
    "a factory that wants something": ({"app.py": "def create_app(config):\n    return 1\n"}, []),
    "an application from elsewhere": (
        {"wsgi.py": "from shop import create_app\napp = create_app()\n"},
        ["wsgi:app a WSGI application"],
    ),
    "imported under its name": ({"asgi.py": "from shop import app\n"}, ["asgi:app an ASGI application"]),
    "after a try": (
        {"app.py": "try:\n    from bottle import Bottle\nexcept ImportError:\n    raise\napp = Bottle()\n"},
        ["app:app a Bottle application"],
    ),
    "bare WSGI in a file of any name": (
        {"shop.py": "def application(environ, start_response):\n    return []\n"},
        ["shop:application a WSGI application"],
    ),
    "files of any name": (
        {
            "errors.py": "def missing(environ, start_response):\n    return []\n",
            "hello.py": "from flask import Flask\napp = Flask(__name__)\n",
            "src/live.py": "async def app(scope, receive, send): ...\n",
        },
        [
            "hello:app a Flask application",
            "live:app an ASGI application in src",
            "errors:missing a WSGI application",
        ],
    ),
    "a usual name first": (
        {
            "hello.py": "from flask import Flask\napp = Flask(__name__)\n",
            "shop/wsgi.py": DJANGO.format("wsgi"),
        },
        ["shop.wsgi:application a Django application", "hello:app a Flask application"],
    ),
    "files that hold something else": (
        {
            "test_shop.py": "def application(environ, start_response):\n    return []\n",
            "conftest.py": "from flask import Flask\napp = Flask(__name__)\n",
            "window.py": "from toolkit import Window\napp = Window()\n",
            "a-b.py": "def application(environ, start_response):\n    return []\n",
            "big.py": "def application(environ, start_response):\n    return []\n" + "#" * 100_000,
        },
        [],
    ),
    "no Python": ({"app.py": "app = = 1\n", "main.py": "\0"}, []),
    "not an application": ({"app.py": "app = 1\napplication = [2]\n"}, []),
    "folders that are not looked into": (
        {"tests/app.py": "app = x()\n", "a-b/app.py": "app = x()\n", "venv/app.py": "app = x()\n"},
        [],
    ),
}


def make(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


@pytest.mark.parametrize(("files", "found"), FOLDERS.values(), ids=FOLDERS)
def test_a_folder(tmp_path: Path, files: dict[str, str], found: list[str]) -> None:
    """What is found, the likeliest first; and the file that is written for it is right."""
    make(tmp_path, files)
    candidates = discover(tmp_path)
    places = [f" in {each.folder}" if each.folder else "" for each in candidates]
    assert [
        f"{each.app} {each.described}{place}" for each, place in zip(candidates, places, strict=True)
    ] == found
    written = write(tmp_path / "gw.toml", force=False)
    settings = load(Path("gw.toml"), environ={}, cwd=tmp_path).settings
    if not found:
        assert written.summary == "found no application here"
        assert settings.pool["web"].app == "module:application"
        return
    assert written.next_step == "gwctl start"
    assert settings.pool["web"].app == candidates[0].app
    assert settings.pool["web"].pythonpath == ((str(tmp_path / "src"),) if candidates[0].folder else ())


def test_a_folder_with_many_files_is_not_read_whole(tmp_path: Path) -> None:
    app = "def application(environ, start_response):\n    return []\n"
    make(tmp_path, {f"m{number:03}.py": app for number in range(70)})
    found = [each.app for each in discover(tmp_path)]
    assert found == [f"m{number:03}:application" for number in range(50)]


def test_the_examples_are_found() -> None:
    for example in ("django", "fastapi", "flask", "wsgi"):
        folder = ROOT / "examples" / example
        app = tomllib.loads((folder / "gw.toml").read_text())["pool"]["web"]["app"]
        assert discover(folder)[0].app == app


def test_comments_show_defaults() -> None:
    """With every comment of a setting taken away the file still is TOML, and its defaults are the defaults."""
    lines = content([]).splitlines()
    bare = [line.removeprefix("# ") if " = " in line else line for line in lines]
    table = tomllib.loads("\n".join(bare))["pool"]["web"]
    for name in ("worker", "processes", "threads"):
        assert table[name] == schema.settings_of(PoolSettings)[name].default
    assert table.keys() <= schema.settings_of(PoolSettings).keys()
    assert max(map(len, lines)) <= 96


def test_others_are_mentioned(tmp_path: Path) -> None:
    make(tmp_path, FOLDERS["Django"][0])
    assert "# Also here: shop.asgi:application, a Django application\n" in content(discover(tmp_path))


def test_a_file_is_not_replaced_unless_forced(tmp_path: Path) -> None:
    file = tmp_path / "gw.toml"
    file.write_text("mine\n")
    with pytest.raises(InitError, match=r"gw\.toml is there already; gwctl init --force replaces it$"):
        write(file, force=False)
    assert file.read_text() == "mine\n"
    write(file, force=True)
    assert "[pool.web]" in file.read_text()


def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    with pytest.raises(InitError, match=r"cannot write .*: No such file or directory"):
        write(tmp_path / "gone" / "gw.toml", force=False)


def test_another_name_is_named_in_the_next_step(tmp_path: Path) -> None:
    make(tmp_path, {"app.py": "from flask import Flask\napp = Flask('x')\n"})
    assert write(tmp_path / "prod.toml", force=False).next_step == "gwctl start -c prod.toml"
