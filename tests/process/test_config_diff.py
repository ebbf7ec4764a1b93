"""`gwctl config diff` of a real master: what it says, and that nothing comes of it."""

from __future__ import annotations

import json
import signal

from tests.support.apps import BARE
from tests.support.processes import descriptors, listening_sockets
from tests.support.wait import until


def test_differences_mistakes_and_a_reload(gwctl_server, tmp_path):
    """The master reads, with its own variables; what a reload has adopted is no difference any more."""
    with gwctl_server(
        BARE["sync"],
        worker="sync",
        environ={"GWCTL_POOL_WEB_BACKLOG": "77"},
        reload={"settle_s": 0.05},
    ) as server:

        def diff(*arguments: str) -> tuple[int, str, str]:
            found = server.gwctl("config", "diff", "-c", str(server.config), *arguments)
            return found.returncode, found.stdout, found.stderr

        code, text, _ = diff()
        assert (code, "says what generation 1 of" in text) == (0, True), text
        before = server.config.read_text("utf-8")
        held, listening = set(descriptors(server.pid).values()), listening_sockets(server.pid)
        folder = sorted(path.name for path in server.config.parent.iterdir())
        live = '[pool.live]\napp = "wsgi_bare:application"\nbind = ["127.0.0.1:0"]\naccess_log = "live.log"\n'
        server.config.write_text(f"{before}\n{live}")
        code, text, errors = diff()
        assert code == 1, errors
        assert "pool.live" in text
        document = json.loads(diff("--json")[1])
        assert (document["ok"], document["differences"][-1]["name"]) == (True, "pool.live")
        assert listening_sockets(server.pid) == listening

        def more() -> set[str]:
            """Also the connection of a command that has just ended, until the master sees that it has."""
            return set(descriptors(server.pid).values()) - held

        until(lambda: not more(), lambda: f"nothing to be open any more of {more()}")
        assert sorted(path.name for path in server.config.parent.iterdir()) == folder, "no file is made"
        server.config.write_text(before.replace("[pool.web]", "[pool.web]\nworkers = 4\nthreadz = 2"))
        code, text, errors = diff()
        assert (code, text) == (2, "")
        assert "workers = 4: no such setting" in errors
        assert "threadz = 2: no such setting" in errors
        assert errors.endswith("2 problems; a reload would be refused, and changes nothing\n")
        code, text, _ = diff("--json")
        assert (code, json.loads(text)["ok"], len(json.loads(text)["problems"])) == (2, False, 2)
        server.config.write_text(before.replace("[pool.web]", "[pool.web]\nconnections_max = 500"))
        assert diff()[0] == 1
        server.signal(signal.SIGHUP)
        server.wait_for_log(r"adopted generation 2\b")
        assert diff()[0] == 0


def test_no_master(gwctl_server, tmp_path):
    with gwctl_server(BARE["sync"], worker="sync") as server:
        found = server.gwctl("config", "diff", "--control", str(tmp_path / "nobody.sock"))
        assert (found.returncode, "no master runs at" in found.stderr) == (1, True)
