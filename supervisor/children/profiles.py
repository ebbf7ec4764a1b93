"""Profiles of workers: whoever asks is connected to them, and the master is out of it.

A socket pair is made for each worker. One end goes to the worker over its channel, the other to the client
with the answer; what then goes over it (`gwctl.profile.lines`) the master neither reads nor keeps, and it
does not end with the master, nor with an upgrade. A worker whose loop does not turn is asked by a signal,
as for ``gwctl dump``.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from functools import partial
from typing import Any, Final, Protocol

import msgspec

from gwctl.control import protocol
from gwctl.errors import ControlError
from gwctl.ipc.channel import PROFILE_PROTOCOL, Profile
from gwctl.records.workers import ProfileBegun
from gwctl.supervisor.children.child import Child
from gwctl.supervisor.children.inspections import Inspections
from gwctl.supervisor.recorder import Recorder
from gwctl.wording import workers as count_of_workers

PROFILED_MAX: Final = 64
"""Each takes two descriptors for a moment, and all of those of the client go by one message."""
BEGUN_MAX: Final = 2 * PROFILED_MAX
"""So many sockets are held at once, for all who ask, until the workers have heard of it."""


class Answer(Protocol):
    """Takes over the sockets that go with it."""

    def __call__(
        self, request: int, ok: bool, text: str, result: dict[str, Any], *passed: socket.socket
    ) -> None: ...


class Profiles:
    """Of the workers of one master. ``refuse`` raises ControlError when nobody may ask."""

    def __init__(
        self, inspections: Inspections, recorder: Recorder, answer: Answer, refuse: Callable[[], None]
    ) -> None:
        self._inspections = inspections
        self._recorder = recorder
        self._answer = answer
        self._refuse = refuse
        self._held: list[socket.socket] = []
        """The ends of clients who are not answered yet."""

    def begin(self, request: int, wish: protocol.Profile, by: str, now: float) -> None:
        """Have all whom ``wish`` names begin; answered when they have heard of it, or do not listen.

        Raises:
            ControlError: There is no such worker, or it cannot be profiled.
        """
        self._refuse()
        found = self._meant(wish.worker)
        if len(self._held) + len(found) > BEGUN_MAX:
            raise ControlError("other profiles are being begun: ask again in a moment")
        ends: list[socket.socket] = []
        try:
            for child in found:
                ours, theirs = socket.socketpair()
                with theirs:
                    ends.append(ours)
                    order = Profile(wish.seconds, wish.memory)
                    self._inspections.children.send(child.worker, order, (theirs.fileno(),))
        except OSError as error:
            for each in ends:
                each.close()
            raise ControlError(f"no descriptor is left for it: {error.strerror}") from None
        for child in found:
            record = ProfileBegun(process=child.process, seconds=wish.seconds, memory=wish.memory, by=by)
            self._recorder.write(record)
        self._held += ends
        self._inspections.begin(found, now, partial(self._heard, request, ends), stacks=True, reads_on=True)

    def close_in_child(self) -> None:
        """In a forked child: these are the clients'."""
        for each in self._held:
            each.close()
        self._held.clear()

    def _meant(self, target: str) -> list[Child]:
        meant = self._inspections.meant(target)
        found = [each for each in meant if each.ready is not None]
        if not found:
            raise ControlError(f"{target} is starting yet: ask again when it is ready")
        if len(found) > PROFILED_MAX:
            one = found[0].process.name
            raise ControlError(f"{found[0].pool} has {count_of_workers(len(found))}: name one, as in {one}")
        for child in found:
            if child.protocol < PROFILE_PROTOCOL:
                name = child.process.name
                raise ControlError(
                    f"{name} is of an older version of gwctl: a reload or gwctl recycle {name} replaces it"
                )
            if child.channel.closed or child.channel.wants_write:
                raise ControlError(f"{child.process.name} cannot be reached: gwctl dump {child.process.name}")
        return found

    def _heard(
        self, request: int, ends: list[socket.socket], asked: list[Child], living: list[Child], _now: float
    ) -> None:
        self._held = [each for each in self._held if each not in ends]
        workers = []
        for child in asked:
            document: dict[str, Any] = msgspec.to_builtins(child.process)
            heard = child in living and child.inspected is not None and child.inspected.has_said
            workers.append(document | {"answers": heard})
        self._answer(request, True, "", {"workers": workers}, *ends)
