"""Lines as entries of the journal and messages of syslog: what they say, and that nobody is waited for."""

from __future__ import annotations

import datetime as dt
import errno
import json
import os
import re
import socket
import stat
import time
from pathlib import Path

import pytest

from gwctl.log import datagrams, destination, journal, syslog
from gwctl.log.datagrams import RETRY_S, Datagrams
from gwctl.log.event_log import Log
from gwctl.log.json_lines import Fault, More, Origin
from gwctl.log.level import Level
from gwctl.log.lines import QUEUE_LINES_MAX
from gwctl.records import AnyRecord
from gwctl.records.master import StartFailed
from gwctl.supervisor.history import History
from gwctl.supervisor.recorder import Recorder
from tests.support.datagrams import Reader, parse_entry
from tests.unit.records.examples import EXAMPLES

ORIGIN = Origin("shop", "web", 2, 3)
TRACEBACK = "  File \"x.py\", line 1\nKeyError: 'tax'\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "socket"


def log_to(to: str, **options: object) -> Log:
    return Log(to=to, subject="web.2 g3", origin=ORIGIN, **options)  # type: ignore[arg-type]


class TestJournal:
    def test_an_entry_has_a_priority_and_fields(self, path: Path) -> None:
        with Reader(path) as journald:
            log = log_to(f"journal:{path}")
            log.request_id = lambda: "9f86"
            log.warning("the disk is full")
            entry = journald.entry()
        assert abs(dt.datetime.fromisoformat(entry.pop("GWCTL_TIME")).timestamp() - time.time()) < 60
        assert entry == {
            "MESSAGE": "web.2 g3: the disk is full",
            "PRIORITY": "4",
            "SYSLOG_IDENTIFIER": "shop",
            "GWCTL_INSTANCE": "shop",
            "GWCTL_EVENT": "worker",
            "GWCTL_SUBJECT": "web.2 g3",
            "GWCTL_POOL": "web",
            "GWCTL_SLOT": "2",
            "GWCTL_GENERATION": "3",
            "GWCTL_PID": str(os.getpid()),
            "GWCTL_REQUEST_ID": "9f86",
        }

    def test_slot_0_is_one(self, path: Path) -> None:
        with Reader(path) as journald:
            Log(to=f"journal:{path}", origin=Origin("shop", "web", 0, 1)).info("x")
            assert journald.entry()["GWCTL_SLOT"] == "0"

    @pytest.mark.parametrize(
        ("level", "priority"),
        [(Level.DEBUG, "7"), (Level.INFO, "6"), (Level.WARNING, "4"), (Level.ERROR, "3")],
    )
    def test_priorities(self, path: Path, level: Level, priority: str) -> None:
        with Reader(path) as journald:
            log_to(f"journal:{path}", level=Level.DEBUG).write(level, "x")
            assert journald.entry()["PRIORITY"] == priority

    def test_what_an_application_calls_critical(self, path: Path) -> None:
        with Reader(path) as journald:
            log_to(f"journal:{path}").pass_on(Level.ERROR, "x", More("application", "shop.views", "critical"))
            entry = journald.entry()
        assert (entry["PRIORITY"], entry["LOGGER"], entry["GWCTL_EVENT"]) == (
            "2",
            "shop.views",
            "application",
        )

    def test_a_traceback_is_one_entry(self, path: Path) -> None:
        with Reader(path) as journald:
            log_to(f"journal:{path}").error("raised: KeyError", fault=Fault("KeyError", "'tax'", TRACEBACK))
            entry = journald.entry()
            assert journald.all() == []
        assert entry["MESSAGE"] == f"web.2 g3: raised: KeyError\n{TRACEBACK.rstrip()}"
        assert (entry["GWCTL_EXCEPTION_TYPE"], entry["GWCTL_EXCEPTION_MESSAGE"]) == ("KeyError", "'tax'")

    def test_a_record_has_its_figures(self, path: Path) -> None:
        with Reader(path) as journald:
            recorder = Recorder(log_to(f"journal:{path}"), History.of("shop"))
            recorder.write(StartFailed(reason="port in use", exit_status=2))
            entry = journald.entry()
        assert entry["GWCTL_EVENT"] == "start_failed"
        assert json.loads(entry["GWCTL_FIGURES"])["exit_status"] == 2
        assert entry["GWCTL_NUMBER"] == "1"

    def test_nothing_in_it_makes_a_field_or_steers_a_terminal(self, path: Path) -> None:
        with Reader(path) as journald:
            log_to(f"journal:{path}").error("GET /\n_UID=0\r\x1b]0;title\x07\udcff")
            entry = journald.entry()
        assert entry["MESSAGE"] == "web.2 g3: GET /\n_UID=0\\x0d\\x1b]0;title\\x07\\udcff"
        assert "_UID" not in entry

    def test_as_json_its_message_is_the_object(self, path: Path) -> None:
        with Reader(path) as journald:
            log_to(f"journal:{path}", json=True).error("two\nlines")
            entry = journald.entry()
        assert json.loads(entry["MESSAGE"])["text"] == "two\nlines"
        assert (entry["PRIORITY"], entry["GWCTL_SLOT"]) == ("3", "2")

    def test_what_is_too_long_for_a_datagram_is_a_file(self, path: Path) -> None:
        with Reader(path) as journald:
            log_to(f"journal:{path}").error("x" * 900_000)
            assert journald.entry()["MESSAGE"] == "web.2 g3: " + "x" * 900_000

    def test_stderr_is_the_journal_where_systemd_says_so(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        found = os.fstat(2)
        here = {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}
        monkeypatch.setattr(journal, "SOCKET", str(path))
        assert destination.settled("stderr", here) == "stderr", "nobody listens"
        with Reader(path):
            self._settled(here, found)

    def _settled(self, here: dict[str, str], found: os.stat_result) -> None:
        assert destination.settled("stderr", here) == "journal"
        for other in (
            {},
            {"JOURNAL_STREAM": f"{found.st_dev}:1"},
            {"JOURNAL_STREAM": "x"},
            {"JOURNAL_STREAM": ":"},
        ):
            assert destination.settled("stderr", other) == "stderr"
        assert destination.settled("syslog", here) == "syslog"
        assert destination.settled("/var/log/events", here) == "stderr"


class TestSyslog:
    def test_dev_log_gets_what_the_c_library_says(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Its readers take RFC 5424 for text."""
        monkeypatch.setattr(syslog, "SOCKET", str(path))
        with Reader(path) as syslogd:
            log_to("syslog").warning("the disk is full")
            message = syslogd.read().decode()
        form = (
            rf"<28>[A-Z][a-z]{{2}} [ \d]\d \d\d:\d\d:\d\d shop\[{os.getpid()}\]: web\.2 g3: the disk is full"
        )
        assert re.fullmatch(form, message)

    def test_dates_of_the_c_library(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TZ", "UTC")
        time.tzset()
        fields = {
            "time": "2026-03-01T23:04:05.678Z",
            "level": "critical",
            "subject": "web",
            "text": "x",
            "pid": 7,
        }
        assert syslog.local_message(fields, json=False) == b"<26>Mar  1 23:04:05 gwctl[7]: web: x"

    def test_times_are_of_the_zone_that_the_process_began_in(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Django sets TZ while it is imported."""
        monkeypatch.setattr(syslog, "SOCKET", str(path))
        monkeypatch.setenv("TZ", "UTC")
        time.tzset()
        with Reader(path) as syslogd:
            log = log_to("syslog")
            log.keep_time_zone()
            monkeypatch.setenv("TZ", "Asia/Tokyo")
            time.tzset()
            at = 1_772_406_245.0
            log.write(Level.INFO, "x", at=at)
            message = syslogd.read()
        monkeypatch.undo()
        time.tzset()
        assert b"Mar  1 23:04:05 shop[" in message

    def test_a_message_has_the_form_of_rfc_5424(self, path: Path) -> None:
        with Reader(path) as syslogd:
            log_to(f"syslog:{path}").error("raised: KeyError", fault=Fault("KeyError", "'tax'", TRACEBACK))
            message = syslogd.read().decode()
        head, text = message.split(" - ", 1)
        assert re.fullmatch(
            rf"<27>1 \d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{{6}}Z {re.escape(socket.gethostname())} shop {os.getpid()} worker",
            head,
        )
        assert text == f"web.2 g3: raised: KeyError\n{TRACEBACK.rstrip()}"

    def test_as_json(self, path: Path) -> None:
        with Reader(path) as syslogd:
            log_to(f"syslog:{path}", json=True).error("two\nlines")
            message = syslogd.read()
        assert json.loads(message.partition(b" - ")[2])["text"] == "two\nlines"
        assert message.count(b"\n") == 0

    @pytest.mark.parametrize("as_json", [False, True])
    def test_what_is_too_long_is_cut(self, path: Path, as_json: bool) -> None:
        with Reader(path) as syslogd:
            log_to(f"syslog:{path}", json=as_json).error("é" * 50_000)
            text = syslogd.read().partition(b" - ")[2]
        assert 2000 < len(text) <= 8000
        if as_json:
            assert json.loads(text)["cut"] is True
        else:
            assert text.decode().endswith("é...")

    def test_names_that_are_no_fields_of_a_header(self, path: Path) -> None:
        with Reader(path) as syslogd:
            Log(to=f"syslog:{path}", origin=Origin("my shop é")).info("x")
            assert " my_shop__ " in syslogd.read().decode()

    def test_over_udp(self) -> None:
        with Reader("127.0.0.1", timeout_s=10.0) as syslogd:
            log_to(f"syslog://127.0.0.1:{syslogd.port}").info("x")
            assert syslogd.read().endswith(b"web.2 g3: x")

    def test_over_udp_to_nobody(self) -> None:
        """Each second line learns that the one before it was refused, and is sent all the same."""
        with Reader("127.0.0.1") as syslogd:
            to = f"syslog://127.0.0.1:{syslogd.port}"
        log = log_to(to)
        for _ in range(10):
            log.info("x")
        assert log.waiting() == []


@pytest.mark.parametrize("record", EXAMPLES, ids=lambda record: type(record).__name__)
def test_each_kind_of_record_has_an_entry_and_a_message(record: AnyRecord, path: Path) -> None:
    it = History.of("shop").add(record)
    with Reader(path) as reader:
        for to in ("journal", "syslog"):
            Recorder(log_to(f"{to}:{path}", level=Level.DEBUG), History.of("shop")).write(record)
        entry, message = reader.entry(), reader.read().decode()
    assert (entry["GWCTL_EVENT"], entry["GWCTL_SUBJECT"]) == (it.kind, it.subject)
    assert entry["MESSAGE"].startswith(f"{it.subject}: {it.text[:20]}")
    assert f" {it.kind[:32]} - {it.subject}: " in message


class TestReaders:
    def test_one_that_is_restarted_misses_nothing(self, path: Path) -> None:
        now = 100.0
        log = log_to(f"syslog:{path}")
        log._sink = Datagrams("syslog", str(path), clock=lambda: now)
        log.info("before it is there")
        with Reader(path) as syslogd:
            log.info("too soon to try again")
            assert syslogd.all() == []
            now += RETRY_S
            log.flush()
            told = [line.rpartition(b"g3: ")[2] for line in syslogd.all()]
            assert told == [b"before it is there", b"too soon to try again"]
        path.unlink()
        log.info("while it is away")
        with Reader(path) as syslogd:
            now += RETRY_S
            log.info("and after")
            assert [line.rpartition(b"g3: ")[2] for line in syslogd.all()] == [
                b"while it is away",
                b"and after",
            ]

    def test_one_that_does_not_read_holds_nobody_up_and_is_told_how_much_was_lost(self, path: Path) -> None:
        with Reader(path) as journald:
            log = log_to(f"journal:{path}")
            sent = 0
            while not log.waiting():
                log.info(f"line {sent}")
                sent += 1
            for number in range(QUEUE_LINES_MAX + 50):
                log.info(f"line {sent + number}")
            assert len(log.waiting()) == QUEUE_LINES_MAX
            read = []
            while more := journald.all():
                read += more
                log.flush()
            log.info("after")
            read += journald.all()
        assert log.lost == 51
        assert len(read) == sent + QUEUE_LINES_MAX - 1 + 2
        assert b"(51 log lines were lost: the journal did not take them)" in read[-2]

    def test_a_socket_that_an_application_closed_is_not_taken_for_ours(
        self, path: Path, tmp_path: Path
    ) -> None:
        """Its number may be another file's by then, which gets no line and stays open."""
        with Reader(path) as syslogd:
            log = log_to(f"syslog:{path}")
            log.info("first")
            sink = log._sink
            assert isinstance(sink, Datagrams)
            assert sink._socket is not None
            number = sink._socket.fileno()
            os.close(number)
            theirs = os.open(tmp_path / "theirs", os.O_RDWR | os.O_CREAT)
            try:
                assert theirs == number
                log.info("second")
                assert os.fstat(theirs).st_size == 0
            finally:
                os.close(theirs)
            assert [line[-6:] for line in syslogd.all()] == [b" first", b"second"]

    @pytest.mark.parametrize("why", ["no memory files", "files may not be so large"])
    def test_a_line_that_cannot_be_sent_is_lost_alone(
        self, path: Path, why: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fails(*_arguments: object) -> int:
            raise PermissionError(errno.EACCES, "Permission denied")

        with Reader(path) as journald:
            log = log_to(f"journal:{path}")
            if why == "no memory files":
                monkeypatch.setattr(os, "memfd_create", fails)
            else:
                monkeypatch.setattr(datagrams, "seal", fails)
            log.info("x" * 900_000)
            log.info("small")
            found = [parse_entry(each)["MESSAGE"] for each in journald.all()]
        assert log.waiting() == []
        assert log.lost == 1
        assert found == [
            "web.2 g3: (1 log lines were lost: the journal did not take them)",
            "web.2 g3: small",
        ]

    def test_lines_that_another_program_left(self, path: Path) -> None:
        """Those for stderr are written there; those for a third place are lost, and counted."""
        read, write = os.pipe()
        with Reader(path) as syslogd:
            log = log_to(f"syslog:{path}", fd=write)
            log.resume([b"text\n"], "stderr")
            log.resume([b"an entry"], "journal")
            log.resume([b"a message"], f"syslog:{path}")
            log.flush()
            assert syslogd.all() == [b"a message"]
        os.close(write)
        assert os.read(read, 100) == b"text\n"
        os.close(read)
        assert log.lost == 1

    def test_its_descriptor_is_known(self, path: Path) -> None:
        with Reader(path):
            log = log_to(f"syslog:{path}")
            assert log.descriptor == -1
            log.info("x")
            assert stat.S_ISSOCK(os.fstat(log.descriptor).st_mode)
            log.close_in_child()
            assert log.descriptor == -1

    def test_who_is_not_there_is_named(self, path: Path) -> None:
        reason = "No such file or directory"
        for name, kind in (("the journal", "journal"), ("syslog", "syslog")):
            told = destination.unreachable(f"{kind}:{path}")
            assert told == f"{name} cannot be reached ({reason}): each process keeps 1000 lines until it can"
        with Reader(path):
            assert destination.unreachable(f"syslog:{path}") == ""
        assert destination.unreachable("stderr") == ""

    def test_who_takes_streams_is_told_apart(self, path: Path) -> None:
        with socket.socket(socket.AF_UNIX) as stream:
            stream.bind(str(path))
            told = destination.unreachable(f"syslog:{path}")
        assert told == "syslog takes a stream there, and gwctl sends datagrams: log lines are lost"


@pytest.mark.parametrize(
    ("to", "problem"),
    [
        ("stderr", ""),
        ("journal", ""),
        ("journal:/run/systemd/journal.shop/socket", ""),
        ("syslog", ""),
        ("syslog:/run/log", ""),
        ("syslog://127.0.0.1:514", ""),
        ("syslog://127.0.0.1", ""),
        ("syslog://[::1]:514", ""),
        ("syslog:run/log", "'run/log' is no path of a socket: it begins with /"),
        ("journal:", "'' is no path of a socket: it begins with /"),
        ("syslog://logs.example.org", "an IP address and a port: a name would have to be looked up"),
        ("syslog://127.0.0.1:99999", "an IP address and a port"),
        ("syslog://127.0.0.1:514/x", "an IP address and a port"),
        ("syslog://", "an IP address and a port"),
        ("syslog://127.0.0.1:0", "an IP address and a port"),
        ("syslog://[::1%lo]:514", "an IP address and a port"),
        ("syslog+tcp://127.0.0.1:514", "syslog+tcp:// is not spoken: syslog://ADDRESS:PORT is UDP"),
        ("tcp://127.0.0.1:514", "tcp:// is not spoken"),
    ],
)
def test_values_of_the_setting(to: str, problem: str) -> None:
    assert not destination.is_file(to)
    found = destination.problem(to)
    assert problem in found
    assert bool(problem) is bool(found)
