"""The benchmark harness reads, reckons and judges rightly: a figure that is wrong is worse than none."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

import pytest

from benchmarks import costs, memory, one_machine, peers, servers, startup
from benchmarks.checks import complain
from benchmarks.contenders import (
    CONTENDERS,
    KINDS,
    NGINX,
    Contender,
    Kind,
    Launch,
    everybody,
    gwctl,
)
from benchmarks.lifecycle import contenders as lifecycle_contenders
from benchmarks.lifecycle import site
from benchmarks.measure import CoreTimes, Sample, core_times, others_share, parse, wrk_command
from benchmarks.results import Results, summarise
from benchmarks.selection import named, packages, split
from benchmarks.tables import row, targets_table, workload_table
from benchmarks.targets import TARGETS, judge
from benchmarks.throughput import arguments, lacks, plan
from benchmarks.workloads import BY_NAME, COMPILED, ORDER, ORDER_ANSWER, QUICK, WORKLOADS, lua_string
from gwctl.config.load import load
from gwctl.config.model.settings import Settings

REPORT = """Running 1s test @ http://127.0.0.1:8000/
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   612.34us  120.11us   5.02ms   91.30%
    Req/Sec    52.13k     2.06k   54.92k    80.00%
  Latency Distribution
     50%  588.00us
     75%  640.00us
     90%  700.00us
     99%    1.12ms
  57021 requests in 1.10s, 7.83MB read
Requests/sec:  51838.63
Transfer/sec:      7.12MB
"""


HELLO = BY_NAME["hello"]


def samples(*rates: float) -> list[Sample]:
    return [Sample(rate, 1, 2, 0, requests_per_cpu_s=2 * rate) for rate in rates]


def found(**workloads: dict[str, list[Sample]]) -> Results:
    return Results(samples=workloads)


class TestReport:
    def test_a_clean_one(self) -> None:
        assert parse(REPORT) == Sample(51838.63, 0.588, 1.12, 0, 57021)

    def test_failures_are_counted(self) -> None:
        failed = "  Socket errors: connect 1, read 2, write 0, timeout 3\n  Non-2xx or 3xx responses: 40\nRequests/sec:"
        assert parse(REPORT.replace("Requests/sec:", failed)).failures == 46

    @pytest.mark.parametrize(("text", "value"), [("4.50s", 4500), ("1.02m", 61_200), ("80.00us", 0.08)])
    def test_units(self, text: str, value: float) -> None:
        assert parse(REPORT.replace("  1.12ms", text)).p99_ms == pytest.approx(value)

    def test_none_is_an_error(self) -> None:
        with pytest.raises(servers.ServerFailed):
            parse("unable to connect to 127.0.0.1:8000 Connection refused")


class TestDisturbance:
    STAT = "cpu  9 9 9 9 9 9 9 9 0 0\ncpu0 100 10 50 900 30 4 6 20 0 0\ncpu1 1 1 1 1 1 1 1 1 0 0\n"

    def test_a_core_is_read(self) -> None:
        assert core_times(0, self.STAT) == CoreTimes(processes=1.6, interrupts=0.1, stolen=0.2)

    def test_a_quiet_core(self) -> None:
        assert others_share(CoreTimes(1.9, 0.0, 0), own_s=1.9, wall_s=2) == 0

    def test_somebody_else(self) -> None:
        assert others_share(CoreTimes(1.9, 0.1, 0), own_s=0.9, wall_s=2) == pytest.approx(0.5)

    def test_interrupts_that_the_kernel_counts_as_ours(self) -> None:
        """Then we used more than the processes of the core had, and they are no disturbance."""
        assert others_share(CoreTimes(1.4, 0.6, 0), own_s=2.0, wall_s=2) == 0

    def test_the_hypervisor_counts(self) -> None:
        assert others_share(CoreTimes(1.0, 0.0, 1.0), own_s=1.0, wall_s=2) == pytest.approx(0.5)


class TestResults:
    def test_median_spread_and_the_sum_of_failures(self) -> None:
        summary = summarise([Sample(30, 1, 1, 2), Sample(10, 2, 9, 0), Sample(20, 3, 3, 1)])
        assert (summary.requests_per_s, summary.low, summary.high) == (20, 10, 30)
        assert (summary.p50_ms, summary.p99_ms, summary.failures) == (2, 3, 3)
        assert summary.spread == 1

    def test_the_fastest_comes_first(self) -> None:
        results = found(hello={"uvicorn": samples(5), "gwctl asgi": samples(9, 8, 7)})
        assert list(results.summaries("hello")) == ["gwctl asgi", "uvicorn"]

    def test_ratios_are_those_of_a_class(self) -> None:
        """And the limit, of which everybody has a share."""
        rates = {"gwctl asgi": 150, "uvicorn": 100, "bjoern": 75, "nginx return 200": 300}
        results = found(hello={name: samples(rate) for name, rate in rates.items()})
        assert results.ratios("hello") == {"gwctl asgi": {"nginx return 200": 0.5, "uvicorn": 1.5}}
        assert "gwctl asgi is 0.50 x nginx return 200; 1.50 x uvicorn" in workload_table(HELLO, results)

    def test_a_server_that_answers_wrongly_has_no_figure(self) -> None:
        """Also not one from a round before it was noticed."""
        results = found(hello={"bjoern": samples(5)})
        results.fail("hello", "bjoern", "status 500")
        assert results.rate("hello", "bjoern") is None
        assert "FAILING   status 500" in workload_table(HELLO, results)

    def test_a_missing_one_is_in_the_table(self) -> None:
        results = Results()
        results.miss("hello", "bjoern", "no ev.h")
        assert "missing   no ev.h" in workload_table(HELLO, results)

    def test_all_of_it_is_json(self) -> None:
        results = found(hello={"gwctl sync": samples(5)})
        document = json.loads(json.dumps(results.as_json()))
        assert document["hello"]["contenders"]["gwctl sync"]["median"]["requests_per_s"] == 5
        assert document["hello"]["contenders"]["gwctl sync"]["kind"] == "sync"

    def test_a_disturbed_row_says_so(self) -> None:
        assert row("x", summarise([Sample(1, 1, 1, 0, others=0.2)])).endswith("disturbed")
        assert not row("x", summarise([Sample(1, 1, 1, 0, others=0.01)])).endswith("disturbed")


class TestTargets:
    @pytest.mark.parametrize(
        ("rate", "word"), [(200, "goal reached"), (195, "met"), (169, "MISSED"), (170, "met")]
    )
    def test_the_word(self, rate: float, word: str) -> None:
        (verdict,) = [v for v in judge(self.asgi(rate)) if v.title == "gwctl asgi / uvicorn"]
        assert (verdict.word, verdict.ratio) == (word, rate / 100)

    @staticmethod
    def asgi(rate: float) -> Results:
        return found(hello={"gwctl asgi": samples(rate), "uvicorn": samples(100)})

    def test_no_verdict_without_both(self) -> None:
        verdicts = judge(found(hello={"gwctl sync": samples(5)}))
        assert {v.word for v in verdicts} == {"not measured"}

    def test_the_access_log_is_compared_with_the_same_server_without(self) -> None:
        results = found(hello={"gwctl sync": samples(100)}, log={"gwctl sync": samples(90)})
        (verdict,) = [v for v in judge(results) if v.title == "gwctl sync, access log on / off"]
        assert (verdict.ratio, verdict.word) == (0.9, "met")

    def test_a_view_is_compared_with_the_best_peer_of_its_class(self) -> None:
        rates = {"gwctl sync": samples(100), "bjoern": samples(80), "uwsgi": samples(101)}
        verdicts = judge(found(flask={**rates, "waitress": samples(500)}))
        (verdict,) = [v for v in verdicts if v.title.startswith("flask: gwctl sync")]
        assert (verdict.title, verdict.word) == ("flask: gwctl sync / uwsgi", "MISSED")

    def test_a_goal_alone_cannot_be_missed(self) -> None:
        results = found(hello={"gwctl sync": samples(100), "gwctl sync, Python parser": samples(50)})
        (verdict,) = [v for v in judge(results) if "Python" in v.title and v.ratio]
        assert verdict.word == "below the goal"

    def test_only_what_was_asked_for_is_judged(self) -> None:
        assert {v.target.workload for v in judge(found(log={"gwctl sync": samples(1)}))} == {"log"}

    def test_the_table(self) -> None:
        line = targets_table(judge(self.asgi(150))).splitlines()
        assert any(
            part.split() == ["gwctl", "asgi", "/", "uvicorn", "1.50", "1.50", "1.70", "2.00", "MISSED"]
            for part in line
        )

    def test_targets_name_contenders_and_workloads(self) -> None:
        names = {target.ours for target in TARGETS} | {other for t in TARGETS for other in t.others}
        assert names - set(COMPILED) <= set(everybody())
        assert {target.workload for target in TARGETS} <= set(BY_NAME)


class TestContenders:
    @pytest.mark.parametrize("access_log", [False, True])
    @pytest.mark.parametrize("kind", ["sync", "threads", "asgi"])
    def test_our_settings_are_valid(self, kind, access_log, tmp_path) -> None:
        import tomllib

        import msgspec

        launch = Launch("hello:wsgi", 8000, tmp_path, workers=2, access_log=access_log)
        command = gwctl(kind).command(launch)
        text = (tmp_path / "gw.toml").read_text()
        pool = msgspec.convert(tomllib.loads(text), Settings).pool["web"]
        assert command[-2:] == ["-c", str(tmp_path / "gw.toml")]
        assert (pool.worker, pool.processes, pool.threads) == (kind, 2, 8)
        assert pool.access_log == (str(tmp_path / "access.log") if access_log else "off")

    @pytest.mark.parametrize("contender", CONTENDERS, ids=lambda contender: contender.name)
    def test_every_place_of_a_command_is_filled(self, contender, tmp_path) -> None:
        for access_log in (False, True):
            command = contender.command(Launch("hello:wsgi", 8123, tmp_path, 3, access_log))
            written = " ".join([*command, *(path.read_text() for path in tmp_path.iterdir())])
            assert "8123" in written
            assert "{app}" not in written
            assert "{port}" not in written

    def test_an_access_log_is_asked_for_or_not(self, tmp_path) -> None:
        quiet = everybody()["uvicorn"].command(Launch("hello:asgi", 1, tmp_path))
        loud = everybody()["uvicorn"].command(Launch("hello:asgi", 1, tmp_path, access_log=True))
        assert "--no-access-log" in quiet
        assert "--no-access-log" not in loud

    def test_nginx_writes_into_its_folder_only(self, tmp_path) -> None:
        NGINX.command(Launch("", 8123, tmp_path))
        text = (tmp_path / "nginx.conf").read_text()
        paths = [word for line in text.splitlines() for word in line.split() if word.startswith("/")]
        assert {path for path in paths if not path.startswith(str(tmp_path))} == {"/"}  # location

    def test_peers_lists_name_contenders(self) -> None:
        listed = {name for workload in WORKLOADS for name in workload.few} | set(QUICK)
        assert listed - set(COMPILED) <= {contender.name for contender in CONTENDERS}
        assert {name.removesuffix(", compiled") for name in COMPILED} <= listed
        assert {package for c in CONTENDERS for package in c.packages} <= set(peers.REQUIREMENTS)

    def test_another_build_is_used_where_there_is_one(self, tmp_path, monkeypatch) -> None:
        """The interpreter named must import an engine that is not Python source."""
        from benchmarks import contenders

        python = tmp_path / "python"
        python.write_text("#!/bin/sh\necho /somewhere/http1.cpython-311.so\n")
        python.chmod(0o755)
        monkeypatch.setenv("GWCTL_BENCH_COMPILED", str(python))
        assert contenders.compiled() == str(python)
        python.write_text("#!/bin/sh\necho /somewhere/http1.py\n")
        assert contenders.compiled() is None

    def test_one_whose_program_is_not_there(self) -> None:
        contender = Contender("x", "sync", lambda _launch: ["/nonexistent/x"])
        with pytest.raises(servers.ServerFailed, match="cannot be started"), servers.running(contender):
            pytest.fail("it runs")

    def test_one_that_ends_at_once(self) -> None:
        """The last line of what it wrote says why."""
        contender = Contender(
            "x", "sync", lambda _launch: ["sh", "-c", "echo ok; echo no such app >&2; exit 3"]
        )
        with pytest.raises(servers.ServerFailed) as failed, servers.running(contender):
            pytest.fail("it runs")
        assert str(failed.value) == "ended with status 3: no such app"
        assert failed.value.output == "ok\nno such app\n"


class TestWorkloads:
    def test_a_browser_sends_ten_headers(self) -> None:
        headers = BY_NAME["browser"].headers
        assert len(headers) + 1 == 10  # Host comes from wrk
        assert "Cookie" in headers

    def test_the_posted_document_is_2_kib(self) -> None:
        assert 1900 < len(ORDER) < 2200
        import sys

        from benchmarks.tools import APPS

        sys.path.insert(0, str(APPS))
        try:
            from echo import answer
        finally:
            sys.path.remove(str(APPS))
        assert json.loads(answer(json.loads(ORDER))) == json.loads(ORDER_ANSWER)

    def test_strings_of_lua(self) -> None:
        assert lua_string('a"b\\c\r\n') == r'"a\"b\\c\r\n"'

    def test_the_script_has_method_headers_and_body(self) -> None:
        lines = BY_NAME["post"].lua().splitlines()
        assert lines[:2] == ['wrk.method = "POST"', 'wrk.headers["Content-Type"] = "application/json"']
        assert lines[2] == f"wrk.body = {lua_string(ORDER.decode())}"

    def test_a_plain_get_needs_no_script(self, tmp_path) -> None:
        assert BY_NAME["hello"].script(tmp_path) is None
        assert BY_NAME["flask"].script(tmp_path) is None

    def test_wrk_is_told_address_and_script(self, tmp_path, monkeypatch) -> None:
        monkeypatch.setattr("benchmarks.measure.need", lambda command, _package: command)
        monkeypatch.setattr("benchmarks.measure.cores", lambda: [4, 6])
        command = wrk_command(servers.Server(81, 1, tmp_path, 0.1), BY_NAME["post"])
        assert command[:3] == ["taskset", "-c", "6"]
        assert command[-3:] == ["-s", str(tmp_path / "post.lua"), "http://127.0.0.1:81/"]


class TestAnswers:
    def test_right(self) -> None:
        assert complain(HELLO, 200, "13", b"Hello, world!") == ""
        assert complain(HELLO, 200, None, b"Hello, world!") == ""

    @pytest.mark.parametrize(
        ("status", "length", "body", "words"),
        [
            (500, "13", b"Hello, world!", "status 500"),
            (200, "3", b"No.", "wrong body of 3 bytes (right: 13)"),
            (200, "14", b"Hello, world!", "Content-Length 14 with 13 bytes"),
        ],
    )
    def test_wrong(self, status: int, length: str, body: bytes, words: str) -> None:
        assert complain(HELLO, status, length, body) == words

    def test_json_may_be_spelled_otherwise(self) -> None:
        view = BY_NAME["flask"]
        assert complain(view, 200, None, b'{"q":"gnome",\n"item":42}') == ""
        assert complain(view, 200, None, b'{"q":"gnome"}').startswith("wrong body")
        assert complain(view, 200, None, b"<html>").startswith("wrong body")


class TestCommandLine:
    def test_everything_by_default(self) -> None:
        chosen = plan(arguments([]))
        assert [workload.name for workload in chosen] == list(BY_NAME)
        hello = [contender.name for contender in chosen[HELLO]]
        assert set(hello) == set(everybody())

    def test_quick(self) -> None:
        ((workload, contenders),) = plan(arguments(["--quick"])).items()
        assert workload.name == "hello"
        assert {contender.name for contender in contenders} == set(QUICK) & set(everybody())
        assert set(QUICK) - set(COMPILED) <= set(everybody())

    def test_who_has_no_access_log_is_not_asked_for_one(self) -> None:
        chosen = plan(arguments(["--all", "--workloads", "log"]))[BY_NAME["log"]]
        assert not {"bjoern", "waitress", "fastpysgi wsgi"} & {contender.name for contender in chosen}

    def test_interfaces_fit(self) -> None:
        chosen = plan(arguments(["--all", "--workloads", "fastapi"]))[BY_NAME["fastapi"]]
        assert {contender.kind for contender in chosen} == {"asgi"}

    def test_a_whole_name_means_that_one_only(self) -> None:
        assert named("gwctl sync", ["gwctl sync"])
        assert not named("gwctl sync, Python parser", ["gwctl sync"])
        assert named("gwctl sync, Python parser", ["Python"])

    def test_names_with_a_comma(self) -> None:
        assert split("granian wsgi, 8,bjoern") == ["granian wsgi, 8", "bjoern"]

    def test_an_unknown_workload(self, capsys) -> None:
        with pytest.raises(SystemExit):
            arguments(["--workloads", "hallo"])
        assert "no such workload: hallo" in capsys.readouterr().err


class TestPeers:
    def test_ours_need_no_peers(self) -> None:
        assert packages([gwctl("sync")]) == []
        assert peers.install([], ["Flask"]) == ({}, {})

    def test_frameworks_in_the_version_beside_gwctl(self) -> None:
        assert peers.framework_requirement("Flask") == f"Flask=={peers.own_versions()['flask']}"

    def test_an_environment_of_another_python_is_made_afresh(self, tmp_path) -> None:
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin" / "python").touch()
        (tmp_path / "pyvenv.cfg").write_text("home = /usr/bin\nversion = 3.11.7\n")
        assert peers.made_with(tmp_path, "3.11.7")
        assert not peers.made_with(tmp_path, "3.11")
        assert not peers.made_with(tmp_path / "none", "3.11.7")

    def test_the_compilers_complaint_says_most(self) -> None:
        text = "  note: x\n  bjoern/a.h:3:10: fatal error: ev.h: No such file\nERROR: Failed building wheel\n"
        assert peers.reason(text) == "bjoern/a.h:3:10: fatal error: ev.h: No such file"
        assert peers.reason("ERROR: No matching distribution\nx") == "No matching distribution"
        assert peers.reason("") == "pip failed"

    def test_who_lacks_what(self) -> None:
        bjoern, flask = everybody()["bjoern"], BY_NAME["flask"]
        assert lacks(bjoern, BY_NAME["hello"], {}) == ""
        assert lacks(bjoern, BY_NAME["hello"], {"bjoern": "no ev.h"}) == "no ev.h"
        assert lacks(bjoern, flask, {"Flask": "no network"}) == "no network"
        assert lacks(everybody()["gwctl sync"], flask, {"Flask": "no network"}) == ""
        assert lacks(NGINX, BY_NAME["hello"], {"nginx": "no nginx"}) == "no nginx"

    def test_ours_without_the_framework(self, monkeypatch) -> None:
        monkeypatch.setattr(peers, "own_versions", dict)
        assert lacks(gwctl("sync"), BY_NAME["flask"], {}) == "Flask is not installed beside gwctl"


class TestOtherTables:
    def test_sizes_are_read(self) -> None:
        text = "55d0-7ffd ---p 00000000 00:00 0 [rollup]\nRss:     20480 kB\nPss:      5120 kB\nPss_Dirty: 1 kB\n"
        assert memory.parse_size(text) == memory.Size(rss=20, pss=5)

    def test_workers_are_the_largest(self) -> None:
        """Resource trackers and the like are smaller, and count in the sum only."""
        sizes = [memory.Size(9, pss) for pss in (2.0, 20.0, 1.0, 22.0)]
        found = memory.arrange(memory.Size(15, 10), sizes, workers=2)
        assert [size.pss for size in found.workers] == [22, 20]
        assert (found.worker("pss"), found.sum_pss) == (21, 55)

    def test_a_server_without_workers(self) -> None:
        found = memory.arrange(memory.Size(15, 10), [], workers=0)
        assert found.worker("rss") is None
        assert memory.row("bjoern", found).split() == ["bjoern", "15.0", "10.0", "-", "-", "10.0"]

    def test_the_quickest_starts_the_table(self) -> None:
        lines = startup.table({"uvicorn": [0.6, 0.5, 0.9], "gwctl sync": [0.1]}).splitlines()
        assert lines[2].split() == ["*", "gwctl", "sync", "0.10", "0.10", "0.10"]
        assert lines[3].split() == ["uvicorn", "0.60", "0.50", "0.90"]


def test_a_worker_to_kill_is_never_everybody(monkeypatch, tmp_path):
    """0, which says that nobody answered in time, is all of our own group to kill(2)."""
    answers = iter([site.Seen(), site.Seen(), site.Seen("release 1", 4133)])
    monkeypatch.setattr(site, "ask", lambda _port, _timeout_s: next(answers))
    process = subprocess.Popen(["/bin/true"])
    process.wait()
    assert site.Site(lifecycle_contenders.CONTENDERS[0], tmp_path, 1, process).answering() == 4133
    monkeypatch.setattr(site, "ask", lambda _port, _timeout_s: site.Seen())
    monkeypatch.setattr(site, "START_TIMEOUT_S", 0.0)
    with pytest.raises(TimeoutError):
        site.Site(lifecycle_contenders.CONTENDERS[0], tmp_path, 1, process).answering()


class TestCosts:
    def test_of_each_round_that_round(self) -> None:
        """A machine that is slower for a while is so for both."""
        median, lower, upper = costs.costs([10, 20, 40, 10, 20], [12.5, 25, 50, 12.5, 25])
        assert median == pytest.approx(0.2)
        assert lower == pytest.approx(upper) == pytest.approx(0.2)

    def test_processor_time_of_processes(self) -> None:
        before = costs.cpu_clock_s([os.getpid()])
        assert before == pytest.approx(time.process_time(), abs=0.1)
        while costs.cpu_clock_s([os.getpid()]) == before:
            pass
        assert costs.cpu_clock_s([os.getpid()] * 2) > 2 * before

    @pytest.mark.parametrize("name", costs.VARIANTS)
    @pytest.mark.parametrize("kind", KINDS)
    def test_settings_are_ones_that_are_accepted(self, kind: Kind, name: str, tmp_path: Path) -> None:
        launch = Launch(f"hello:{'asgi' if kind == 'asgi' else 'wsgi'}", 8123, tmp_path)
        costs.variant(kind, costs.VARIANTS[name]).command(launch)
        settings = load(tmp_path / "gw.toml", environ={}, cwd=tmp_path).settings
        seen = costs.SEEN in costs.VARIANTS[name]
        assert (
            bool(settings.admin.bind)
            == bool(settings.statsd.to)
            == (settings.master.control != "off")
            == seen
        )
        assert (settings.pool["web"].access_log != "off") == name.startswith("access log")


def test_what_one_machine_is_worth() -> None:
    """Of requests for a second of processor time: the cores, at 70 % of them, in round numbers."""
    unit = one_machine.Unit("hello", "sync", 2, 31_234.5, 50_071.0, 0.61, 2.25)
    head, _, row = one_machine.lines([unit], 4)
    assert head.endswith("| 70% of 4 cores |")
    assert row == "| hello | sync | 2 | 31,234 | 50,071 | 0.61 | 2.2 | 140,200 |"
