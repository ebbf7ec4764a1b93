"""Records: each can be made into JSON and back, has a sentence, and is explained where one can do something."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import get_args

import msgspec
import pytest

from gwctl.records import AnyRecord
from gwctl.records.base import TEMPLATE, Process, Record, Strength
from gwctl.records.master import (
    AccessLogNotReopened,
    AccessLogsReopened,
    BindRetried,
    ControlFolderShared,
    ControlRefused,
    InvariantBroken,
    ListenerDamaged,
    MasterGaveUp,
    MasterStarted,
    MasterStopped,
    NoControlSocket,
    PoolConfigured,
    PoolsServe,
    StartFailed,
    StopBegun,
    StopDrains,
    StopPlan,
    StopWaits,
    SystemdUnreachable,
    WaitedFor,
)
from gwctl.records.reloads import (
    GenerationReleased,
    GenerationUnreadable,
    Keeping,
    MasterUpgraded,
    NoProgramCopy,
    PoolScaled,
    ProgramChanged,
    ReloadAdopted,
    ReloadBegun,
    ReloadIgnored,
    ReloadRefused,
    ReloadWaits,
    RestartNeeded,
    RollbackRefused,
    SettingsWarning,
    Standing,
    UpgradeChecking,
    UpgradeFailed,
    UpgradeGivenUp,
    UpgradeRefused,
    UpgradeWaits,
)
from gwctl.records.report import ProcessReport, TaskReport, ThreadReport
from gwctl.records.sentences import kinds, sentence
from gwctl.records.workers import (
    ChannelBroken,
    ChannelClosed,
    ChannelLost,
    Death,
    ForkUnanswered,
    KeptWorkerDied,
    NoPidfd,
    RecyclingPostponed,
    Retry,
    ScoreboardDoubted,
    SlotKeepsDying,
    SlotRecovered,
    SpawnFailed,
    StartedWhileDegraded,
    TemplateEnded,
    TemplateFailed,
    WorkerBooting,
    WorkerDied,
    WorkerDraining,
    WorkerDrains,
    WorkerEndedEarly,
    WorkerEndedUnasked,
    WorkerFailed,
    WorkerFinished,
    WorkerGone,
    WorkerKilled,
    WorkerLeft,
    WorkerReady,
    WorkerRecovered,
    WorkerReplaced,
    WorkerUnreaped,
)
from tests.tidy.checks import ROOT

WEB = Process("web", 1, 3, 4134)
TEMPLATE_OF_WEB = Process("web", TEMPLATE, 3, 4130)
POOLS = (Strength("web", 3, 4), Strength("live", 2, 2))
TRACE = '  File "/srv/shop/views.py", line 12, in <module>\nImportError: no "tax_rate"; ünïcode \x1b\n'
TIMEOUT = "request timeout: POST /checkout has run 30 s (limit 30 s)"
REPORT = ProcessReport(
    up_s=1020.0,
    requests=10_233,
    memory_bytes=74 << 20,
    under_way=3,
    request="GET /export",
    request_s=31.5,
    kernel_state="S",
    waits_in="do_epoll_wait",
    threads=(
        ThreadReport(
            (1 << 63) - 1, "pool-3", main=False, request="GET /a", request_s=2.0, frames=("File a",)
        ),
        ThreadReport(1, "", main=True, frames=("File b", "File c")),
    ),
    idle_threads=5,
    tasks=(TaskReport("Task-7", "GET /b", 1.0, ("File d",)), TaskReport("Task-8")),
    more_tasks=2,
    truncated=True,
)

EXAMPLES: tuple[AnyRecord, ...] = (
    # workers
    WorkerBooting(process=WEB, stage="import"),
    WorkerReady(
        process=WEB, worker_class="threads", boot_s=0.42, import_s=0.39, memory_bytes=58 << 20, parser="C"
    ),
    SpawnFailed(process=WEB, reason="the process was refused", retry=Retry(0.5, 1)),
    StartedWhileDegraded(process=WEB),
    ForkUnanswered(process=WEB, waited_s=10.0),
    WorkerDied(process=WEB, death=Death(1, ready_s=0.8), retry=Retry(4.0, 3, 20.0), traceback=TRACE),
    WorkerFailed(process=WEB, kind="lost", reason="did not end within 3 s", retry=Retry()),
    WorkerLeft(process=WEB, serving="GET /", retry=Retry()),
    WorkerGone(process=WEB, retry=Retry(held="when the reload is decided")),
    WorkerDrains(process=WEB, reason="told by somebody else", retry=Retry()),
    WorkerDraining(process=WEB, requests=2, connections=31),
    WorkerFinished(process=WEB, took_s=1.25),
    WorkerEndedEarly(process=WEB, status=-9, cause="killed by the kernel", state="draining", took_s=3.0),
    WorkerUnreaped(process=WEB, waited_s=10.0),
    WorkerKilled(process=WEB, reason=TIMEOUT, report=REPORT),
    WorkerRecovered(process=WEB, reason=TIMEOUT, report=REPORT),
    WorkerEndedUnasked(process=WEB, reason=TIMEOUT, report=REPORT),
    KeptWorkerDied(process=WEB, reason="pid 4134 died: exit status 1", left=1, size=2, traceback=TRACE),
    TemplateFailed(
        process=TEMPLATE_OF_WEB, reason="was not ready within 60 s", died=False, retry=Retry(0.5, 1)
    ),
    TemplateEnded(process=TEMPLATE_OF_WEB, how="killed", from_disk=True),
    WorkerReplaced(process=WEB, reason="has served 10,000 requests (limit 10,000)"),
    RecyclingPostponed(process=WEB, reason="has served for 26.5 h (limit 24 h)"),
    SlotKeepsDying(pool="web", slot=2, deaths=5, within_s=90.0, retry_s=60.0, ready=3, size=4),
    SlotRecovered(pool="web", slot=2, ready_s=30.0, ready=4, size=4),
    ChannelBroken(process=WEB, reason="no message"),
    ChannelClosed(process=WEB),
    ChannelLost(process=WEB, reason="No space left on device"),
    NoPidfd(process=WEB, reason="Too many open files"),
    ScoreboardDoubted(process=WEB, doubt="its heartbeat is in the future"),
    # reloads
    ReloadIgnored(source="SIGHUP", reason="the fleet is stopping"),
    ReloadWaits(source="SIGHUP"),
    ReloadBegun(source="gwctl reload", generation=3, previous=2),
    ReloadAdopted(
        source="gwctl reload",
        generation=3,
        previous=2,
        took_s=3.9,
        pools=POOLS,
        missing=POOLS[:1],
        keeping=Keeping(2, 0.0, ("127.0.0.1:8001 of web",)),
    ),
    ReloadRefused(
        source="gwctl reload",
        generation=3,
        pool="web",
        phase="boot",
        kind="import",
        reason="cannot import shop.wsgi",
        traceback=TRACE,
        standing=Standing(2, POOLS, disk_differs=True, forked_alike=True),
    ),
    RollbackRefused(source="gwctl rollback", reason="a reload is under way"),
    GenerationReleased(generation=1, reason="it was kept for 5 min"),
    PoolScaled(pool="web", was=2, size=1, asked=-1, held="disk differs from what runs"),
    SettingsWarning(text="/srv/log is a link: whoever put it there would choose where gwctl writes"),
    RestartNeeded(setting="master.control"),
    UpgradeRefused(source="SIGUSR2", reason="the fleet is stopping"),
    UpgradeWaits(source="SIGUSR2"),
    UpgradeChecking(source="SIGUSR2"),
    UpgradeFailed(source="SIGUSR2", reason="the check of the program on disk ended with status 1\nmore"),
    UpgradeGivenUp(source="SIGUSR2"),
    MasterUpgraded(source="gwctl upgrade", was="gwctl 0.1.0", to="gwctl 0.2.0", took_s=0.21, workers=4),
    ProgramChanged(installed="0.3.0", runs="0.2.0"),
    NoProgramCopy(reason="Too many open files"),
    GenerationUnreadable(generation=3, problem="/etc/shop.pem: No such file or directory"),
    # the master
    MasterStarted(instance="shop", version="0.2.0", pid=4120, python="3.12.1", config="gw.toml"),
    PoolConfigured(pool="web", processes=4, why="4 CPUs by affinity", urls=("http://127.0.0.1:8000",)),
    BindRetried(reason="127.0.0.1:80: Address already in use", retry_s=5.0),
    StartFailed(reason="not enough memory: RLIMIT_DATA is 1 MiB", exit_status=3),
    PoolsServe(pools=POOLS, took_s=0.45),
    StopBegun(source="SIGTERM", plan=StopPlan("accept", 4, 1, accept_s=5.0, finish_s=30.0, gone_s=33.0)),
    StopDrains(plan=StopPlan("drain", 1, finish_s=30.0, gone_s=33.0)),
    StopWaits(
        waits_for=(WaitedFor(WEB, "draining", 3.0, 1, 2, "did not finish within 5 s of draining", 41.0),),
        more=2,
    ),
    MasterStopped(took_s=2.9, cut=1, killed=1, templates_killed=1),
    MasterGaveUp(exit_status=4, reason="cannot import shop", traceback=TRACE),
    InvariantBroken(rule="two workers hold slot 1 of web g3"),
    NoControlSocket(reason="Permission denied"),
    ControlFolderShared(
        warning="group www may write in /run/gwctl, and replace the control socket: chmod it to 700"
    ),
    ControlRefused(pid=77, uid=1001, owner_uid=33, count=12),
    SystemdUnreachable(reason="Connection refused"),
    ListenerDamaged(
        pool="web", address="http://127.0.0.1:8000", damage="shut_down", mended=False, reason="in use"
    ),
    AccessLogsReopened(files=2, workers=4),
    AccessLogNotReopened(reason="cannot write the access log /var/log/shop: it is a socket"),
)
BY_KIND = pytest.mark.parametrize("record", EXAMPLES, ids=lambda record: type(record).__name__)
KINDS = frozenset(get_args(AnyRecord))


def written_down(base: type[Record] = Record) -> Iterator[type[Record]]:
    """Every class of a record that nothing is derived from."""
    for kind in base.__subclasses__():
        yield from written_down(kind) if kind.__subclasses__() else [kind]


def test_each_kind_has_an_example_a_sentence_and_its_place_in_the_union() -> None:
    assert set(written_down()) == KINDS
    assert kinds() == KINDS
    assert [type(record) for record in EXAMPLES].count(WorkerReady) == 1
    assert {type(record) for record in EXAMPLES} == KINDS


@BY_KIND
def test_json_and_back(record: AnyRecord) -> None:
    text = msgspec.json.encode(record)
    assert msgspec.json.decode(text, type=AnyRecord) == record
    plain = msgspec.json.decode(text)
    assert plain["level"] == record.level
    assert plain["record"] == re.sub(r"(?<!^)(?=[A-Z])", "_", type(record).__name__).lower()


@BY_KIND
def test_what_another_version_does_not_know_is_ignored(record: AnyRecord) -> None:
    plain = msgspec.json.decode(msgspec.json.encode(record)) | {"from_the_future": 1}
    assert msgspec.convert(plain, type=AnyRecord) == record


@BY_KIND
def test_the_sentence(record: AnyRecord) -> None:
    """It is whole without the subject, which stands before it, and says nothing twice."""
    text = sentence(record)
    first = text.splitlines()[0]
    assert len(first) > 10
    assert not first.endswith((" ", ":", ","))
    assert "  " not in first
    assert "None" not in text
    assert record.subject


def test_a_record_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        EXAMPLES[0].level = "error"  # type: ignore[misc]


def test_subjects() -> None:
    """As the log has always had them: a template's lines are its pool's."""
    assert WorkerGone(process=WEB, retry=Retry()).subject == "web.1 g3"
    assert StartedWhileDegraded(process=TEMPLATE_OF_WEB).subject == "web g3"
    assert SlotRecovered(pool="web", slot=2, ready_s=30.0, ready=4, size=4).subject == "web"
    assert ReloadWaits(source="SIGHUP").subject == "master"


# ---- where one can do something


_PAGE = (ROOT / "docs" / "troubleshooting.md").read_text("utf-8")
_HEADINGS = {
    phrase
    for title in re.findall(r"^\*\*(.+?)\.?\*\*", _PAGE, re.MULTILINE)
    for phrase in re.findall(r"`([^`]+)`", title)
}


@BY_KIND
def test_warnings_and_errors_are_explained(record: AnyRecord) -> None:
    """By a heading of docs/troubleshooting.md, which quotes what the sentence says."""
    kind = type(record)
    default = next(each.default for each in msgspec.structs.fields(kind) if each.name == "level")
    if default in {"warning", "error"}:
        assert kind.help, "what is to be done?"
    if kind.help:
        assert kind.help in _HEADINGS
        for piece in re.split(r"\.\.\.|\bN\b", kind.help):
            assert piece.strip(" ,:") in sentence(record)
