"""The master that runs, as the new one sees it: asked for its listeners before anything is bound."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from gwctl.config.model.settings import Settings
from gwctl.config.model.types import WEEK_S
from gwctl.control import protocol
from gwctl.control.client import ControlClient
from gwctl.errors import ControlError
from gwctl.supervisor.listeners.unix_socket import UnixSocket

_ANSWER_S: Final = 15.0
_MARGIN_S: Final = 30.0
"""For a machine under load, beyond what the settings allow."""


class Predecessor:
    """What it has given us: descriptors, of which each is somebody's here until `close`."""

    def __init__(self, offer: protocol.Offer, path: Path, fds: list[int]) -> None:
        self.pid = offer.pid
        self.program = offer.program
        line, control, *rest = fds
        self.line = socket.socket(fileno=line)
        self.control = UnixSocket(socket.socket(fileno=control), path, offer.control_inode)
        found = iter(rest)
        self.listeners: Mapping[str, tuple[int, ...]] = {
            each.name: tuple(next(found) for _ in range(each.count)) for each in offer.listeners
        }

    @property
    def count(self) -> int:
        """Of its listening sockets."""
        return sum(map(len, self.listeners.values()))


def ask(path: Path, settings: Settings) -> Predecessor | None:
    """Have the master at ``path`` give copies of its listeners; None: none runs there.

    Raises:
        ControlError: It refuses, does not answer, or is not to be trusted.
    """
    try:
        return _ask(path, settings)
    except ControlError:
        if nobody_listens(path):  # by now: it was about to end
            return None
        raise


def _ask(path: Path, settings: Settings) -> Predecessor:
    client = ControlClient(path)
    fds: list[int] = []
    with client:
        owner = client.owner_uid
        if owner not in {None, os.geteuid()}:
            raise ControlError(
                f"the master at {path} runs as uid {owner}, and this one as uid {os.geteuid()}: "
                "a master takes over from one of its own user"
            )
        request = protocol.TakeOver(os.getpid(), patience_s(settings))
        try:
            answer = client.call("take_over", request, timeout_s=_ANSWER_S, passed=fds)
            offer = msgspec.convert(answer, protocol.Offer)
            _check(len(fds) == 2 + sum(each.count for each in offer.listeners), path)
        except BaseException as error:
            for fd in fds:
                os.close(fd)
            if isinstance(error, msgspec.ValidationError):
                raise ControlError(f"the master at {path} does not speak this protocol: {error}") from None
            raise
    return Predecessor(offer, path, fds)


def _check(sound: bool, path: Path) -> None:
    if not sound:
        raise ControlError(f"the master at {path} passed other descriptors than it says")


def nobody_listens(path: Path) -> bool:
    """The socket is what a master that was killed has left behind."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError, NotADirectoryError):
            return True
        except OSError:
            return False
    return False


def patience_s(settings: Settings) -> float:
    """How long it takes at most until all workers have settled: that of the slowest pool, with a template."""
    pools = settings.pool.values()
    boots = max((2 * pool.timeouts.boot_timeout_s + pool.reload.settle_s for pool in pools), default=0.0)
    return min(settings.master.bind_retry_s + boots + _MARGIN_S, WEEK_S)
