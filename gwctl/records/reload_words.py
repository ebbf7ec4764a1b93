"""Reloads in words: the parts of sentences that answers to whoever asked have, too."""

from __future__ import annotations

from collections.abc import Sequence

from gwctl.records import reloads
from gwctl.records.pool_words import counts
from gwctl.wording import seconds, span


def adopted_as(record: reloads.ReloadAdopted) -> str:
    """``adopted generation 3 in 3.9 s``."""
    done = "rolled back to" if record.rollback else "restarted as" if record.restart else "adopted"
    only = f" of {', '.join(record.only)}" if record.only else ""
    text = f"{done} generation {record.generation}{only} in {seconds(record.took_s)}"
    return f"{text}, {not_served(record.unserved)}" if record.unserved else text


def not_served(pools: Sequence[reloads.Unserved]) -> str:
    """``no worker served for 1.4 s``; of several pools, in which."""
    texts = [
        seconds(each.for_s)
        + (f" in {each.pool}" if len(pools) > 1 else "")
        + ("" if each.over else " so far")
        for each in pools
    ]
    return f"no worker served for {', '.join(texts)}"


def what_failed(record: reloads.ReloadAdopted) -> str:
    """Of a restart: why the pool is not whole, and what follows; with the traceback. Empty: nothing did."""
    failed = record.failed
    if failed is None:
        return ""
    text = f"a new worker of {failed.pool} failed: {failed.reason}. It is tried again, as after a crash"
    return "\n".join(filter(None, (text, failed.traceback.strip("\n"))))


def what_is_removed(record: reloads.ReloadAdopted) -> str:
    """Pools that are served no longer; empty: none."""
    verb = "is" if len(record.removed) == 1 else "are"
    return f"{', '.join(record.removed)} {verb} no longer served" if record.removed else ""


def what_is_left(record: reloads.ReloadAdopted) -> str:
    """What a reload of all would apply besides; empty: nothing."""
    if not record.not_applied:
        return ""
    return f"not applied: {', '.join(record.not_applied)}: use gwctl reload"


def what_is_kept(record: reloads.ReloadAdopted) -> str:
    """What became of the generation before, if it was to be kept, and what is missing of this one."""
    texts = []
    if record.missing:
        missing = ", ".join(f"{each.ready} of {each.size} in {each.pool}" for each in record.missing)
        texts.append(f"{missing}: what is missing stays so until the next reload")
    if (kept := record.keeping) is not None:
        before = f"generation {kept.generation}"
        if kept.keep_s:
            texts.append(f"{before} is kept for {span(kept.keep_s)}: gwctl rollback goes to it")
        elif kept.lost:
            texts.append(f"{before} is not kept for a rollback: only it serves {', '.join(kept.lost)}")
        else:
            texts.append(f"{before} is not kept for a rollback: none of its workers is left")
    return ", ".join(texts)


def not_adopted(record: reloads.ReloadRefused) -> str:
    """``generation 3 was not adopted: web: ...``."""
    reason = f"{record.pool}: {record.reason}" if record.pool else record.reason
    what = "gone back to" if record.rollback else "adopted"
    return f"generation {record.generation} was not {what}: {reason}"


def where_it_stood(record: reloads.ReloadRefused) -> str:
    """The traceback, or where to find the stacks; empty: there are none."""
    if record.dumped_pid:
        return f"Where it stood follows in the log: see the record of pid {record.dumped_pid}"
    return record.traceback.strip("\n")


def what_serves(record: reloads.ReloadRefused) -> str:
    """Empty when the master stops."""
    standing = record.standing
    if standing is None:
        return ""
    if record.unserved:
        back = f"The workers that are begun now have the settings of generation {standing.generation}"
        return f"{not_served(record.unserved)}. {back}, and the code that is on disk"
    serving = f"generation {standing.generation} serves as before ({counts(standing.pools)})"
    if standing.forked_alike:
        serving += ", and workers that have to be replaced are forked from its template: the same code"
    if not standing.disk_differs:
        return serving
    return f"{serving}. The files on disk are newer than what runs: mend them and reload"
