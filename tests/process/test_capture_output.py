"""`capture_output`: what workers print becomes lines of the event log, whoever in them prints, and whoever dies."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.apps.prints import FLOOD_LINE
from tests.support.processes import descriptors, look, session_of, status_field
from tests.support.server import GwctlServer
from tests.support.status import status_of
from tests.support.wait import pass_time, until

PRINTS = {"sync": "prints:application", "threads": "prints:application", "asgi": "prints:live"}
CAPTURED: dict[str, Any] = {"capture_output": True}
JSON = {"to": "events.log", "format": "json"}
PRELOAD = pytest.mark.parametrize("preload", [False, True], ids=["", "preload"])


def ask(server: GwctlServer, what: str, text: str = "") -> None:
    assert httpx.get(f"{server.url}/{what}?{text}", timeout=60).text == "ok"


def printed(server: GwctlServer) -> list[dict[str, Any]]:
    """Of a log that is JSON."""
    until(lambda: server.log.endswith("\n"), "the last line to be whole")
    lines = [json.loads(line) for line in server.log.splitlines()]
    return [line for line in lines if line["kind"] == "output"]


def worker_of(server: GwctlServer) -> int:
    (worker,) = status_of(server)["pools"][0]["workers"]
    return int(worker["pid"])


@PRELOAD
@pytest.mark.parametrize("worker", PRINTS)
def test_whatever_prints_is_in_the_log(gwctl_server, worker: str, preload: bool) -> None:
    """With its worker and stream; nothing of it is where the master's own streams go, but the access log is."""
    with gwctl_server(
        PRINTS[worker],
        worker=worker,
        preload=preload,
        access_log="stdout",
        allow_errors=["Traceback"],
        **CAPTURED,
    ) as server:
        who = "web g1" if preload else r"web\.0 g1"
        server.wait_for_log(rf"info  {who} stdout imported")
        for kind in ("text", "c", "child"):
            ask(server, kind, f"by-{kind}")
            server.wait_for_log(rf"info  web\.0 g1 stdout by-{kind}$")
        server.wait_for_log(r"info  web\.0 g1 stderr by-child$")
        ask(server, "err", "to-stderr")
        server.wait_for_log(r"info  web\.0 g1 stderr to-stderr$")
        ask(server, "bytes", b"\x1b[2J\xff\n".hex())
        server.wait_for_log(r"info  web\.0 g1 stdout \\x1b\[2J\\xff$")
        ask(server, "traceback", "tea")
        server.wait_for_log(
            r"error web\.0 g1 stderr Traceback \(most recent call last\):\n  .*\n(    .*\n)+  KeyError: 'tea'$"
        )
        ask(server, "open", "no-end")
        server.wait_for_log(r"info  web\.0 g1 stdout no-end$")
        until(lambda: server.output.count("HTTP/1.1") == 7, lambda: server.output)
        assert "\nby-" not in server.output


def test_json_has_the_fields(gwctl_server) -> None:
    with gwctl_server(PRINTS["sync"], worker="sync", log=JSON, allow_kill=True, **CAPTURED) as server:
        ask(server, "text", "tea")
        until(lambda: any(line["text"] == "tea" for line in printed(server)), "the line")
        line = printed(server)[-1]
        assert (line["pool"], line["slot"], line["generation"], line["stream"]) == ("web", 0, 1, "stdout")
        assert line["pid"] == worker_of(server)
        assert line["instance"] == "test"


def test_what_was_printed_before_an_import_failed_is_seen(gwctl_server) -> None:
    server = gwctl_server(PRINTS["sync"], worker="sync", environ={"PRINTS_IMPORT": "fail"}, **CAPTURED)
    try:
        server.start()
        until(lambda: server.status is not None, "the start to fail")
        lines = server.log
        assert re.search(
            r"info  web\.0 g1 stdout imported fail\n.*info  web\.0 g1 stdout about to fail$",
            lines,
            re.MULTILINE,
        )
        assert lines.index("about to fail") < lines.index("as told")
    finally:
        server.destroy()


@PRELOAD
def test_last_words_come_before_the_death(gwctl_server, preload: bool) -> None:
    with gwctl_server(
        PRINTS["sync"], worker="sync", preload=preload, allow_errors=["died"], **CAPTURED
    ) as server:
        with pytest.raises(httpx.HTTPError):
            ask(server, "die", "last-words")
        server.wait_for_log(r"web\.0 g1 +pid \d+ died: exit status 7")
        assert server.log.index("stdout last-words") < server.log.index("died: exit status 7")


def test_a_child_process_that_lives_on_is_heard(gwctl_server, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with gwctl_server(PRINTS["sync"], worker="sync", allow_errors=["died"], **CAPTURED) as server:
        ask(server, "stays", str(fifo))
        pid = worker_of(server)
        with pytest.raises(httpx.HTTPError):
            ask(server, "die", "gone")
        server.wait_for_log(rf"pid {pid} died")
        fifo.write_text("news\n")
        server.wait_for_log(r"info  web\.0 g1 stdout …?late news$")


def test_a_reload_changes_it_for_new_workers(gwctl_server) -> None:
    with gwctl_server(PRINTS["sync"], worker="sync", reload={"settle_s": 0.05}) as server:
        ask(server, "text", "plain-one")
        until(lambda: "plain-one" in server.output, "the text on stdout")
        for generation, captured in ((2, True), (3, False)):
            server.tables["pool"]["web"]["capture_output"] = captured
            server.write_config()
            assert server.gwctl("reload").returncode == 0
            ask(server, "text", f"text-{generation}")
        until(lambda: "text-3" in server.output, "the text on stdout")
        server.wait_for_log(r"web\.0 g2 stdout text-2$")
        assert "text-2" not in server.output
        assert "text-3" not in server.log


@PRELOAD
def test_an_upgrade_hands_over_pipes_and_what_was_read(gwctl_server, preload: bool) -> None:
    """No line is lost, and half a line goes on; the workers of before are heard as long as they live."""
    with gwctl_server(
        PRINTS["sync"],
        worker="sync",
        preload=preload,
        reload={"settle_s": 0.05},
        log=JSON,
        allow_kill=True,
        **CAPTURED,
    ) as server:
        before = len(descriptors(server.pid))
        pid = worker_of(server)
        numbers = iter(range(100_000))
        done = threading.Event()

        def go_on() -> None:
            while not done.is_set():
                ask(server, "text", f"line-{next(numbers)}")

        client = threading.Thread(target=go_on)
        client.start()
        server.signal(signal.SIGUSR2)
        until(lambda: '"generation":2' in server.log and "reload_adopted" in server.log, lambda: server.log)
        done.set()
        client.join()
        until(lambda: look(pid) is None, "the worker of before to go")
        count = next(numbers)
        expected = {f"line-{number}" for number in range(count)}
        until(lambda: expected <= {line["text"] for line in printed(server)}, "all lines")
        until(lambda: len(descriptors(server.pid)) == before, lambda: str(descriptors(server.pid)))


def test_an_idle_master_sleeps_as_without(gwctl_server) -> None:
    """Workers that print nothing wake nobody."""
    with gwctl_server(PRINTS["sync"], worker="sync", processes=2, **CAPTURED) as server:
        ask(server, "text", "tea")
        server.wait_for_log("stdout tea")

        def rests() -> bool:
            count = wakeups(server.pid)
            pass_time(1.0)
            return wakeups(server.pid) == count

        until(rests, "the master to come to rest")
        before = wakeups(server.pid)
        pass_time(5.0)
        assert wakeups(server.pid) - before <= 2


def wakeups(pid: int) -> int:
    return int(status_field(pid, "voluntary_ctxt_switches"))


def test_who_prints_without_end_waits_and_nobody_else(gwctl_server) -> None:
    """The other pool is served and heard meanwhile, the master answers, and in the end all of it is there."""
    lines = 40_000
    pools = {"live": {"app": "prints:live", "bind": ["127.0.0.1:0"], "processes": 1, **CAPTURED}}
    pools["live"]["chdir"] = str(Path(__file__).parents[1] / "apps")
    with gwctl_server(PRINTS["sync"], worker="sync", pools=pools, **CAPTURED) as server:
        other = re.search(r"live: 1 worker, (\S+)", server.log)
        assert other
        client = threading.Thread(target=ask, args=(server, "flood", str(lines)))
        client.start()
        server.wait_for_log(r"warn  web\.0 g1 +pid \d+ prints faster to stdout than is taken")
        assert httpx.get(f"{other[1]}/text?other").text == "ok"
        server.wait_for_log(r"live\.0 g1 stdout other$")
        assert status_of(server)["pools"]
        client.join()
        server.wait_for_log(rf"web\.0 g1 stdout {lines - 1} {FLOOD_LINE}$")
        assert len(re.findall(rf"stdout \d+ {FLOOD_LINE}$", server.log, re.MULTILINE)) == lines


@PRELOAD
@pytest.mark.parametrize("worker", PRINTS)
def test_who_waits_in_a_write_when_the_master_dies_goes_on(gwctl_server, worker: str, preload: bool) -> None:
    """The request is answered, nothing that was printed is lost, and the worker ends as others do."""
    lines = 30_000
    server = gwctl_server(PRINTS[worker], worker=worker, preload=preload, **CAPTURED)
    try:
        server.start()
        server.wait_until_serving()
        client = threading.Thread(target=ask, args=(server, "flood", str(lines)))
        client.start()
        server.wait_for_log(r"prints faster to stdout than is taken")
        os.kill(server.pid, signal.SIGKILL)
        client.join(60)
        assert not client.is_alive()
        until(lambda: not [each for each in session_of(server.pid) if not each.is_zombie], "all to end")
        everything = server.log + server.output
        found = {
            int(number) for number in re.findall(rf"^(?:.* )?…?(\d+) {FLOOD_LINE}$", everything, re.MULTILINE)
        }
        missing = sorted(set(range(lines)).difference(found))
        # What the master had in hand: read, or in its log and not yet taken by who reads that. And the line whose second
        # half went where stdout had gone before.
        runs = [number for number in missing if number - 1 not in missing]
        assert len(runs) <= 2, runs
        assert len(missing) <= lines // 10, len(missing)
    finally:
        server.destroy()


def test_a_child_process_goes_on_when_the_master_dies(gwctl_server, tmp_path: Path) -> None:
    """As long as the worker lives, which here finishes a request."""
    server = gwctl_server(PRINTS["threads"], worker="threads", **CAPTURED)
    fifo, other = tmp_path / "fifo", tmp_path / "other"
    os.mkfifo(fifo)
    os.mkfifo(other)
    try:
        server.start()
        server.wait_until_serving()
        ask(server, "stays", str(fifo))
        client = threading.Thread(target=ask, args=(server, "waits", str(other)))
        client.start()
        server.wait_for_log("stdout waiting")
        os.kill(server.pid, signal.SIGKILL)
        server.wait_for_log(r"the master \(pid \d+\) is gone")
        fifo.write_text("news\n")
        server.wait_for_log(r"info  web\.0 g1 stdout late news$")
        other.write_text("enough\n")
        client.join()
        until(lambda: "waited enough" in server.output, "what is printed afterwards where it went before")
    finally:
        server.destroy()


def test_flags_that_a_worker_sets_do_not_block_the_master(gwctl_server) -> None:
    """All descriptors that a worker has are set to block, and the master is idle: it must not wait for more."""
    with gwctl_server(PRINTS["sync"], worker="sync", **CAPTURED) as server:
        ask(server, "flags")
        for number in range(3):
            ask(server, "text", f"text-{number}")
            server.wait_for_log(f"stdout text-{number}$")
            assert status_of(server)["pools"]


@PRELOAD
def test_a_file_is_reopened_where_output_is_captured(gwctl_server, preload: bool) -> None:
    """By workers, too, whose stderr is a pipe."""
    log = {"to": "events.log"}
    with gwctl_server(
        "stray:application", worker="sync", preload=preload, log=log, allow_errors=[".*"], **CAPTURED
    ) as server:
        path, moved = server.folder / "events.log", server.folder / "events.log.1"
        path.rename(moved)
        server.signal(signal.SIGUSR1)
        server.wait_for_log("reopened the logs")
        until(
            lambda: all(
                path in {each.resolve() for each in Path(f"/proc/{pid}/fd").iterdir()}
                and moved not in {each.resolve() for each in Path(f"/proc/{pid}/fd").iterdir()}
                for pid in server.workers
            ),
            "all to have the new file",
        )
        assert httpx.get(server.url).text == "ok"
        server.wait_for_log(r"web\.0 g1 +shop: the application's own")
        assert "application's own" not in moved.read_text()
