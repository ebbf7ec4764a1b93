"""`gwctl reload web`: one pool has a new generation, and nobody else notices."""

from __future__ import annotations

import json

import httpx
import pytest

from tests.load.runner import Load
from tests.support.apps import write_shop
from tests.support.status import status_of

GOOD = """
def application(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [b'first']
"""
SETTLE_S = 0.2


@pytest.fixture
def shop(tmp_path):
    return write_shop(tmp_path, GOOD)


def chat(shop, **more):
    table = {"app": "shop:application", "chdir": str(shop), "bind": [f"unix:{shop}/chat.sock"]}
    return {**table, "processes": 2, "reload": {"settle_s": SETTLE_S}, **more}


def pids(server, name):
    (pool,) = [pool for pool in status_of(server)["pools"] if pool["name"] == name]
    return [worker["pid"] for worker in pool["workers"] if worker["state"] == "ready"]


def reload(server, *pools):
    result = server.gwctl("reload", *pools, "--json", "-c", str(server.config))
    return json.loads(result.stdout)


def ask_chat(shop):
    with httpx.Client(transport=httpx.HTTPTransport(uds=f"{shop}/chat.sock")) as client:
        return client.get("http://chat/").text


def test_it_changes_its_pool_and_no_other(gwctl_server, shop):
    options = {"chdir": shop, "processes": 2, "reload": {"settle_s": SETTLE_S}, "master": {"keep_s": 600}}
    with gwctl_server("shop:application", pools={"chat": chat(shop)}, **options) as server:
        before = pids(server, "chat")
        (shop / "shop.py").write_text(GOOD.replace("first", "second"))
        server.tables["pool"]["web"]["processes"] = 3
        server.tables["pool"]["chat"] |= {"processes": 1, "backlog": 99}
        server.write_config()
        with Load(server.url, connections=4) as load:
            answer = reload(server, "web")
            load.wait_for_requests(20)
        assert load.result.failures == {}, load.result
        assert answer["text"].splitlines()[0].startswith("adopted generation 2 of web in ")
        assert answer["not_applied"] == ["pool chat (2 settings)"]
        assert pids(server, "chat") == before
        assert httpx.get(server.url).text == "second"
        assert ask_chat(shop) == "first"
        status = status_of(server)
        assert {pool["name"]: (pool["generation"], pool["size"]) for pool in status["pools"]} == {
            "web": (2, 3),
            "chat": (1, 2),
        }
        assert status["kept"]["workers"] == {"web": 2}
        differences = server.gwctl("config", "diff", "-c", str(server.config)).stdout
        assert "pool.chat.processes" in differences
        assert "pool.web" not in differences
        result = server.gwctl("rollback", "-c", str(server.config))
        assert result.returncode == 0, result.stderr
        assert httpx.get(server.url).text == "first"
        assert pids(server, "chat") == before
        answer = reload(server)
        assert answer["pools"] == ["web", "chat"]
        assert "not_applied" not in answer
        assert len(pids(server, "chat")) == 1
        server.wait_for_log(r"reload of web \(gwctl reload web")


def test_a_broken_one_is_refused_and_the_others_are_as_before(gwctl_server, shop):
    options = {
        "chdir": shop,
        "reload": {"settle_s": SETTLE_S},
        "allow_errors": ["generation 2 was not adopted"],
    }
    with gwctl_server("shop:application", pools={"chat": chat(shop)}, **options) as server:
        before = pids(server, "chat")
        (shop / "shop.py").write_text("import nowhere\n")
        result = server.gwctl("reload", "web", "-c", str(server.config))
        assert result.returncode == 1
        assert "No module named 'nowhere'" in result.stderr
        (web, other) = status_of(server)["pools"]
        assert (web["generation"], other["generation"]) == (1, 1)
        assert pids(server, "chat") == before
        assert httpx.get(server.url).text == "first"


def test_names_that_are_none(gwctl_server, shop):
    with gwctl_server("shop:application", chdir=shop) as server:
        result = server.gwctl("reload", "wbe", "-c", str(server.config))
        assert result.returncode == 1
        assert "no pool named 'wbe'; there is: web. Did you mean web?" in result.stderr
        assert status_of(server)["health"] == "healthy"
        result = server.gwctl("reload", "a b", "-c", str(server.config))
        assert result.returncode == 2
        assert "'a b' cannot be the name of a pool" in result.stderr


def test_a_pool_comes_and_goes_by_its_name(gwctl_server, shop):
    with gwctl_server("shop:application", chdir=shop, reload={"settle_s": SETTLE_S}) as server:
        before = pids(server, "web")
        server.tables["pool"]["chat"] = chat(shop)
        server.write_config()
        assert reload(server, "chat")["pools"] == ["chat"]
        assert ask_chat(shop) == "first"
        del server.tables["pool"]["chat"]
        server.write_config()
        assert "chat is no longer served" in reload(server, "chat")["text"]
        assert not (shop / "chat.sock").exists()
        assert pids(server, "web") == before
