"""Records in words: what the log says of each, one function a kind. Nothing else makes sentences of them.

They say what happened, to whom, why, and what to do about it, with the numbers that one would ask
for next. Further lines are details: a traceback, stacks. Those of the master are in `master_sentences`.
"""

from __future__ import annotations

from typing import Final, assert_never

from gwctl.records import (  # noqa: F401 - two register their own
    master_sentences,
    reloads,
    scale_words,
    workers,
)
from gwctl.records.base import Process, Record
from gwctl.records.pool_words import counts
from gwctl.records.profile_words import profile_begun
from gwctl.records.registry import registered, said
from gwctl.records.registry import says as _of
from gwctl.records.reload_words import (
    adopted_as,
    not_adopted,
    what_failed,
    what_is_kept,
    what_is_left,
    what_is_removed,
    what_serves,
    where_it_stood,
)
from gwctl.records.report_words import told
from gwctl.watched import too_few
from gwctl.wording import how_it_ended, mebibytes, ordinal, processes, seconds

DEGRADED: Final = "disk differs from what runs"


def sentence(record: Record) -> str:
    """What the log says of it, without the level and whom it is about, which stand before it."""
    return said(record)


def kinds() -> frozenset[type[Record]]:
    """Those that have a sentence."""
    return registered()


# ---- workers


@_of(workers.WorkerBooting)
def _booting(record: workers.WorkerBooting) -> str:
    return f"pid {record.process.pid} boot: {record.stage}"


@_of(workers.WorkerReady)
def _ready(record: workers.WorkerReady) -> str:
    imported = f"import {record.import_s:.2f} s" if record.import_s else "preloaded"
    parts = [record.worker_class, imported, mebibytes(record.memory_bytes), f"parser {record.parser}"]
    return f"{_who(record.process)} ready in {record.boot_s:.2f} s ({', '.join(parts)})"


@_of(workers.SpawnFailed)
def _spawn_failed(record: workers.SpawnFailed) -> str:
    who = "template " if record.process.is_template else ""
    return f"{who}could not be started: {record.reason}. {_next(record.retry)}"


@_of(workers.StartedWhileDegraded)
def _started_while_degraded(record: workers.StartedWhileDegraded) -> str:
    if record.process.is_template:
        return "template started while what is on disk is not what runs: it imports what is on disk"
    return f"started while degraded ({DEGRADED}): it runs what is on disk"


@_of(workers.ForkUnanswered)
def _fork_unanswered(record: workers.ForkUnanswered) -> str:
    return f"its fork was asked for {seconds(record.waited_s)} ago and has not been answered"


@_of(workers.WorkerDied)
def _died(record: workers.WorkerDied) -> str:
    text = died(record.process.pid, record.death)
    return _with(f"{text}. {_next(record.retry)}", record.traceback)


@_of(workers.WorkerFailed)
def _failed(record: workers.WorkerFailed) -> str:
    return _with(f"pid {record.process.pid}: {record.reason}. {_next(record.retry)}", record.traceback)


@_of(workers.WorkerLeft)
def _left(record: workers.WorkerLeft) -> str:
    serving = f", while serving {record.serving}" if record.serving else ""
    text = f"pid {record.process.pid} left by itself (exit status 0){serving}"
    return _with(f"{text}. {_next(record.retry)}", record.traceback)


@_of(workers.WorkerGone)
def _gone(record: workers.WorkerGone) -> str:
    return _with(f"pid {record.process.pid} is gone. {_next(record.retry)}", record.traceback)


@_of(workers.WorkerDrains)
def _drains(record: workers.WorkerDrains) -> str:
    return f"pid {record.process.pid} drains, {record.reason}. {_next(record.retry)}"


@_of(workers.WorkerDraining)
def _draining(record: workers.WorkerDraining) -> str:
    what = f"{record.requests} requests on {record.connections} connections"
    return f"pid {record.process.pid} draining: {what}"


@_of(workers.WorkerFinished)
def _finished(record: workers.WorkerFinished) -> str:
    return f"pid {record.process.pid} finished in {seconds(record.took_s)}"


@_of(workers.WorkerEndedEarly)
def _ended_early(record: workers.WorkerEndedEarly) -> str:
    how = how_it_ended(record.status) + (f" ({record.cause})" if record.cause else "")
    state = "leaving by itself" if record.state == "lost" else record.state  # that name is for the core
    text = f"pid {record.process.pid} ended with {how} while {state}, after {seconds(record.took_s)}"
    return _with(text, record.traceback)


@_of(workers.WorkerUnreaped)
def _unreaped(record: workers.WorkerUnreaped) -> str:
    since = f"was killed {seconds(record.waited_s)} ago"
    return f"pid {record.process.pid} {since} and is still there: it hangs in the kernel"


@_of(workers.SlowRequest)
def _slow(record: workers.SlowRequest) -> str:
    text = f"slow: {record.request} has run {seconds(record.age_s)} (slow_request_s {record.limit_s:g})"
    if not record.frames:
        return f"{text}; where it is could not be found out"
    return "\n".join([f"{text}, and is at", *record.frames])


@_of(workers.SlowRequestEnded)
def _slow_ended(record: workers.SlowRequestEnded) -> str:
    how = f"with status {record.status}" if record.status else "without a response"
    return f"slow: {record.request} ended after {seconds(record.took_s)}, {how}"


@_of(workers.WorkerKilled)
def _killed(record: workers.WorkerKilled) -> str:
    return told(record.process, "killed", record.reason, record.report)


@_of(workers.WorkerRecovered)
def _recovered(record: workers.WorkerRecovered) -> str:
    return told(record.process, "recovered and goes on", record.reason, record.report)


@_of(workers.WorkerEndedUnasked)
def _ended_unasked(record: workers.WorkerEndedUnasked) -> str:
    return told(record.process, "ended by itself", record.reason, record.report)


@_of(workers.KeptWorkerDied)
def _kept_worker_died(record: workers.KeptWorkerDied) -> str:
    left = f"{record.left} of {record.size} are left to roll back to; its code cannot be started again"
    return _with(f"{record.reason}, while its generation was kept: {left}", record.traceback)


_of(workers.ProfileBegun)(profile_begun)


@_of(workers.TemplateFailed)
def _template_failed(record: workers.TemplateFailed) -> str:
    who = "template" if record.died else f"template pid {record.process.pid}:"
    text = f"{who} {record.reason}. {_next(record.retry)}. No worker can be started before"
    return _with(text, record.traceback)


@_of(workers.TemplateEnded)
def _template_ended(record: workers.TemplateEnded) -> str:
    match record.how:
        case "died":
            text = record.reason
        case "killed":
            text = f"pid {record.process.pid} is gone"
        case "left":
            text = f"pid {record.process.pid} left by itself (exit status 0)"
        case _:
            assert_never(record.how)
    then = "Its workers go on; another template is started with the next worker"
    return f"template {text}. {then}" + (", from what is on disk then" if record.from_disk else "")


@_of(workers.WorkerReplaced)
def _replaced(record: workers.WorkerReplaced) -> str:
    verb = "is replaced" if record.stuck else "is recycled"
    return f"pid {record.process.pid} {verb}: it {record.reason}"


@_of(workers.RecyclingPostponed)
def _recycling_postponed(record: workers.RecyclingPostponed) -> str:
    text = f"pid {record.process.pid} is due to be recycled, as it {record.reason}"
    return f"{text}. It is kept until the next good reload: {DEGRADED}"


@_of(workers.SlotKeepsDying)
def _keeps_dying(record: workers.SlotKeepsDying) -> str:
    times = f"{record.deaths} times in {seconds(record.within_s)}"
    then = f"trying every {seconds(record.retry_s)} now; {record.ready}/{record.size} workers serve"
    return f"slot {record.slot} keeps dying ({times}): {then}"


@_of(workers.SlotRecovered)
def _slot_recovered(record: workers.SlotRecovered) -> str:
    ready = f"ready for {seconds(record.ready_s)}"
    return f"slot {record.slot} has recovered ({ready}); {record.ready}/{record.size} workers serve"


@_of(workers.ChannelBroken)
def _channel_broken(record: workers.ChannelBroken) -> str:
    what = "broke the protocol of its channel; nothing more is read from it"
    return f"pid {record.process.pid} {what}: {record.reason}"


@_of(workers.ChannelClosed)
def _channel_closed(record: workers.ChannelClosed) -> str:
    what = "lives on without its channel to the master"
    return f"pid {record.process.pid} {what}: something in its process closed it"


@_of(workers.ChannelLost)
def _channel_lost(record: workers.ChannelLost) -> str:
    return f"the channel to pid {record.process.pid} cannot be watched: {record.reason}. It is given up"


@_of(workers.NoPidfd)
def _no_pidfd(record: workers.NoPidfd) -> str:
    return f"no pidfd for pid {record.process.pid}: {record.reason}. SIGCHLD tells of its end instead"


@_of(workers.ScoreboardDoubted)
def _scoreboard_doubted(record: workers.ScoreboardDoubted) -> str:
    return (
        f"the scoreboard's record of pid {record.process.pid} cannot be true: {record.doubt}. Something in "
        f"pool {record.process.pool} writes there, a C library or the application. The record is "
        "ignored: whether this worker hangs is judged without it"
    )


@_of(workers.OutputHeld)
def _output_held(record: workers.OutputHeld) -> str:
    return (
        f"pid {record.process.pid} prints faster to {record.stream} than is taken (lines a second: "
        f"{record.lines_per_s} of a worker, {record.pool_lines_per_s} of a pool). Whoever prints in it waits"
    )


@_of(workers.OutputGivenUp)
def _output_given_up(record: workers.OutputGivenUp) -> str:
    return (
        f"{record.stream} of pid {record.process.pid}, which has ended, is read no more: child processes of "
        "the pool's workers that live on hold too many of such pipes"
    )


def died(pid: int, death: workers.Death) -> str:
    """What is known of an exit that nobody asked for."""
    text = f"pid {pid} died: {death.cause or how_it_ended(death.status)}"
    text += (
        ", before it was ready" if death.ready_s is None else f", {seconds(death.ready_s)} after it was ready"
    )
    if death.killed_by_others:
        text += ", not sent by gwctl (by somebody, or by the kernel out of memory)"
    return text + (f", while serving {death.serving}" if death.serving else "")


def _who(process: Process) -> str:
    return f"template pid {process.pid}" if process.is_template else f"pid {process.pid}"


def _next(retry: workers.Retry) -> str:
    """How often it was, and when the slot is tried again."""
    if retry.held:
        return f"Replaced {retry.held}"
    if retry.wait_s == 0:
        return "Replaced at once"
    if retry.failures > 1:
        times = f"{ordinal(retry.failures)} time in {seconds(retry.within_s)}"
        return f"{times}; next try in {seconds(retry.wait_s)}"
    return f"Next try in {seconds(retry.wait_s)}"


def _with(text: str, details: str) -> str:
    return f"{text}\n{details}" if details else text


# ---- reloads, sizes, upgrades


@_of(reloads.ReloadIgnored)
def _reload_ignored(record: reloads.ReloadIgnored) -> str:
    return f"no reload ({record.source}): {record.reason}"


@_of(reloads.ReloadWaits)
def _reload_waits(record: reloads.ReloadWaits) -> str:
    return f"reload ({record.source}) waits for the one under way"


@_of(reloads.ReloadBegun)
def _reload_begun(record: reloads.ReloadBegun) -> str:
    what = "rollback" if record.rollback else "restart" if record.restart else "reload"
    only = f" of {', '.join(record.only)}" if record.only else ""
    return f"{what}{only} ({record.source}): generation {record.previous} -> {record.generation}"


@_of(reloads.ReloadAdopted)
def _adopted(record: reloads.ReloadAdopted) -> str:
    text = ": ".join(filter(None, (adopted_as(record), counts(record.pools))))
    doubts = (too_few(each) for each in record.watched if not each.enough)
    more = (what_is_removed(record), what_is_kept(record), what_is_left(record), what_failed(record), *doubts)
    return "; ".join(filter(None, (text, *more)))


@_of(reloads.ReloadRefused)
def _refused(record: reloads.ReloadRefused) -> str:
    return "\n".join(filter(None, (not_adopted(record), where_it_stood(record), what_serves(record))))


@_of(reloads.RestartRefused)
def _restart_refused(record: reloads.RestartRefused) -> str:
    return f"restart ({record.source}) refused: {record.reason}"


@_of(reloads.RollbackRefused)
def _rollback_refused(record: reloads.RollbackRefused) -> str:
    return f"rollback ({record.source}) refused: {record.reason}"


@_of(reloads.GenerationReleased)
def _released(record: reloads.GenerationReleased) -> str:
    return f"generation {record.generation} is no longer kept: {record.reason}"


@_of(reloads.SettingsWarning)
def _settings_warning(record: reloads.SettingsWarning) -> str:
    return record.text


@_of(reloads.RestartNeeded)
def _restart_needed(record: reloads.RestartNeeded) -> str:
    return f"{record.setting} has changed in the file; it takes effect when the master is started anew"


@_of(reloads.UpgradeRefused)
def _upgrade_refused(record: reloads.UpgradeRefused) -> str:
    return f"upgrade ({record.source}) refused: {record.reason}"


@_of(reloads.UpgradeWaits)
def _upgrade_waits(record: reloads.UpgradeWaits) -> str:
    return f"upgrade ({record.source}) waits for the reload under way"


@_of(reloads.UpgradeChecking)
def _upgrade_checking(record: reloads.UpgradeChecking) -> str:
    return f"upgrade ({record.source}): checking the program on disk"


@_of(reloads.UpgradeFailed)
def _upgrade_failed(record: reloads.UpgradeFailed) -> str:
    return f"not upgraded: {record.reason}\nThe program that ran goes on, with all its workers"


@_of(reloads.UpgradeGivenUp)
def _upgrade_given_up(record: reloads.UpgradeGivenUp) -> str:
    return f"upgrade ({record.source}) given up: the fleet stops"


@_of(reloads.MasterUpgraded)
def _upgraded(record: reloads.MasterUpgraded) -> str:
    kept = processes(record.workers, record.templates) or "no worker"
    change = f"upgraded from {record.was} to {record.to}"
    return f"{change} in {seconds(record.took_s)} ({record.source}): same pid, {kept} kept"


@_of(reloads.ProgramChanged)
def _program_changed(record: reloads.ProgramChanged) -> str:
    what = f"gwctl {record.installed} is installed, and gwctl {record.runs} runs, also new workers of it"
    return f"{what}. Run gwctl upgrade"


@_of(reloads.NoProgramCopy)
def _no_program_copy(record: reloads.NoProgramCopy) -> str:
    return f"no copy of this program for an upgrade that fails: {record.reason}"


@_of(reloads.GenerationUnreadable)
def _generation_unreadable(record: reloads.GenerationUnreadable) -> str:
    then = f"No worker of generation {record.generation} can be started; mend it and reload"
    return f"{record.problem}. {then}"
