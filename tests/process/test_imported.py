"""What `gwctl import` prints is what gwctl serves: real masters with settings of other servers."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import httpx
import pytest

from gwctl.cli import cli
from tests.support.command import runner
from tests.support.server import GwctlServer

APPLICATION = """\
import os


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"wsgi {environ['SCRIPT_NAME']} {os.environ.get('SHOP', '')}".encode()]


def create_app():
    return application


async def asgi(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": f"asgi {scope['root_path']}".encode()})


def create_asgi():
    return asgi
"""
# What is called, the file that is there, and what is answered.
IMPORTED = {
    "gunicorn": (
        "gunicorn.conf.py --app shop",
        ("import os\nbind = '127.0.0.1:0'\nthreads = 2\nraw_env = ['SHOP=' + 'a' * 3]\ntimeout = 90\nmax_requests = 100\n"
        "def post_fork(server, worker): raise AssertionError\n"),
        "wsgi  aaa",
    ),
    "uvicorn": ("-- uvicorn shop:create_asgi --factory --port 0 --root-path /api --lifespan off --timeout-keep-alive 9", "", "asgi /api"),
    "hypercorn": (
        "hypercorn.toml --app shop:asgi",
        "bind = '127.0.0.1:0'\nworkers = 1\nworker_class = 'asyncio'\naccesslog = '-'\nkeep_alive_timeout = 3\n",
        "asgi ",
    ),
    "uwsgi": (
        "uwsgi.ini",
        ("[uwsgi]\nname = shop\nhttp-socket = 127.0.0.1:0\nwsgi-file = %(name).py\ncallable = application\nenv = SHOP=%n\n"
        "processes = 1\nthreads = 2\nmaster = true\nvacuum = true\nharakiri = 20\nreload-on-rss = 900\n"),
        "wsgi  uwsgi",
    ),
    "systemd": (
        "shop.service",
        "[Service]\nType=notify\nEnvironment=SHOP=unit BIND=127.0.0.1:0\nExecStart=/opt/bin/gunicorn -w 1 -b ${BIND} shop\n",
        "wsgi  unit",
    ),
    "docker": ("Dockerfile", "FROM python\nENV PORT=0\nCMD exec waitress-serve --host 127.0.0.1 --port $PORT --call shop:create_app\n", "wsgi  "),
    "nginx-unit": (
        "config.json",
        ('{"listeners": {"127.0.0.1:0": {"pass": "applications/shop"}}, "applications": {"shop": {"type": "python", '
        '"module": "shop", "callable": "asgi", "protocol": "asgi", "prefix": "/shop", "processes": {"max": 2, "spare": 1}}}}'),
        "asgi /shop",
    ),
}  # fmt: skip


class _Imported(GwctlServer):
    """Its gw.toml is one that was imported, beside the application."""

    def import_(self, arguments: list[str], text: str) -> None:
        (self.folder / "shop.py").write_text(APPLICATION, "utf-8")
        if arguments[0] != "--":
            (self.folder / arguments[0]).write_text(text, "utf-8")
        result = runner().invoke(cli, ["import", "-o", "gw.toml", "--force", *arguments], prog_name="gwctl")
        assert (result.exit_code, result.stderr) == (0, ""), result.stderr
        assert "check: no problems. Try it:  gwctl start\n" in result.stdout


def test_what_was_imported_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    """All at one time: a start mostly waits."""
    for variable in ("PORT", "WEB_CONCURRENCY", "GUNICORN_CMD_ARGS"):
        monkeypatch.delenv(variable, raising=False)
    servers: dict[str, _Imported] = {}
    here = Path.cwd()
    with contextlib.ExitStack() as stack:
        stack.callback(os.chdir, here)
        for name, (arguments, text, _answer) in IMPORTED.items():
            servers[name] = server = _Imported("shop", bind="127.0.0.1:0")
            stack.callback(server.destroy)
            os.chdir(server.folder)
            server.import_(arguments.split(), text)
            server.start()
        for server in servers.values():
            server.wait_until_serving()
        answers = {
            name: httpx.get(f"{server.url}{'/shop' * (name == 'nginx-unit')}/").text
            for name, server in servers.items()
        }
        assert answers == {name: answer for name, (_arguments, _text, answer) in IMPORTED.items()}
        for server in servers.values():
            server.stop()
