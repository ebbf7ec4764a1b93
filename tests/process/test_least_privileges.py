"""`[master] privileges`: what a master that is root keeps, and that all a reload may need is still possible."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import sys
from pathlib import Path

import httpx
import pytest

from tests.support.apps import write_shop
from tests.support.server import ROOT, GwctlServer
from tests.support.status import status_of
from tests.support.tls import Files, client_context
from tests.support.users import interpreter_for_others, readable_by_others
from tests.support.wait import until

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or "nobody" not in {entry.pw_name for entry in pwd.getpwall()},
    reason="it is about root, and a user called nobody",
)

APP = """
import subprocess

def application(environ, start_response):
    done = subprocess.run(["./id", "-u"], capture_output=True, text=True)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [done.stdout.strip().encode()]
"""
KEPT = {0, 1, 3, 5, 6, 7, 10}
"""chown, dac_override, fowner, kill, setgid, setuid, net_bind_service: linux/capability.h."""


@pytest.fixture
def of_others() -> dict[str, object]:
    if not readable_by_others(ROOT / "gwctl" / "__init__.py"):
        pytest.skip(f"another user may not read {ROOT}")
    python, environ = interpreter_for_others()
    if not Path(python).exists():
        pytest.skip(f"no interpreter of {sys.version_info[:2]} that another user could read")
    return {"command": (python, "-m", "gwctl"), "environ": environ, "chdir": Path.cwd()}


@pytest.fixture
def shop(public_folder: Path) -> Path:
    """With a program that is root's whoever runs it."""
    program = public_folder / "id"
    shutil.copy(str(shutil.which("id")), program)
    program.chmod(0o4755)
    return write_shop(public_folder, APP)


def held(pid: int, field: str) -> int:
    text = Path(f"/proc/{pid}/status").read_text("ascii")
    return int(text.partition(f"\n{field}:")[2].split()[0], 10 if field == "NoNewPrivs" else 16)


def capabilities(pid: int, field: str) -> set[int]:
    return {number for number in range(64) if held(pid, field) >> number & 1}


@pytest.mark.parametrize("privileges", ["all", "least"])
def test_a_setuid_program_of_the_application_is_root_or_nobody(gwctl_server, shop, of_others, privileges):
    """By default nothing changes for those who use sudo or ping."""
    of_others["chdir"] = shop
    master = {"privileges": privileges}
    with gwctl_server(
        "shop:application", worker="sync", bind="127.0.0.1:0", user="nobody", master=master, **of_others
    ) as server:
        least = privileges == "least"
        assert httpx.get(server.url).text == ("65534" if least else "0")
        (worker,) = server.workers
        assert (held(server.pid, "NoNewPrivs"), held(worker, "NoNewPrivs")) == (least, least)
        assert capabilities(worker, "CapEff") == set()
        if least:
            for field in ("CapBnd", "CapEff", "CapPrm"):
                assert capabilities(server.pid, field) <= KEPT
            server.wait_for_log(r"privileges: no program gains any; capabilities: chown, dac_override, ")
        else:
            assert capabilities(server.pid, "CapBnd") == capabilities(os.getpid(), "CapBnd")


def low_port() -> int:
    for port in range(600, 1000):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    pytest.skip("no port below 1024 is free")


def test_all_that_a_reload_needs_is_still_possible(gwctl_server, shop, of_others, tmp_path):
    """A port below 1024, a key of another user, sockets and logs in folders of others, and an upgrade."""
    of_others["chdir"] = shop
    files = Files(tmp_path, "127.0.0.2")
    os.chown(files.key, 12345, 12345)
    files.key.chmod(0o600)
    owned = shop / "owned"
    owned.mkdir(mode=0o700)
    os.chown(owned, 65534, 65534)
    options = {"worker": "sync", "bind": "127.0.0.1:0", "user": "nobody", "reload": {"settle_s": 0.05}}
    with gwctl_server("shop:application", master={"privileges": "least"}, **options, **of_others) as server:
        web = server.tables["pool"]["web"]
        port = low_port()
        web["bind"] = ["127.0.0.1:0", f"127.0.0.1:{port}", "tls:127.0.0.2:0", f"unix:{owned}/web.sock"]
        web["tls"] = {"certificate": str(files.certificate), "key": str(files.key)}
        web["access_log"] = str(owned / "access.log")
        web["socket_group"] = "12345"
        server.write_config()
        reply = server.gwctl("reload", "-c", str(server.config))
        assert reply.returncode == 0, reply
        assert httpx.get(f"http://127.0.0.1:{port}/").text == "65534"
        url = f"https://127.0.0.2:{_port_of(server)}"
        assert httpx.get(url, verify=client_context()).text == "65534"
        assert (owned / "web.sock").stat().st_gid == 12345
        before = set(server.workers)  # one, and perhaps the one that the reload replaced
        assert server.gwctl("upgrade", "-c", str(server.config)).returncode == 0
        until(lambda: before.isdisjoint(server.workers), "the workers of before to go")
        assert (held(server.pid, "NoNewPrivs"), capabilities(server.pid, "CapEff") <= KEPT) == (1, True)
        assert httpx.get(f"http://127.0.0.1:{port}/").text == "65534"
        server.tables["master"]["privileges"] = "all"
        server.write_config()
        assert server.gwctl("reload", "-c", str(server.config)).returncode == 0
        server.wait_for_log(r"master\.privileges has changed in the file")
        server.signal(signal.SIGINT)  # workers of another user are signalled
        assert server.wait_for_exit() == 0


def _port_of(server: GwctlServer) -> str:
    found = [url for pool in status_of(server)["pools"] for url in pool["urls"] if url.startswith("https://")]
    return str(found[0].rpartition(":")[2])
