"""`gwctl status` of a real master on a good day and on bad ones."""

from __future__ import annotations

import json
import os
import re
import signal
from typing import Any

from tests.support.status import status_of
from tests.support.wait import until

GOOD = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""
BOOT_WAITS = (
    """
import os, time
while os.path.exists("wait"):
    time.sleep(0.01)
"""
    + GOOD
)


def test_status_says_whether_all_is_well_and_why_not(gwctl_server, tmp_path):
    """Healthy, degraded by a reload that was refused, down, and served again by what is on disk."""
    code = tmp_path / "shop.py"
    code.write_text(GOOD)
    with gwctl_server(
        "shop:application",
        worker="sync",
        chdir=tmp_path,
        crash={"backoff_min_s": 0.2, "backoff_max_s": 0.2},
        reload={"settle_s": 0.05},
        allow_errors=["."],
        allow_kill=True,
    ) as server:

        def status(*arguments: str) -> tuple[int, str]:
            found = server.gwctl("status", "-c", str(server.config), *arguments)
            return found.returncode, found.stdout

        code_of, text = status()
        assert (code_of, text.split()[1]) == (0, "healthy")
        assert "restart" not in text
        code.write_text("raise RuntimeError('broken')\n")
        assert server.gwctl("reload", "-c", str(server.config)).returncode == 1
        code_of, text = status()
        assert code_of == 0
        assert re.fullmatch(
            r"  degraded: disk differs from what runs \(since \d\d:\d\d:\d\d\)", text.splitlines()[1]
        )
        assert re.search(
            r"^  last reload \S+: generation 2 was not adopted: web: .*\(gwctl reload\)$", text, re.MULTILINE
        )
        os.kill(server.workers[0], signal.SIGKILL)
        until(lambda: status_of(server)["pools"][0]["restarts"] >= 2, "the respawns to fail")
        code_of, text = status("--json")
        document = json.loads(text)
        assert (code_of, document["health"]) == (1, "down")
        assert document["health_reason"].startswith("web: 0 of 1 ready")
        code.write_text(GOOD)
        until(lambda: status_of(server)["pools"][0]["ready"] == 1, "it to serve again")
        code_of, text = status()
        assert (code_of, text.split()[1]) == (0, "degraded")
        assert "  degraded: disk differs from what runs, 1 worker runs it" in text
        assert "runs what is on disk" in text.splitlines()[-1]
        assert re.search(r"   \d+ restarts", text)
        worker = status_of(server)["pools"][0]["workers"][0]
        assert worker["from_disk"]
        assert 3 < worker["files"] < worker["files_max"]
        minute = status_of(server)["pools"][0]["minute"]
        assert 0 < minute["seconds"] < 66


SLOW = """
import os, time
from pathlib import Path
if Path("slow").exists():
    time.sleep(1)
if Path("broken").exists():
    raise RuntimeError("broken")
def application(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""


def test_a_reload_under_way_is_shown_with_its_phase(gwctl_server, tmp_path):
    (tmp_path / "app.py").write_text(BOOT_WAITS)
    with gwctl_server("app:application", worker="sync", chdir=tmp_path, reload={"settle_s": 0.0}) as server:

        def reload() -> dict[str, Any] | None:
            found: dict[str, Any] | None = status_of(server)["reload"]
            return found

        assert reload() is None
        (tmp_path / "wait").touch()
        server.signal(signal.SIGHUP)
        until(lambda: (reload() or {}).get("phases") == {"web": "boot"}, "it to boot")
        found = reload()
        assert found is not None
        assert (found["generation"], found["source"], found["rollback"]) == (2, "SIGHUP", False)
        text = server.gwctl("status", "-c", str(server.config)).stdout
        assert re.search(r"reloading to generation 2 for [\d.]+ m?s \(SIGHUP\): web boot", text), text
        (tmp_path / "wait").unlink()
        server.wait_for_log("adopted generation 2")
        assert reload() is None


def test_scale_ends_when_the_new_workers_are_ready_or_says_what_failed(gwctl_server, tmp_path):
    (tmp_path / "shop.py").write_text(SLOW)
    with gwctl_server(
        "shop:application",
        worker="sync",
        chdir=tmp_path,
        allow_errors=["broken"],
        crash={"backoff_min_s": 5.0},
    ) as server:

        def scale(change: str) -> tuple[int, str]:
            found = server.gwctl("scale", "web", change, "-c", str(server.config))
            return found.returncode, found.stdout + found.stderr

        (tmp_path / "slow").touch()
        assert scale("+2") == (0, "web: 1 -> 3 workers\n")
        pool = status_of(server)["pools"][0]
        assert (pool["ready"], pool["size"]) == (3, 3)
        assert scale("-2")[0] == 0
        (tmp_path / "broken").touch()
        code, text = scale("2")
        assert code == 1
        assert "web: 1 -> 2 workers, but 1 of 2 are ready: " in text
        assert "gwctl status and the log say more" in text

        assert scale("1")[0] == 0
