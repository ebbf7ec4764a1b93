"""``gwctl profile``: where workers spend their time, as a picture; or what they allocate.

The master connects this command with the workers, which tell it themselves. So it goes on over a reload, an
upgrade and the master's death; Ctrl-C has them tell what they have.
"""

from __future__ import annotations

import os
import select
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from gwctl.cli.completion import worker_names
from gwctl.cli.targeted import fail, interrupted, targeted, worker_name, write_json
from gwctl.control.client import ControlClient
from gwctl.control.protocol import Profile
from gwctl.errors import ControlError
from gwctl.log.text_lines import escaped
from gwctl.profile import summary
from gwctl.profile.collected import Choice, Part, folded, parts_of
from gwctl.profile.formats import rendered
from gwctl.profile.lines import SECONDS_MAX
from gwctl.wording import seconds as in_seconds

ANSWER_TIMEOUT_S: Final = 10.0
GRACE_S: Final = 5.0
"""After its time a worker has so long to tell the last of it."""
MEMORY_GRACE_S: Final = 60.0
"""What was allocated is collected, looked through and told at the end alone."""
TOP: Final = 5
MEMORY_TOP: Final = 20
_ENDINGS: Final = {"svg": "svg", "speedscope": "speedscope.json", "folded": "folded.txt"}
_MEMORY_COST: Final = (
    "tracemalloc notes every allocation: the workers may be two to four times slower for {span}, and pause "
    "at its end. Ctrl-C ends it."
)


class Profiled:
    """The workers that are profiled, and what they have told by now."""

    def __init__(self, parts: Sequence[Part], sockets: Sequence[socket.socket]) -> None:
        self.parts = parts
        self._open = {sock.fileno(): (sock, part) for part, sock in zip(parts, sockets, strict=True)}

    def read(self, timeout_s: float) -> None:
        """Take what comes, until all have told everything or ``timeout_s`` is over."""
        end = time.monotonic() + timeout_s
        poll = select.poll()
        for fd in self._open:
            poll.register(fd, select.POLLIN)
        while self._open and (left := end - time.monotonic()) > 0:
            for fd, _ in poll.poll(left * 1000):
                sock, part = self._open[fd]
                part.feed(_received(sock))
                if part.is_over:
                    poll.unregister(fd)
                    self._close(fd)

    def say_enough(self) -> None:
        """Have them tell what they have."""
        for sock, _ in self._open.values():
            try:
                sock.shutdown(socket.SHUT_WR)
            except OSError:
                continue  # it is gone, which is read

    def close(self) -> None:
        for fd in list(self._open):
            _, part = self._open[fd]
            part.give_up()
            self._close(fd)

    def _close(self, fd: int) -> None:
        sock, _ = self._open.pop(fd)
        sock.close()


def _received(sock: socket.socket) -> bytes:
    try:
        return sock.recv(1 << 16)
    except ConnectionResetError:
        return b""


@click.command(short_help="Sample where a worker spends its time, as a flame graph.")
@click.argument("worker", metavar="POOL[.SLOT]", shell_complete=worker_names, callback=worker_name)
@click.option(
    "-s",
    "--seconds",
    type=click.FloatRange(min=0, min_open=True, max=SECONDS_MAX),
    default=10.0,
    show_default=True,
    help="How long.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(list(_ENDINGS)),
    help="svg: a flame graph for a browser (the default); speedscope: JSON for speedscope.app; folded: text, "
    "a stack a line.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    help="The file; - for stdout. Without it one in this folder, named after the worker.",
)
@click.option("--idle", is_flag=True, help="Also show threads that wait for work.")
@click.option("--by-function", is_flag=True, help="Put the lines of a function together.")
@click.option(
    "--memory", is_flag=True, help="What was allocated meanwhile and is still in use, by tracemalloc. Slow."
)
@click.option("--top", "count", type=click.IntRange(min=0), help="How many places to print: 5, of memory 20.")
@targeted
def profile(
    client: ControlClient,
    *,
    as_json: bool,
    worker: str,
    seconds: float,
    form: str | None,
    output: Path | None,
    idle: bool,
    by_function: bool,
    memory: bool,
    count: int | None,
) -> None:
    """Sample the stacks of a worker for some seconds, and write a flame graph. It serves on.

    \b
    gwctl profile web.2                         web.2.svg: open it in a browser
    gwctl profile web --seconds 30              all workers of web, put together
    gwctl profile web.2 --format speedscope     for https://www.speedscope.app
    gwctl profile web.2 --memory                what was allocated and is still in use

    It costs less than 5 % of a CPU while it runs: see docs/operations.md. Ctrl-C ends it early, and what
    was sampled so far is written. Not seen is C code, which counts as the line that calls it, and what
    other processes do.
    """  # noqa: D301 - \b is click's mark for lines to leave as they are
    if memory:
        _say(_MEMORY_COST.format(span=in_seconds(seconds)), as_json=as_json)
    profiled = _begin(client, Profile(worker, seconds, memory))
    _collect(profiled, seconds, MEMORY_GRACE_S if memory else GRACE_S, as_json=as_json)
    parts = profiled.parts
    remarks = summary.remarks(parts)
    if not any(part.spent for part in parts):
        document = summary.document(parts, {}, 0, of_memory=memory)
        reason = "\n".join(remarks) or "nothing was seen"
        fail(ControlError(escaped(reason)), document, 2, as_json=as_json)
    stacks = folded(parts, Choice(idle=idle, by_function=by_function))
    title, text = summary.title(worker, parts), summary.sentence(parts)
    count = count if count is not None else MEMORY_TOP if memory else TOP
    written = ""
    if form or output or not memory:
        content = rendered(form or "svg", stacks, title, text, memory=memory)
        base = f"{worker}.memory" if memory else worker
        written = _write(content, output, base, _ENDINGS[form or "svg"])
    if as_json:
        document = summary.document(parts, stacks, count, of_memory=memory)
        write_json({"ok": True, "text": text, "file": written} | document)
        return
    lines = [f"{title}: {text}", *summary.top_lines(stacks, count, of_memory=memory)]
    if cost := summary.cost(parts):
        lines.append(cost)
    if written:
        hint = " (open it in a browser)" if (form or "svg") == "svg" else ""
        lines.append(f"wrote {written}{hint}")
    click.echo(escaped("\n".join(lines)), err=str(output) == "-")
    for remark in remarks:
        click.echo(escaped(remark), err=True)


def _begin(client: ControlClient, wish: Profile) -> Profiled:
    """Ask the master.

    Raises:
        ControlError: It refuses, or its answer is odd.
    """
    passed: list[int] = []
    try:
        answer = client.call("profile", wish, timeout_s=ANSWER_TIMEOUT_S, passed=passed)
        parts = parts_of(answer, len(passed))
    except BaseException:
        for fd in passed:
            os.close(fd)
        raise
    return Profiled(parts, [socket.socket(fileno=fd) for fd in passed])


def _collect(profiled: Profiled, seconds: float, grace_s: float, *, as_json: bool) -> None:
    try:
        try:
            _say(f"sampling for {in_seconds(seconds)}; Ctrl-C ends it, with what there is", as_json=as_json)
            for part in profiled.parts:
                if not part.answers:
                    _say(f"{part.name} pid {part.pid} does not answer yet", as_json=as_json)
            profiled.read(seconds + grace_s)
        except KeyboardInterrupt:
            profiled.say_enough()
            profiled.read(grace_s)
    except KeyboardInterrupt:
        interrupted("interrupted: what was sampled is thrown away", as_json=as_json)
    finally:
        profiled.close()


def _write(content: bytes, output: Path | None, base: str, ending: str) -> str:
    """Write ``content``; return where, empty for stdout.

    Raises:
        ControlError: It cannot be written.
    """
    if str(output) == "-":
        sys.stdout.write(content.decode())
        return ""
    try:
        if output is not None:
            output.write_bytes(content)
            return str(output)
        return _write_new(content, base, ending)
    except OSError as error:
        raise ControlError(
            f"cannot write {output or base}: {error.strerror}; -o names another file"
        ) from None


def _write_new(content: bytes, base: str, ending: str) -> str:
    """Write ``web.2.svg``, or ``web.2-2.svg`` and so on: what was profiled before stays."""
    path, number = Path(f"{base}.{ending}"), 1
    while True:
        try:
            with path.open("xb") as file:
                file.write(content)
        except FileExistsError:
            number += 1
            path = Path(f"{base}-{number}.{ending}")
        else:
            return str(path)


def _say(text: str, *, as_json: bool) -> None:
    if not as_json:
        click.echo(escaped(text), err=True)
