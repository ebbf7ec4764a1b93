"""/api/profile: the admin process asks a worker for its stacks, and makes the flame graph.

Rules
    - One profile at a time, of one worker, for `SECONDS_MAX` at most: a worker's process runs applications,
      and the most that it can tell is some tens of megabytes here.
    - Whoever goes away ends it, as does the end of this process: the workers see it at their sockets.
    - The picture is made in a thread, so that probes are answered meanwhile.
    - A picture may be kept, for a browser to open in a tab of its own, where it cannot send the token: at an
      address that nobody can guess, for `KEPT_S`, under a policy that runs the picture's script and no other.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import socket
import time
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from http import HTTPStatus
from typing import Annotated, Any, Final, Literal

import msgspec

from gwctl.admin.api import answered, decoded
from gwctl.admin.http import Answer, RefusedError, Request, json_answer, malformed
from gwctl.admin.link.master import CHANGE_S, Master
from gwctl.control import protocol
from gwctl.errors import ControlError
from gwctl.profile import summary
from gwctl.profile.collected import Choice, Part, folded, parts_of
from gwctl.profile.flame_graph import script
from gwctl.profile.formats import rendered

SECONDS_MAX: Final = 60.0
GRACE_S: Final = 5.0
"""After its time a worker has so long to tell the last of it."""
WORKERS_MAX: Final = 4
"""Of one slot, during a reload."""
KEPT_MAX: Final = 4
KEPT_S: Final = 600.0
TOP: Final = 5
_READ_BYTES: Final = 1 << 16
_TYPES: Final = {
    "svg": "image/svg+xml",
    "speedscope": "application/json",
    "folded": "text/plain; charset=utf-8",
}


class Wish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a request."""

    worker: Annotated[str, msgspec.Meta(max_length=100)]
    """``web.2``."""
    seconds: Annotated[float, msgspec.Meta(gt=0, le=SECONDS_MAX)] = 10.0
    format: Literal["svg", "speedscope", "folded"] = "svg"
    idle: bool = False
    by_function: bool = False
    keep: bool = False
    """Answer with the address of the picture, and not with itself."""


@dataclass(frozen=True, slots=True)
class _Kept:
    answer: Answer
    until: float


class Profiling:
    """What there is of profiles in one process."""

    def __init__(self, master: Master) -> None:
        self._master = master
        self._under_way = False
        self._kept: dict[str, _Kept] = {}
        self._policy = _policy()

    async def profile(self, request: Request) -> Answer:
        """Take one.

        Raises:
            RefusedError: There is none, and why.
        """
        wish = _wish(decoded(await request.body()))
        if self._under_way:
            raise RefusedError(HTTPStatus.SERVICE_UNAVAILABLE, "busy", "a profile is being taken already")
        self._under_way = True
        try:
            return await request.unless_gone(self._take(wish))
        finally:
            self._under_way = False

    async def picture(self, request: Request) -> Answer:
        """One that was kept."""
        kept = self._kept.get(request.path[-1])
        if kept is None or time.monotonic() >= kept.until:
            raise RefusedError(
                HTTPStatus.NOT_FOUND, "not_found", "no such flame graph: it was kept for ten minutes"
            )
        return kept.answer

    async def _take(self, wish: Wish) -> Answer:
        parts = await self._parts(wish)
        remarks = summary.remarks(parts)
        if not any(part.spent for part in parts):
            raise RefusedError(HTTPStatus.CONFLICT, "refused", "\n".join(remarks) or "nothing was seen")
        body, lines = await asyncio.to_thread(_rendered, wish, parts)
        fields = (("content-security-policy", self._policy), ("referrer-policy", "no-referrer"))
        answer = Answer(HTTPStatus.OK, body, _TYPES[wish.format], fields)
        if not wish.keep:
            return answer
        text = "\n".join([*lines, *remarks])
        return json_answer({"ok": True, "text": text, "path": self._keep(answer)})

    def _keep(self, answer: Answer) -> str:
        now = time.monotonic()
        living = [(name, kept) for name, kept in self._kept.items() if now < kept.until]
        self._kept = dict(living[-(KEPT_MAX - 1) :])
        name = secrets.token_urlsafe(24)
        self._kept[name] = _Kept(answer, now + KEPT_S)
        return f"profile/{name}"

    async def _parts(self, wish: Wish) -> list[Part]:
        passed: list[int] = []
        sockets: list[socket.socket] = []
        try:
            asked = protocol.Profile(wish.worker, wish.seconds)
            document = await answered(self._master.ask(asked, CHANGE_S, None, passed), refused=400)
            parts = _named(document, len(passed))
            while passed:
                sockets.append(socket.socket(fileno=passed[0]))
                del passed[0]
            await _collect(parts, sockets, wish.seconds + GRACE_S)
        finally:
            for sock in sockets:
                sock.close()
            for fd in passed:
                os.close(fd)
        return parts


def _rendered(wish: Wish, parts: Sequence[Part]) -> tuple[bytes, list[str]]:
    """The profile, and a few lines about it. In a thread."""
    stacks = folded(parts, Choice(idle=wish.idle, by_function=wish.by_function))
    title, text = summary.title(wish.worker, parts), summary.sentence(parts)
    body = rendered(wish.format, stacks, title, text, memory=False)
    return body, [text, *summary.top_lines(stacks, TOP, of_memory=False)]


def _wish(body: dict[str, Any]) -> Wish:
    """Raises RefusedError: It is none."""
    try:
        wish = msgspec.convert(body, Wish)
    except msgspec.ValidationError as error:
        malformed(str(error))
    if not re.fullmatch(r"[^.]+\.[0-9]{1,4}", wish.worker):
        malformed(f"{wish.worker!r} names no worker: write one of a pool, as in web.2")
    return wish


def _named(document: dict[str, Any], sockets: int) -> list[Part]:
    """Raises RefusedError: The master's answer is odd, or names too many."""
    try:
        parts = parts_of(document, sockets)
    except ControlError as error:
        raise RefusedError(HTTPStatus.BAD_GATEWAY, "odd_answer", str(error)) from None
    if len(parts) > WORKERS_MAX:
        raise RefusedError(HTTPStatus.CONFLICT, "refused", f"those are {len(parts)} processes: gwctl profile")
    return parts


async def _collect(parts: Sequence[Part], sockets: Sequence[socket.socket], timeout_s: float) -> None:
    """Read until all have told everything, or for so long."""
    try:
        async with asyncio.timeout(timeout_s), asyncio.TaskGroup() as group:
            for part, sock in zip(parts, sockets, strict=True):
                group.create_task(_read(part, sock))
    except TimeoutError:
        for part in parts:
            part.give_up()


async def _read(part: Part, sock: socket.socket) -> None:
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    while not part.is_over:
        try:
            data = await loop.sock_recv(sock, _READ_BYTES)
        except ConnectionResetError:
            data = b""
        part.feed(data)


def _policy() -> str:
    """The Content-Security-Policy of a picture."""
    known = b64encode(sha256(script().encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{known}'; style-src 'unsafe-inline'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
