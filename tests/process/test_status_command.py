"""`gwctl status` of a real master on a good day and on bad ones."""

from __future__ import annotations

import json
import os
import re
import signal

from tests.support.status import status_of
from tests.support.wait import until

GOOD = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""


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
        assert text.splitlines()[1] == "  degraded: disk differs from what runs"
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
