"""Forms of the access log in real workers: of each class, on a pipe that they share, over reloads and reopening."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import httpx
import pytest

from tests.support.apps import BARE
from tests.support.wait import until

CLASSES = ["sync", "threads", "asgi"]


@pytest.mark.parametrize("worker", CLASSES)
@pytest.mark.parametrize("preload", [False, True], ids=["", "preload"])
def test_json_on_a_pipe_that_workers_share(gwctl_server, worker: str, preload: bool) -> None:
    settings = {"access_log": "stdout", "access_log_format": "json", "processes": 2, "preload": preload}
    with gwctl_server(BARE[worker], worker=worker, **settings) as server:
        with httpx.Client() as client:
            for number in range(20):
                client.get(
                    f"{server.url}/{number}?token=x", headers={"User-Agent": '"\n'.strip("\n") + "x" * 300}
                )
        until(lambda: server.output.count("\n") >= 20, "the lines")
        found = [json.loads(line) for line in server.output.splitlines()]
    assert sorted(int(each["path"][1:]) for each in found) == list(range(20))
    assert {(each["pool"], each["kind"], each["status"]) for each in found} == {
        ("web", "access", 404)
    }  # it knows / only
    assert {each["slot"] for each in found} <= {0, 1}


@pytest.mark.parametrize("worker", CLASSES)
def test_a_reload_changes_the_form_and_usr1_the_file(gwctl_server, worker: str, tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    with gwctl_server(BARE[worker], worker=worker, access_log=str(path), reload={"settle_s": 0.05}) as server:
        httpx.get(server.url + "/one", headers={"User-Agent": "curl"})
        until(lambda: path.read_text().count("\n") == 1, "a line")
        server.tables["pool"]["web"] |= {
            "access_log_format": '%(m)s %(U)s %(s)s "%({user-agent}i)s" "%({content-length}o)s"',
            "access_log_exclude": ["/healthz"],
        }
        server.write_config()
        server.signal(signal.SIGHUP)
        server.wait_for_log(r"adopted generation 2\b")
        path.rename(tmp_path / "access.log.1")
        server.signal(signal.SIGUSR1)
        server.wait_for_log("opened again|reopened")
        httpx.get(server.url + "/healthz")
        httpx.get(server.url + "/two", headers={"User-Agent": 'cu"rl'})
        until(lambda: path.exists() and path.read_text().count("\n") == 1, "a line")
        before = (tmp_path / "access.log.1").read_text()
        after = path.read_text()
    assert before.split('"', 1)[1].startswith('GET /one HTTP/1.1" 404 ')
    assert before.endswith(" web.0\n")
    method, path_, status, rest = after.split(" ", 3)
    assert (method, path_, status) == ("GET", "/two", "404")
    assert rest.startswith('"cu\\x22rl" "')


def test_a_template_that_is_none_is_refused_by_a_reload(gwctl_server) -> None:
    with gwctl_server(
        BARE["sync"], worker="sync", access_log="stdout", allow_errors=["not adopted"]
    ) as server:
        server.tables["pool"]["web"]["access_log_format"] = "%(status)s"
        server.write_config()
        result = server.gwctl("reload", "-c", str(server.config))
        assert result.returncode == 1
        assert "Did you mean %(s)s?" in result.stdout + result.stderr
        assert httpx.get(server.url).status_code == 200
