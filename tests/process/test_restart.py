"""`gwctl restart`: no two generations at once, and clients wait: none is refused, none is reset."""

from __future__ import annotations

import json
import signal
import subprocess

import httpx
import pytest

from tests.load.runner import Load
from tests.support.apps import write_shop
from tests.support.status import status_of
from tests.support.wait import until

ALONE = """
import fcntl, os, time

# Any number of workers of one version may run at once, and none of another.
VERSION = 'first'
FILE = open(os.path.join(os.path.dirname(__file__), 'version'), 'a+')
try:
    fcntl.flock(FILE, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    pass
else:
    FILE.truncate(0)
    FILE.write(VERSION)
    FILE.flush()
fcntl.flock(FILE, fcntl.LOCK_SH)
FILE.seek(0)
if FILE.read() != VERSION:
    raise RuntimeError('another version runs')

def application(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [VERSION.encode()]
"""


@pytest.fixture
def shop(tmp_path):
    return write_shop(tmp_path, ALONE)


def restart(server, *arguments):
    return server.gwctl("restart", *arguments, "--json", "-c", str(server.config))


def pids(server, name="web"):
    (pool,) = [pool for pool in status_of(server)["pools"] if pool["name"] == name]
    return {worker["pid"] for worker in pool["workers"]}


@pytest.mark.parametrize(
    "options", [{"worker": "sync"}, {"worker": "threads"}, {"worker": "sync", "preload": True}]
)
def test_under_load_no_connection_is_lost_and_no_two_versions_run(gwctl_server, shop, options):
    more = {"processes": 3, "timeouts": {"linger_s": 0.2}, "reload": {"settle_s": 0.2}}
    with gwctl_server("shop:application", chdir=shop, **more, **options) as server:
        with Load(server.url, connections=8) as load:
            load.wait_for_requests(50)
            for version in ("second", "third", "fourth"):
                (shop / "shop.py").write_text(ALONE.replace("first", version))
                result = restart(server)
                assert result.returncode == 0, result.stderr + result.stdout
                answer = json.loads(result.stdout)
                assert answer["unserved_s"]["web"] > 0
                assert httpx.get(server.url).text == version
                load.wait_for_requests(load.requests + 50)
        assert load.result.failures == {}, load.result
        server.wait_for_log(r"restarted as generation 4 in .*, no worker served for .*: web 3/3 ready")


def test_one_pool_and_no_other(gwctl_server, shop, tmp_path):
    other = {"app": "wsgi_bare:application", "bind": [f"unix:{tmp_path}/chat.sock"], "processes": 2}
    with gwctl_server("shop:application", chdir=shop, pools={"chat": other | chat_folder()}) as server:
        before, web = pids(server, "chat"), pids(server)
        assert restart(server, "web").returncode == 0
        assert pids(server, "chat") == before
        assert not pids(server) & web
        assert [pool["generation"] for pool in status_of(server)["pools"]] == [2, 1]


def chat_folder():
    from tests.support.server import APPS

    return {"chdir": str(APPS)}


def test_new_code_that_cannot_be_imported(gwctl_server, shop):
    """With the settings of before there is nothing to go back to: it is tried until it can be."""
    allowed = ["nowhere", "keeps dying"]
    with gwctl_server("shop:application", chdir=shop, allow_errors=allowed) as server:
        (shop / "shop.py").write_text("import nowhere\n")
        result = server.gwctl("restart", "-c", str(server.config))
        assert result.returncode == 1
        assert "a new worker of web failed: cannot import shop" in result.stderr
        assert "No module named 'nowhere'" in result.stderr
        assert status_of(server)["generation"] == 2
        (shop / "shop.py").write_text(ALONE)
        until(lambda: status_of(server)["pools"][0]["ready"] == 1, "the worker to be tried again")
        assert httpx.get(server.url).text == "first"


def test_settings_with_which_no_worker_boots_are_gone_back_from(gwctl_server, shop):
    source = ALONE.replace(
        "import fcntl", "import os\nif os.environ.get('BREAK'): raise RuntimeError('broken')\nimport fcntl"
    )
    (shop / "shop.py").write_text(source)
    with gwctl_server("shop:application", chdir=shop, allow_errors=["broken"], processes=2) as server:
        server.tables["pool"]["web"]["env"] = {"BREAK": "1"}
        server.write_config()
        result = restart(server)
        answer = json.loads(result.stdout)
        assert (result.returncode, answer["refused"], answer["phase"]) == (1, 2, "start")
        assert "RuntimeError: broken" in answer["traceback"]
        assert "have the settings of generation 1, and the code that is on disk" in answer["text"]
        until(lambda: status_of(server)["pools"][0]["ready"] == 2, "workers of generation 1")
        assert status_of(server)["generation"] == 1
        assert httpx.get(server.url).text == "first"


def test_nothing_happens_when_the_settings_are_wrong(gwctl_server, shop):
    with gwctl_server(
        "shop:application", chdir=shop, allow_errors=["generation 2 was not adopted"]
    ) as server:
        before = pids(server)
        server.tables["pool"]["web"]["threadz"] = 1
        server.write_config()
        assert restart(server).returncode == 1
        assert pids(server) == before
        assert httpx.get(server.url).text == "first"


SLOW_END = """
import time

def application(environ, start_response):
    if environ['PATH_INFO'] == '/slow':
        while not __import__('os').path.exists(environ['QUERY_STRING']):
            time.sleep(0.01)
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [b'done']
"""


class Held:
    """A worker that has a request until a file is there, and a restart that waits for it."""

    def __init__(self, server, shop):
        self.server, self.file = server, shop / "go"
        self.client = subprocess.Popen(
            ["curl", "-s", f"{server.url}/slow?{self.file}"], stdout=subprocess.PIPE
        )
        until(lambda: self.requests() == 1, "the request to be served")
        self.command = server.begin_gwctl("restart", "-c", str(server.config), stdout=subprocess.PIPE)
        until(lambda: (status_of(server)["reload"] or {}).get("phases") == {"web": "drain"}, "the drain")

    def requests(self):
        return sum(worker["active"] for worker in status_of(self.server)["pools"][0]["workers"])

    def let_go(self):
        self.file.touch()
        assert self.client.communicate(timeout=60)[0] == b"done"


@pytest.fixture
def slow(tmp_path):
    return write_shop(tmp_path, SLOW_END)


def test_the_command_is_interrupted_and_the_restart_goes_on(gwctl_server, slow):
    with gwctl_server("shop:application", chdir=slow, worker="sync") as server:
        held = Held(server, slow)
        held.command.send_signal(signal.SIGINT)
        assert held.command.wait(60) == 130
        held.let_go()
        server.wait_for_log(r"restarted as generation 2 in .*: web 1/1 ready")
        assert httpx.get(server.url).text == "done"


def test_clients_that_come_meanwhile_wait(gwctl_server, slow):
    with gwctl_server("shop:application", chdir=slow, worker="sync") as server:
        held = Held(server, slow)
        waiting = [subprocess.Popen(["curl", "-s", server.url], stdout=subprocess.PIPE) for _ in range(5)]
        until(lambda: status_of(server)["pools"][0]["backlog"] in {5, None}, "five in the backlog")
        assert status_of(server)["pools"][0]["ready"] == 0
        held.let_go()
        assert held.command.wait(60) == 0
        assert [each.communicate(timeout=60)[0] for each in waiting] == [b"done"] * 5


def test_a_stop_in_the_middle(gwctl_server, slow):
    with gwctl_server("shop:application", chdir=slow, worker="sync") as server:
        held = Held(server, slow)
        server.signal(signal.SIGTERM)
        assert held.command.wait(60) == 1
        held.let_go()
        assert server.wait_for_exit() == 0
        server.wait_for_log("stopped in .*; 0 requests cut")


def test_an_upgrade_waits_for_it(gwctl_server, slow):
    with gwctl_server("shop:application", chdir=slow, worker="sync", reload={"settle_s": 0.1}) as server:
        held = Held(server, slow)
        upgrade = server.begin_gwctl("upgrade", "-c", str(server.config), stdout=subprocess.PIPE)
        server.wait_for_log("upgrade .* waits for the reload under way")
        held.let_go()
        assert held.command.wait(60) == 0
        assert upgrade.wait(120) == 0
        server.wait_for_log("adopted generation 3 in")
