"""Which event loop serves, what an application finds at import and may do to it, and patched threads."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.apps import write_shop
from tests.support.worker import StubWorker

WSGI = """
def application(environ, start_response):
    body = answer()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""
ASGI = """
async def application(scope, receive, send):
    assert scope["type"] == "http"
    body = answer()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})
"""
AT_IMPORT = {
    "uses it": "loop = asyncio.get_event_loop()\nloop.run_until_complete(asyncio.sleep(0))\n",
    "closes it": "loop = asyncio.get_event_loop()\nloop.close()\n",
    "runs one": "asyncio.run(asyncio.sleep(0))\n",
    "sets one": "asyncio.set_event_loop(asyncio.new_event_loop())\n",
    "unsets it": "asyncio.set_event_loop(None)\n",
    "sets a policy": "asyncio.set_event_loop_policy(asyncio.DefaultEventLoopPolicy())\n",
    "installs uvloop": "import uvloop, warnings\nwarnings.simplefilter('ignore')\nuvloop.install()\n",
}
ANSWER = "def answer():\n    return b'hello'\n"
LATER = """
async def soon():
    await asyncio.sleep(0.001)
    return b"hello"

def answer():
    return loop.run_until_complete(soon())
"""
PATCH = "import gevent.monkey\ngevent.monkey.patch_all()\nimport asyncio\n"


def serves(worker: StubWorker, said: str = "hello") -> None:
    with worker.serving():
        assert worker.get() == (200, said)
        assert worker.get() == (200, said)
        worker.send(t="drain", timeout_s=10)
        assert worker.exit_status() == 0


@pytest.mark.parametrize(
    ("interface", "worker_class", "what"),
    [("wsgi", "auto", what) for what in AT_IMPORT]
    + [("asgi", "auto", what) for what in AT_IMPORT]
    + [("wsgi", "sync", "unsets it"), ("wsgi", "threads", "closes it"), ("asgi", "threads", "closes it")]
    + [("asgi", "asgi", "closes it"), ("asgi", "sync", "sets a policy"), ("wsgi", "asgi", "unsets it")],
)
def test_what_an_import_does_to_event_loops_is_harmless(tmp_path, interface, worker_class, what):
    source = "import asyncio\n" + AT_IMPORT[what] + ANSWER + (WSGI if interface == "wsgi" else ASGI)
    serves(StubWorker(write_shop(tmp_path, source), "shop", worker=worker_class))


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@pytest.mark.parametrize("worker_class", ["auto", "sync"])
def test_a_wsgi_application_may_run_the_loop_of_its_import(tmp_path, worker_class, loop):
    """At import, and in each request: it is not the one that serves."""
    source = "import asyncio\n" + AT_IMPORT["uses it"] + LATER + WSGI
    serves(StubWorker(write_shop(tmp_path, source), "shop", worker=worker_class, loop=loop))


@pytest.mark.parametrize("worker_class", ["auto", "asgi"])
def test_the_loop_that_an_asgi_application_finds_at_import_serves(tmp_path, worker_class):
    source = (
        "import asyncio\nloop = asyncio.get_event_loop()\n"
        "def answer():\n    return str(loop is asyncio.get_running_loop()).encode()\n" + ASGI
    )
    serves(StubWorker(write_shop(tmp_path, source), "shop", worker=worker_class), "True")


@pytest.mark.parametrize("worker_class", ["auto", "sync", "threads", "asgi"])
@pytest.mark.parametrize(("loop", "module"), [("uvloop", "uvloop"), ("asyncio", "asyncio.unix_events")])
def test_the_setting_says_which_kind_of_loop_an_application_has(tmp_path, worker_class, loop, module):
    source = (
        "import asyncio\n"
        "def answer():\n    return type(asyncio.get_running_loop()).__module__.encode()\n" + ASGI
    )
    with StubWorker(write_shop(tmp_path, source), "shop", worker=worker_class, loop=loop).serving() as worker:
        assert worker.get() == (200, module)
        (ready,) = (each for each in worker.messages if each["t"] == "ready")
        assert ready["loop"].split()[0] == loop


NESTED = """
import asyncio

loop = asyncio.get_event_loop()
if not isinstance(loop, asyncio.BaseEventLoop):  # as nest_asyncio.apply() does
    raise ValueError("Can't patch loop of type %s" % type(loop))
"""


@pytest.mark.parametrize("worker_class", ["auto", "asgi"])
def test_an_application_that_patches_its_loop_wants_that_of_asyncio(tmp_path, worker_class):
    source = NESTED + ANSWER + ASGI
    with StubWorker(write_shop(tmp_path, source), "shop", worker=worker_class) as worker:
        assert 'With loop = "asyncio" the pool gets' in worker.expect("failed")["message"]
        assert worker.exit_status() == 4
    serves(StubWorker(write_shop(tmp_path, source), "shop", worker=worker_class, loop="asyncio"))


def patching(folder: Path, library: str) -> None:
    """A library that says it has patched everything; what it really does is not to be had in each environment."""
    package = folder / library
    package.mkdir()
    (package / "__init__.py").write_text("def monkey_patch():\n    from . import patcher\n")
    (package / "monkey.py").write_text(
        "def patch_all():\n    pass\ndef is_module_patched(name):\n    return name == 'threading'\n"
    )
    (package / "patcher.py").write_text("def is_monkey_patched(name):\n    return name == 'thread'\n")


@pytest.mark.parametrize("worker_class", ["threads", "asgi"])
def test_patched_threads_are_refused_with_what_to_do(tmp_path, worker_class):
    patching(tmp_path, "gevent")
    source = PATCH + ANSWER + WSGI
    with StubWorker(write_shop(tmp_path, source), "shop", worker=worker_class) as worker:
        failed = worker.expect("failed")
        assert failed["kind"] == "import"
        assert failed["message"].startswith("cannot serve shop:application: it patches the standard library")
        assert "set `worker` to sync" in failed["message"]
        assert worker.exit_status() == 4
        assert "nothing expects" not in worker.stderr


@pytest.mark.parametrize("worker_class", ["sync", "threads", "asgi"])
def test_patched_threads_under_an_asgi_application_are_refused(tmp_path, worker_class):
    patching(tmp_path, "gevent")
    with StubWorker(write_shop(tmp_path, PATCH + ANSWER + ASGI), "shop", worker=worker_class) as worker:
        assert "Take the patching out" in worker.expect("failed")["message"]
        assert worker.exit_status() == 4


@pytest.mark.parametrize("worker_class", ["auto", "sync"])
def test_what_gevent_has_patched_is_served_by_sync(tmp_path, worker_class):
    """Without a thread of ours beside it, which is said once."""
    patching(tmp_path, "gevent")
    worker = StubWorker(write_shop(tmp_path, PATCH + ANSWER + WSGI), "shop", worker=worker_class)
    serves(worker)
    assert worker.stderr.count("the application patches the standard library for gevent") == 1


@pytest.mark.parametrize("worker_class", ["sync", "threads", "asgi"])
def test_what_eventlet_has_patched_is_refused_everywhere(tmp_path, worker_class):
    patching(tmp_path, "eventlet")
    source = "import eventlet\neventlet.monkey_patch()\n" + ANSWER + WSGI
    with StubWorker(write_shop(tmp_path, source), "shop", worker=worker_class) as worker:
        message = worker.expect("failed")["message"]
        assert "eventlet (eventlet.monkey_patch())" in message
        assert "set `worker`" not in message
        assert worker.exit_status() == 4


def test_what_gevent_has_patched_is_not_preloaded(gwctl_server, tmp_path):
    patching(tmp_path, "gevent")
    source = PATCH + ANSWER + WSGI
    server = gwctl_server(
        "shop:application",
        chdir=write_shop(tmp_path, source),
        worker="sync",
        preload=True,
        allow_errors=["."],
    )
    try:
        server.start()
        assert server.wait_for_exit() == 4
        assert "set `preload` to false" in server.log
    finally:
        server.destroy()
