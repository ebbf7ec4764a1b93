"""`gwctl top` in a real terminal, of a real master and of scripted ones; and without a terminal."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import msgspec
import pytest

from gwctl.control.metrics import MasterMetrics
from gwctl.control.status import to_json_ready
from tests.support import scripted_master, started
from tests.support.invented_status import master, pool, worker
from tests.support.processes import wait_until_stopped
from tests.support.screen import Screen
from tests.support.started import GWCTL
from tests.support.wait import DEADLINE_S, until

TOP = ("top", "--interval", "0.2")
ENTERED, LEFT = b"\x1b[?1049h", b"\x1b[?1049l"
EVIL = "GET /\x1b]0;owned\x07\x1b[2J\x9b31m\u202e HTTP/1.1"

APP = """
import os, time
def application(environ, start_response):
    while environ["PATH_INFO"] == "/slow" and not os.path.exists("done"):
        time.sleep(0.05)
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""


@contextlib.contextmanager
def scripted(path: Path, **script: object) -> Iterator[started.Started]:
    """A master that answers from a script."""
    workers = [
        worker(slot, requests=5, active=int(slot == 3), request=EVIL if slot == 3 else "")
        for slot in range(64)
    ]
    metrics = {"ok": True, "text": "", "result": _metrics()}
    answers = {
        "status": to_json_ready(master(pool(*workers, size=64, ready=64))),
        "metrics": [metrics],
        "requests": [{"ok": True, "text": "", "result": {"workers": []}}],
        "dump": [{"ok": True, "text": f"web.3 stands here\n{EVIL}"}],
        "recycle": [{"ok": False, "text": "a reload runs"}],
    }
    process = scripted_master.start(path, answers | script)
    try:
        yield process
    finally:
        process.kill()
        process.communicate(DEADLINE_S)


def _metrics() -> object:
    return msgspec.to_builtins(MasterMetrics("shop", "0.2.0", 4120, 1.0, 2, "serving", "healthy"))


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "run" / "shop.sock"
    path.parent.mkdir()
    with scripted(path):
        yield path


@contextlib.contextmanager
def screen_of(path: Path, columns: int = 80, rows: int = 24, **environ: str) -> Iterator[Screen]:
    with Screen([*TOP, "--control", str(path)], os.environ | environ, columns, rows) as screen:
        screen.wait_for("64/64 ready")
        yield screen


def assert_restored(screen: Screen) -> None:
    assert screen.settings == screen.before
    assert screen.has_cursor
    assert screen.raw.rfind(LEFT) > screen.raw.rfind(ENTERED) >= 0


def test_a_master_that_serves(gwctl_server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it serves, stacks and profile of a worker, its events, and recycling one after a question."""
    (tmp_path / "shop.py").write_text(APP)
    monkeypatch.chdir(tmp_path)  # the flame graph is written there
    with (
        gwctl_server("shop:application", worker="threads", threads=4, processes=2, chdir=tmp_path) as server,
        Screen([*TOP, "-c", str(server.config)], server.environ, columns=160) as screen,
    ):
        screen.wait_for("2/2 ready")
        with httpx.Client(timeout=0.5) as client, contextlib.suppress(httpx.TimeoutException):
            client.get(f"{server.url}/slow?token=secret")
        screen.wait_for("GET /slow?")
        assert "secret" not in screen.text
        screen.press("/slow\r")
        screen.wait_for("filter: slow")
        screen.wait_for("1 of 2 shown")
        screen.press("\x1b[B")
        screen.wait_for(">  ")
        screen.press("d")
        screen.wait_for('shop.py", line 5 in application')
        screen.press("\x1b")
        screen.wait_for("sort: slot")
        screen.press("p")
        screen.wait_for("for 10 s ...")
        screen.wait_for("application (shop.py:5)")
        screen.wait_for("open it in a browser")
        (tmp_path / "done").touch()
        screen.press("\x1b")
        screen.wait_for("sort: slot")
        screen.press("e")
        screen.wait_for("serving: web 2/2 ready")
        server.signal(signal.SIGHUP)
        screen.wait_for("adopted generation 2")
        screen.press("q")
        screen.wait_for("generation 2  ")
        screen.press("\x1b")
        screen.wait_for("filter: slow", gone=True)
        screen.press("\x1b[F")
        screen.wait_for("> ")
        before = set(server.workers)
        screen.press("R")
        screen.wait_for("by a new worker? It finishes what it serves.  y / n")
        screen.press("y")
        until(lambda: set(server.workers) - before, "a worker to be replaced")
        screen.press("q")
        assert screen.wait_for_end() == 0
        assert_restored(screen)


def test_a_master_that_is_upgraded(gwctl_server) -> None:
    """It goes on with the same workers, and that is said."""
    with (
        gwctl_server("wsgi_bare:application", worker="sync", reload={"settle_s": 0.05}) as server,
        Screen([*TOP, "-c", str(server.config)], server.environ) as screen,
    ):
        screen.wait_for("1/1 ready")
        assert server.gwctl("upgrade", "-c", str(server.config)).returncode == 0
        screen.wait_for("the master was upgraded: gwctl")
        screen.wait_for("generation 2  healthy")
        screen.press("q")
        assert screen.wait_for_end() == 0
        assert_restored(screen)


def test_sixty_four_workers_and_other_sizes(path: Path) -> None:
    with screen_of(path) as screen:
        until(lambda: screen.read() or len(screen.lines[-1]) == 80, "all of the first picture")
        screen.wait_for("1-19 of 64 workers")
        screen.press("\x1b[F")
        screen.wait_for(">   63")
        screen.resize(120, 40)
        screen.wait_for(">   63     4196")
        screen.wait_for_last_line("s sort: slot")
        screen.resize(40, 8)
        screen.wait_for("of 64 workers")
        screen.wait_for(">   63")
        screen.press("q")
        assert screen.wait_for_end() == 0
        assert_restored(screen)


def test_what_clients_ask_for_does_not_control_the_terminal(path: Path) -> None:
    with screen_of(path) as screen:
        screen.wait_for(r"GET /\x1b]0;owned")
        screen.press("\x1b[B" * 4 + "d")
        screen.wait_for("web.3 stands here")
        for evil in (b"\x07", b"\x1b]", b"\xc2\x9b", b"\xe2\x80\xae"):
            assert evil not in screen.raw


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, -15), (signal.SIGHUP, -1), (signal.SIGINT, 130)]
)
def test_signals_give_the_terminal_back(path: Path, number: int, status: int) -> None:
    with screen_of(path) as screen:
        screen.process.send_signal(number)
        assert screen.wait_for_end() == status
        assert_restored(screen)
        assert "Traceback" not in screen.text


def test_a_window_that_is_closed(path: Path) -> None:
    with screen_of(path) as screen:
        screen.close_window()
        assert screen.process.wait(DEADLINE_S) == -signal.SIGHUP


def test_ctrl_c(path: Path) -> None:
    with screen_of(path) as screen:
        screen.press("\x03")
        assert screen.wait_for_end() == 130
        assert_restored(screen)


def test_stopped_and_continued(path: Path) -> None:
    """By SIGSTOP, which nobody hears of: it is drawn anew."""
    with screen_of(path) as screen:
        screen.process.send_signal(signal.SIGSTOP)
        wait_until_stopped(screen.process.pid)
        screen.process.send_signal(signal.SIGCONT)
        screen.press("\x1b[B")
        screen.wait_for(">    0")
        screen.press("q")
        assert screen.wait_for_end() == 0
        assert_restored(screen)


JOB = """
import os, signal, subprocess, sys, termios
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
child = subprocess.Popen(sys.argv[1:], process_group=0, preexec_fn=lambda: signal.signal(signal.SIGTTOU, signal.SIG_DFL))
while True:
    os.tcsetpgrp(0, child.pid)
    os.kill(-child.pid, signal.SIGCONT)
    _, status = os.waitpid(child.pid, os.WUNTRACED)
    os.tcsetpgrp(0, os.getpgrp())
    if not os.WIFSTOPPED(status):
        sys.exit(os.waitstatus_to_exitcode(status))
    echo = bool(termios.tcgetattr(0)[3] & termios.ECHO)
    print(f"stopped, echo {echo}", flush=True)
    sys.stdin.readline()
"""


def test_ctrl_z_under_a_shell(path: Path) -> None:
    """And back: drawn anew, with keys as they are pressed."""
    job = [sys.executable, "-c", JOB, *GWCTL]
    with Screen([*TOP, "--control", str(path)], os.environ, command=job) as screen:
        screen.wait_for("64/64 ready")
        screen.press("\x1a")
        screen.wait_for("stopped, echo True")
        assert screen.raw.rfind(LEFT) > screen.raw.rfind(ENTERED)
        assert screen.has_cursor
        screen.press("\r")
        screen.wait_for("64/64 ready")
        screen.wait_for("stopped", gone=True)
        screen.press("\x1b[B")
        screen.wait_for(">    0")
        screen.press("q")
        assert screen.wait_for_end() == 0
        assert_restored(screen)


def test_an_answer_that_is_none_is_told_and_lived_with(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    with (
        scripted(path, status={"name": 1}),
        Screen([*TOP, "--control", str(path)], os.environ) as screen,
    ):
        screen.wait_for("is not understood")
        screen.press("q")
        assert screen.wait_for_end() == 0
        assert_restored(screen)


def test_a_master_that_goes_away_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    with contextlib.ExitStack() as stack:
        process = stack.enter_context(scripted(path))
        with screen_of(path) as screen:
            process.kill()
            screen.wait_for("the master went away")
            screen.wait_for("master away")
            assert "64/64 ready" in screen.text, "what was known of it stays"
            path.unlink()
            other = {"status": to_json_ready(master(pool(worker(0)), pid=77))}
            stack.enter_context(scripted(path, **other))
            screen.wait_for("another master than before: pid 77")
            screen.wait_for("4/4 ready")
            screen.press("q")
            assert screen.wait_for_end() == 0


def test_a_master_that_hangs_is_told(path: Path, tmp_path: Path) -> None:
    with scripted(tmp_path / "x.sock") as process, screen_of(tmp_path / "x.sock") as screen:
        process.send_signal(signal.SIGSTOP)
        screen.wait_for("the master has not answered for")
        process.send_signal(signal.SIGCONT)
        screen.wait_for("has not answered", gone=True)
        screen.press("R")
        screen.wait_for("choose a worker first")
        screen.press("\x1b[BRy")
        screen.wait_for("web.0 stays: a reload runs")


def test_colours_are_left_out_on_request(path: Path) -> None:
    with screen_of(path, NO_COLOR="1") as screen:
        screen.wait_for("GET /")
        assert not re.search(rb"\x1b\[0;3\dm", screen.raw)


# ---- without a terminal


def top(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return started.run(
        ["top", *arguments],
        environ={**os.environ, "PYTHONPATH": str(started.ROOT), **environ},
        cwd=Path.cwd(),
    )


def test_once(path: Path) -> None:
    found = top("--once", "--control", str(path), PYTHONIOENCODING="utf-8")
    assert (found.returncode, found.stderr) == (0, "")
    lines = found.stdout.splitlines()
    assert lines[2].startswith("web  64/64 ready  busy ▁")
    assert len(lines) == 4 + 64, "all of them"
    assert "\x1b" not in found.stdout
    assert r"GET /\x1b]0;owned" in found.stdout


def test_once_as_json(path: Path) -> None:
    found = top("--once", "--json", "--control", str(path))
    document = json.loads(found.stdout)
    assert (document["name"], document["health"], len(document["pools"][0]["workers"])) == (
        "shop",
        "serving",
        64,
    )
    assert found.stdout.count("\n") == 1


def test_nobody_to_be_asked(tmp_path: Path) -> None:
    found = top("--control", str(tmp_path / "nobody.sock"))
    assert (found.returncode, found.stderr) == (1, f"no master runs at {tmp_path}/nobody.sock\n")
    found = top("--json", "--control", str(tmp_path / "nobody.sock"))
    assert (found.returncode, json.loads(found.stdout)["ok"]) == (1, False)


@pytest.mark.parametrize("how", [("--json",), ()])
def test_it_goes_on_until_nobody_reads(path: Path, how: tuple[str, ...]) -> None:
    command = [*GWCTL, *TOP, *how, "--control", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        lines = [process.stdout.readline() for _ in range(3 if how else 150)]
        assert all(lines)
        assert b"\x1b" not in b"".join(lines)
        process.stdout.close()
        assert process.wait(DEADLINE_S) == 0
        assert process.stderr.read() == b""


def test_a_dumb_terminal_has_text(path: Path) -> None:
    with Screen([*TOP, "--control", str(path)], os.environ | {"TERM": "dumb"}) as screen:
        screen.wait_for("63  ready")  # the last row: the first may have scrolled away
        assert b"\x1b" not in screen.raw
        screen.press("\x03")
        assert screen.wait_for_end() == 130


def test_a_pipe_is_told_when_the_master_goes(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    with scripted(path) as master_process:
        command = [*GWCTL, *TOP, "--json", "--control", str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            master_process.kill()
            told = {}
            while "ok" not in told:
                told = json.loads(process.stdout.readline())
            assert told["ok"] is False
            assert told["text"].startswith("the master went away")
            process.kill()
