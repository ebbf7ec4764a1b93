"""What others can see of a master, and only one can have: listeners, control socket, pid file."""

from __future__ import annotations

from pathlib import Path

from gwctl.errors import GwctlError
from gwctl.records.master import TakeoverIncomplete
from gwctl.supervisor.control.server import ControlServer
from gwctl.supervisor.listeners.listener_set import ListenerSet
from gwctl.supervisor.listeners.unix_socket import UnixSocket
from gwctl.supervisor.recorder import Recorder
from gwctl.supervisor.service.fd_store import FdStore
from gwctl.supervisor.service.pidfile import Pidfile


class Holdings:
    """Of one master."""

    def __init__(self, listeners: ListenerSet, fd_store: FdStore, recorder: Recorder) -> None:
        self.listeners = listeners
        self.control: ControlServer | None = None
        self.pidfile: Pidfile | None = None
        self._fd_store = fd_store
        self._recorder = recorder
        self.borrowed = False
        """The listeners are those of another master, which may go on with them."""
        self._given_away = False

    def keep_listeners(self) -> None:
        """Have systemd keep the listeners in force for the next master, if its unit allows it."""
        self.listeners.settle(self._fd_store.keep)

    def close_listeners(self, *, for_good: bool) -> None:
        """Who told ``gwctl stop`` means it; a signal of systemd's may be half of a restart."""
        if for_good and not (self.borrowed or self._given_away):
            self._fd_store.empty()
            self.listeners.keep(kept=False)
        self.listeners.close()

    def give_away(self, kept: tuple[str, ...] | None, pidfile: str | None) -> None:
        """Another master has this from now on: of the listeners, those that are ``kept``. None: not known.

        ``pidfile`` is where it will write its own.
        """
        self._given_away = True
        self._fd_store.empty()
        self.listeners.leave(kept)
        if self.control is not None:
            self.control.stop_listening(unlink=False)
        if self.pidfile is not None:
            own, self.pidfile = self.pidfile, None
            if pidfile is None or Path(pidfile) == own.path:
                own.let_go()
            else:
                own.remove()

    def take(self, control: UnixSocket, pidfile: str) -> None:
        """Own what another master has given up. What cannot be had is said: this one serves by now."""
        self.borrowed = False
        try:
            if self.control is not None:
                self.control.take(control)
        except (GwctlError, OSError) as error:
            self._incomplete(error)
        try:
            if pidfile:
                self.pidfile = Pidfile.write(Path(pidfile))
        except GwctlError as error:
            self._incomplete(error)

    def _incomplete(self, error: Exception) -> None:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        self._recorder.write(TakeoverIncomplete(reason=reason))

    def close_in_child(self) -> None:
        """In a forked child: close the copies."""
        if self.control is not None:
            self.control.close_in_child()
        if self.pidfile is not None:
            self.pidfile.close_in_child()

    def close(self, *, for_good: bool = False) -> None:
        """Give back what others can see."""
        if self.pidfile is not None:
            self.pidfile.remove()
        if self.control is not None:
            self.control.stop_listening()
        self.close_listeners(for_good=for_good)
