"""Variables that a C library reads once: they take effect in workers all the same, or are told of."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

SLACK = Path("/proc/self/timerslack_ns")
APP = """
import locale, time
AT_IMPORT = time.strftime("%z")

def text():
    kind = locale.setlocale(locale.LC_CTYPE)
    return f"{AT_IMPORT} {time.strftime('%z')} {time.tzname[0]} {kind}".encode()

def wsgi(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [text()]

async def asgi(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": text()})
"""


@pytest.mark.parametrize("preload", [False, True], ids=["", "preload"])
def test_the_clock_and_the_locale_of_a_pool(gwctl_server, tmp_path, preload):
    """By env and by env_file, at the import and in requests, in all classes; another pool has the master's."""
    (tmp_path / "clock.py").write_text(APP)
    (tmp_path / "variables").write_text("TZ=XYZ-5:30\nLC_ALL=C\n")
    by_file = {"env_file": str(tmp_path / "variables")}
    pools = {
        "web": {"worker": "sync", "env": {"TZ": "XYZ-5:30", "LC_ALL": "C"}},
        "threads": {"worker": "threads", **by_file},
        "asgi": {"worker": "asgi", **by_file, "env": {"TZ": "ABC+3"}},
        "other": {"worker": "sync", "env": {"PYTHONHASHSEED": "1"}},
    }
    for number, (pool, table) in enumerate(pools.items(), 1):
        app = "clock:asgi" if pool == "asgi" else "clock:wsgi"
        table |= {"app": app, "bind": [f"127.0.0.{number}:0"], "processes": 1, "preload": preload}
        table["chdir"] = tmp_path if pool == "web" else str(tmp_path)
    web = pools.pop("web")
    environ = {"TZ": "UTC", "LC_ALL": "C.UTF-8"}
    with gwctl_server(web.pop("app"), pools=pools, environ=environ, **web) as server:
        said = {
            name: httpx.get(server.wait_for_log(rf"{name}: 1 worker, (\S+)$")[1]).text
            for name in ("web", *pools)
        }
        assert said == {
            "web": "+0530 +0530 XYZ C",
            "threads": "+0530 +0530 XYZ C",
            "asgi": "-0300 -0300 ABC C",
            "other": "+0000 +0000 UTC C.UTF-8",
        }
        server.wait_for_log(
            "warn  master +pool.other: PYTHONHASHSEED in env or env_file: read when a program starts"
        )


@pytest.mark.skipif(not SLACK.exists(), reason="the kernel tells of no timer slack")
@pytest.mark.parametrize("preload", [False, True])
@pytest.mark.parametrize("worker", ["sync", "threads", "asgi"])
def test_timers_are_exact_in_every_thread_of_an_application(gwctl_server, tmp_path, worker, preload):
    (tmp_path / "timers.py").write_text(
        "import threading\n"
        "def application(environ, start_response):\n"
        "    with open(f'/proc/{threading.get_native_id()}/timerslack_ns') as file:\n"
        "        slack = file.read().encode()\n"
        "    start_response('200 OK', [])\n"
        "    return [slack]\n"
    )
    with gwctl_server("timers:application", worker=worker, chdir=tmp_path, preload=preload) as server:
        assert httpx.get(server.url).text == "1000\n"
        assert Path(f"/proc/{server.pid}/timerslack_ns").read_text() == "50000\n", "the master may be late"
