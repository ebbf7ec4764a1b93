"""What Python writes of exceptions that nobody took says which worker it is from."""

from __future__ import annotations

import re

import httpx
import pytest

from tests.support.server import APPS
from tests.tidy.checks import ROOT

HOOKED = """
import logging, sys, threading
logging.basicConfig(format="mine: %(message)s")
threading.excepthook = lambda args: print("my thread hook", file=sys.stderr, flush=True)
sys.unraisablehook = lambda args: print("my other hook", file=sys.stderr, flush=True)
from stray import live
"""


@pytest.mark.parametrize("preload", [False, True], ids=["", "preload"])
@pytest.mark.parametrize("worker", ["sync", "threads", "asgi"])
def test_tracebacks_carry_their_worker(gwctl_server, worker, preload):
    app = "stray:live" if worker == "asgi" else "stray:application"
    with gwctl_server(
        app, worker=worker, preload=preload, allow_errors=["xception in", "never retrieved"]
    ) as server:
        assert httpx.get(server.url).text == "ok"
        expected = ["a thread", "a destructor", *(["a callback", "a task"] if worker == "asgi" else [])]
        for where in expected:
            server.wait_for_log(rf"^  ValueError: in {where}$")
        server.wait_for_log(r"warn  web\.0 g1   shop: the application's own$")
        log = server.log
    records = re.split(r"^(?=\d\d:\d\d:\d\d\.\d{3} )", log, flags=re.MULTILINE)
    for where in expected:
        (record,) = [each for each in records if f"ValueError: in {where}" in each]
        level = "warn " if where == "a destructor" else "error"
        assert re.match(rf"\S+ {level} web\.0 g1 ", record), record
        assert re.search(r'^ +File ".*stray\.py", line \d+, in \w+$', record, re.MULTILINE), record
    assert "Traceback (most" not in log
    assert re.search(r"error web\.0 g1 +exception in thread stray$", log, re.MULTILINE)


def test_hooks_and_handlers_of_the_application_stay(gwctl_server, tmp_path):
    (tmp_path / "hooked.py").write_text(HOOKED)
    with gwctl_server("hooked:live", worker="asgi", chdir=tmp_path, pythonpath=[str(APPS)]) as server:
        assert httpx.get(server.url).text == "ok"
        for text in (
            "my thread hook",
            "my other hook",
            "mine: the application's own",
            "mine: Exception in callback",
        ):
            server.wait_for_log(text)
        assert "error web.0" not in server.log


def test_lines_that_clients_cause_are_not_one_each():
    """Kept by the code: every place that says that a client took nothing says it through `ThrottledLog`."""
    for path in sorted((ROOT / "workers").rglob("*.py")):
        text = path.read_text("utf-8")
        for found in re.finditer(r"took no byte", text):
            before = text[: found.start()].rsplit("\n\n", 1)[-1]
            if ".warning(" in before:
                assert "throttled.warning(" in before, path.name
