"""Every example starts and answers, as it stands but for the address."""

from __future__ import annotations

import os
import subprocess
import tomllib
from pathlib import Path

import httpx
import pytest

from tests.support.debian import need
from tests.support.raw import refuses
from tests.support.server import ROOT, GwctlServer
from tests.support.wait import until

EXAMPLES = ROOT / "examples"
FRAMEWORKS = ("wsgi", "asgi", "django", "flask", "fastapi", "starlette", "quart", "falcon", "demo")


def serve(folder: Path, bind: str | None = None) -> GwctlServer:
    """The example's own settings, bound elsewhere."""
    web = tomllib.loads((folder / "gw.toml").read_text("utf-8"))["pool"]["web"]
    del web["bind"]
    chdir = (folder / web.pop("chdir", ".")).resolve()
    return GwctlServer(web.pop("app"), bind=bind, chdir=chdir, **web)


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_example(name: str) -> None:
    with serve(EXAMPLES / name) as server:
        response = httpx.get(server.url)
        assert response.status_code == 200
        assert "generation" in response.text if name == "demo" else "hello" in response.text


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_every_example_explains_itself(name: str) -> None:
    text = (EXAMPLES / name / "README.md").read_text("utf-8")
    assert text.startswith("# ")
    assert "http://127.0.0.1:8000" in text


def test_the_demonstration_says_which_worker_answers() -> None:
    with serve(EXAMPLES / "demo") as server:
        name, generation, _, pid = httpx.get(f"{server.url}/plain").text.split()
        assert name in {"web.0", "web.1"}
        assert generation == "g1"
        assert int(pid) in server.workers


def test_behind_nginx(tmp_path: Path) -> None:
    """The example's configuration, with its paths and port replaced."""
    nginx = need("nginx", "nginx-light")
    sock, front = tmp_path / "web.sock", tmp_path / "front.sock"
    conf = (EXAMPLES / "nginx" / "nginx.conf").read_text("utf-8")
    for name, path in (
        ("/tmp/gwctl-example-nginx.pid", "nginx.pid"),
        ("/tmp/gwctl-example.sock", "web.sock"),
    ):
        assert name in conf
        conf = conf.replace(name, str(tmp_path / path))
    conf = conf.replace("listen 127.0.0.1:8080", f"listen unix:{front}")
    user = "user root;\n" if os.geteuid() == 0 else ""  # the test's folder is open to its owner alone
    (tmp_path / "nginx.conf").write_text(f"daemon off;\n{user}{conf}")
    with serve(EXAMPLES / "nginx", bind=f"unix:{sock}"):
        command = [nginx, "-p", str(tmp_path), "-c", "nginx.conf", "-e", "stderr"]
        with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
            try:
                until(
                    lambda: front.exists() and not refuses(f"unix:{front}"), "nginx to listen"
                )  # bound before it does
                transport = httpx.HTTPTransport(uds=str(front))
                with httpx.Client(transport=transport, base_url="http://nginx") as client:
                    assert [client.get("/").text for _ in range(3)] == ["hello\n"] * 3
            finally:
                os.kill(process.pid, 15)
