"""Records of the master itself and of the admin process in words: see `gwctl.records.sentences`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import assert_never

from gwctl.records import admin, master
from gwctl.records.admin_words import why_killed
from gwctl.records.pool_words import counts
from gwctl.records.registry import says as _of
from gwctl.records.stop_words import at_what, stop_plan
from gwctl.wording import enumeration, how_it_ended, mebibytes, processes, seconds, span
from gwctl.wording import workers as count_of_workers


@_of(master.MasterStarted)
def _started(record: master.MasterStarted) -> str:
    program = f"gwctl {record.version} pid {record.pid}, engine {record.engine}, Python {record.python}"
    return f"{program}, config {record.config or 'none'}"


@_of(master.PrivilegesGivenUp)
def _privileges_given_up(record: master.PrivilegesGivenUp) -> str:
    left = ", ".join(record.capabilities) or "none"
    return f"privileges: no program gains any; capabilities: {left}"


@_of(master.PoolConfigured)
def _pool_configured(record: master.PoolConfigured) -> str:
    why = f" (auto: {record.why})" if record.why else ""
    count = count_of_workers(record.max or record.processes)
    count = f"{record.processes} to {count}" if record.max else count
    return f"{record.pool}: {count}{why}, {' '.join(record.urls)}"


@_of(master.BindRetried)
def _bind_retried(record: master.BindRetried) -> str:
    return f"{record.reason}; trying again for {record.retry_s:g} s"


@_of(master.StartFailed)
def _start_failed(record: master.StartFailed) -> str:
    return record.reason


@_of(master.PoolsServe)
def _pools_serve(record: master.PoolsServe) -> str:
    return f"serving: {counts(record.pools)} in {seconds(record.took_s)}"


@_of(master.StopBegun)
def _stop_begun(record: master.StopBegun) -> str:
    return f"stopping ({record.source}): {stop_plan(record.plan)}"


@_of(master.StopDrains)
def _stop_drains(record: master.StopDrains) -> str:
    return f"accepting no more: {stop_plan(record.plan)}"


@_of(master.StopWaits)
def _stop_waits(record: master.StopWaits) -> str:
    text = "; ".join(f"{each.process.name}: {at_what(each)}" for each in record.waits_for)
    return f"waiting for {text}" + (f"; and {count_of_workers(record.more)} more" if record.more else "")


@_of(master.MasterStopped)
def _stopped(record: master.MasterStopped) -> str:
    cut = "1 request" if record.cut == 1 else f"{record.cut} requests"
    text = f"stopped in {seconds(record.took_s)}; {cut} cut"
    killed = processes(record.killed, record.templates_killed)
    return f"{text}; {killed} had to be killed" if killed else text


@_of(master.MasterGaveUp)
def _gave_up(record: master.MasterGaveUp) -> str:
    return f"{record.reason}\n{record.traceback}".rstrip()


@_of(master.OwnGroups)
def _own_groups(record: master.OwnGroups) -> str:
    end = {
        "one": "",
        "taken back": "; memory.oom.group there was 1 and is 0 now: an OOM kill takes one worker, not all",
        "all": (
            "; memory.oom.group there is 1 (of systemd: OOMPolicy=kill): an OOM kill takes all "
            "the same. Set OOMPolicy=continue"
        ),
    }[record.at_oom]
    return f"each worker has a control group of its own in {record.path}{end}"


@_of(master.NoOwnGroups)
def _no_own_groups(record: master.NoOwnGroups) -> str:
    return f"all are in one control group: {record.reason}"


@_of(master.InvariantBroken)
def _invariant_broken(record: master.InvariantBroken) -> str:
    return (
        f"a bug in gwctl: {record.rule}. No worker is started or retired any more; "
        "what runs goes on serving. Please report it, then restart the service"
    )


@_of(master.NothingToTakeOver)
def _nothing_to_take_over(record: master.NothingToTakeOver) -> str:
    return f"nothing to take over: no master runs at {record.path}; starting as usual"


@_of(master.TakesOver)
def _takes_over(record: master.TakesOver) -> str:
    count = "1 listening socket" if record.listeners == 1 else f"{record.listeners} listening sockets"
    return f"taking over from pid {record.from_pid} ({record.program}): {count}"


@_of(master.TookOver)
def _took_over(record: master.TookOver) -> str:
    text = f"took the place of pid {record.from_pid} ({record.program}) in {seconds(record.took_s)}"
    if not (record.early or record.died):
        return f"{text}; that one finishes what it has, and ends"
    how = "died" if record.died else "was told to stop"
    return f"{text}: it {how}" + (" before this one was ready" if record.early else "")


@_of(master.TakeoverIncomplete)
def _takeover_incomplete(record: master.TakeoverIncomplete) -> str:
    return f"after the takeover: {record.reason}"


@_of(master.TakeoverBegun)
def _takeover_begun(record: master.TakeoverBegun) -> str:
    return f"takeover ({record.source}): it has copies of the listeners; this master serves until it is ready"


@_of(master.TakeoverRefused)
def _takeover_refused(record: master.TakeoverRefused) -> str:
    return f"this master is not taken over ({record.source}): {record.reason}"


@_of(master.TakeoverEnded)
def _takeover_ended(record: master.TakeoverEnded) -> str:
    return f"this master is not taken over ({record.source}) and serves on: {record.reason}"


@_of(master.NoControlSocket)
def _no_control_socket(record: master.NoControlSocket) -> str:
    return f"no control socket: {record.reason}. Signals work, gwctl status and reload do not"


@_of(master.ControlSocketWarning)
def _control_folder_shared(record: master.ControlSocketWarning) -> str:
    return record.warning


@_of(master.ControlRefused)
def _control_refused(record: master.ControlRefused) -> str:
    text = f"control: refused pid {record.pid}: {not_allowed(record.uid, record.owner_uid, record.allowed)}"
    return text + (f" ({record.count} of such since the last line about them)" if record.count > 1 else "")


def not_allowed(uid: int, owner_uid: int, allowed: Iterable[int] = ()) -> str:
    """Also what such a client is told."""
    others = ("root", *(f"uid {each}" for each in sorted({owner_uid, *allowed} - {0})))
    return f"uid {uid} may not control this master; {enumeration(others)} may"


@_of(admin.AdminReady)
def _admin_ready(record: admin.AdminReady) -> str:
    what = f"pid {record.pid}, {mebibytes(record.memory_bytes)}"
    statsd = f", figures to {record.statsd}" if record.statsd else ""
    if not record.urls:
        return f"admin: no listener ({what}){statsd}"
    read_only = "" if record.token else ", to read only: no token"
    return f"admin: {', '.join(record.urls)} ({what}){read_only}{statsd}"


@_of(admin.AdminTokenUnusable)
def _token_unusable(record: admin.AdminTokenUnusable) -> str:
    return f"{record.path} {record.reason}: nobody can change anything at the admin listener"


@_of(admin.MetricsFolderUnusable)
def _no_metrics_folder(record: admin.MetricsFolderUnusable) -> str:
    return f"no folder for the application's metrics, so they are not told: {record.reason}"


@_of(admin.AdminKilled)
def _admin_killed(record: admin.AdminKilled) -> str:
    return f"the admin process {record.pid} is killed: {why_killed(record)}"


@_of(admin.AdminEnded)
def _admin_ended(record: admin.AdminEnded) -> str:
    whose = f" {record.pid}" if record.pid else ""
    reason = record.reason or how_it_ended(record.status)
    return (
        f"the admin process{whose} ended: {reason}. Serving is not concerned; "
        f"it is started again in {seconds(record.retry_s)}"
    )


@_of(master.SystemdUnreachable)
def _systemd_unreachable(record: master.SystemdUnreachable) -> str:
    return f"systemd cannot be notified at $NOTIFY_SOCKET: {record.reason}; serving goes on"


@_of(master.ListenersNotKept)
def _listeners_not_kept(record: master.ListenersNotKept) -> str:
    text = f"systemd keeps at most {record.kept_max} of {record.listeners} listeners, so it is given none"
    return f"{text}: a restart refuses connections. Set FileDescriptorStoreMax={record.listeners} in the unit"


@_of(master.ListenerDamaged)
def _listener_damaged(record: master.ListenerDamaged) -> str:
    match record.damage:
        case "blocking":
            what = "was set to block, which would stop the loops of others: it is set back"
        case "unix_shut_down":
            how = "gwctl reload" if record.bound_by_us else "a restart"
            what = f"was shut down and cannot be mended: nobody can connect until {how} binds it anew"
        case "shut_down":
            now = "It listens again"
            if not record.mended:
                now = f"It cannot listen again ({record.reason}): restart the service"
            what = f"was shut down; clients that waited there were reset. {now}"
        case _:
            assert_never(record.damage)
    why = "Code in its workers does that, with a descriptor that it did not open"
    return f"the listener {record.address} of pool {record.pool} {what}. {why}"


@_of(master.LogLevelChanged)
def _log_level(record: master.LogLevelChanged) -> str:
    how_long = f" for {span(record.for_s)}" if record.for_s is not None else ""
    change = record.to if record.was == record.to else f"{record.was} -> {record.to}"
    return f"log level {change}{how_long} ({record.source})"


@_of(master.AccessLogsReopened)
def _logs_reopened(record: master.AccessLogsReopened) -> str:
    files = "1 access log" if record.files == 1 else f"{record.files} access logs"
    events = f", and the event log {record.events}" if record.events else ""
    return f"reopened the logs (SIGUSR1): {files}, {count_of_workers(record.workers)} told{events}"


@_of(master.LogNotReopened)
def _log_not_reopened(record: master.LogNotReopened) -> str:
    return f"{record.reason}; writing to the old file goes on"
