"""`gwctl logs`: the log of a real master, read back."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys

import httpx
import pytest

from tests.support.wait import until

FILE = {"to": "events.log"}
APP = {"worker": "sync", "capture_output": True}


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_file_is_read_back(gwctl_server, form: str) -> None:
    log = FILE | {"format": form}
    with gwctl_server(
        "prints:application", log=log, allow_kill=True, allow_errors=["Traceback"], **APP
    ) as server:
        httpx.get(f"{server.url}/text?tea")
        httpx.get(f"{server.url}/traceback?milk")
        server.wait_for_log("KeyError: 'milk'")
        done = server.gwctl("logs", "--name", "test")
        assert re.search(r"^\S+ info  master     serving: web 1/1 ready", done.stdout, re.MULTILINE)
        assert re.search(r"^\S+ info  web\.0 g1 stdout tea$", done.stdout, re.MULTILINE)
        errors = server.gwctl("logs", "--name", "test", "--level", "err", "--since", "10m")
        assert len(re.findall(r"^\d", errors.stdout, re.MULTILINE)) == 1
        assert "KeyError: 'milk'" in errors.stdout
        lines = server.gwctl("logs", "--name", "test", "--worker", "web.0", "--json", "-n", "2").stdout
        objects = [json.loads(line) for line in lines.splitlines()]
        assert [(each["stream"], each["slot"]) for each in objects] == [("stdout", 0), ("stderr", 0)]
        assert server.gwctl("logs", "--name", "test", "--worker", "web.7").stdout == ""


def test_it_is_followed_over_a_rotation_until_an_interruption(gwctl_server) -> None:
    with gwctl_server("prints:application", log=FILE, **APP) as server:
        path = server.folder / "events.log"
        with (server.folder / "followed").open("w+b") as stdout:
            following = server.begin_gwctl("logs", "--name", "test", "-f", stdout=stdout)

            def followed() -> str:
                return (server.folder / "followed").read_text()

            try:
                until(lambda: "serving" in followed(), "what was there")
                path.rename(server.folder / "events.log.1")
                httpx.get(f"{server.url}/text?old")
                until(lambda: "stdout old" in followed(), "what came in the old file")
                server.signal(signal.SIGUSR1)
                server.wait_for_log("reopened the logs")
                httpx.get(f"{server.url}/text?new")
                until(lambda: "stdout new" in followed(), "what came in the new one")
                following.send_signal(signal.SIGINT)
                assert following.wait(30) == 130
            finally:
                following.kill()
                following.wait()


def test_a_master_that_runs_no_more_is_read_by_its_settings(gwctl_server) -> None:
    with gwctl_server("prints:application", log=FILE, **APP) as server:
        config = server.config
        name = server.gwctl("logs", "-c", str(config), "-n", "1")
        assert name.returncode == 0
        server.signal(signal.SIGTERM)
        until(lambda: server.status is not None, "the master to end")
        done = server.gwctl("logs", "-c", str(config), "-n", "1")
        assert done.returncode == 0
        assert "stopped in" in done.stdout


def test_where_else_it_is_is_said(gwctl_server) -> None:
    with gwctl_server("prints:application", **APP) as server:
        done = server.gwctl("logs", "--name", "test")
        assert done.returncode == 1
        said = r"the log goes to the stderr of pid \d+, the file \S+/stderr: tail -F \S+"
        assert re.search(said, done.stderr), done.stderr
        as_json = server.gwctl("logs", "--name", "test", "--json")
        assert json.loads(as_json.stdout)["ok"] is False


def test_without_master_and_settings_that_is_said(tmp_path) -> None:
    environ = {**os.environ, "RUNTIME_DIRECTORY": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "gwctl", "logs", "--name", "nobody"],
        cwd=tmp_path, env=environ, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "nobody" in done.stderr
