"""The signals of a worker.

    TERM            listeners close at once, then drain
    QUIT            end at once
    INT, HUP        nothing: Ctrl-C and cgroup-wide signals reach workers too, the master decides
    USR1, USR2,     nothing: they are the master's, and their default is to kill
    TTIN, TTOU
    DUMP_SIGNAL     the stacks of all threads to stderr
    EXPLAIN_SIGNAL  the same to where the master reads them, before it kills the worker; under asgi then, if
                    the interpreter comes to it, the request that has the loop
    INSPECT_SIGNAL  what the worker is at is told to the master, if the interpreter comes to it

"Nothing" is a handler that does nothing, not SIG_IGN: that would be inherited by programs
which the application starts. For the same reason a fork by the application gets the default
actions back (`multiprocessing`'s terminate() sends TERM to such a child, and it must not be
taken for ours).

What the application blocks while it is imported, while its lifespan starts or in a request is let in
again, as far as it is in this table: TERM would never arrive.
"""

from __future__ import annotations

import asyncio
import faulthandler
import signal
from _thread import get_ident
from collections.abc import Callable
from typing import Any, Final

from gwctl import signal_stack
from gwctl.ipc.assignment import DUMP_SIGNAL, EXPLAIN_SIGNAL, INSPECT_SIGNAL

_IGNORED: Final = (
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGTTIN,
    signal.SIGTTOU,
)
_STDERR: Final = 2
_HANDLED: Final = frozenset(
    {*_IGNORED, signal.SIGTERM, signal.SIGQUIT, DUMP_SIGNAL, EXPLAIN_SIGNAL, INSPECT_SIGNAL or EXPLAIN_SIGNAL}
)

Handler = Callable[[], None]


class Termination:
    """TERM's handler, in the shape of uvicorn's server, whose handler it is there.

    Libraries with tasks that only wait for the server's end look for it there and read ``should_exit``
    (sse-starlette's watcher): otherwise they would be waited for like work under way. It is set
    when the last request is answered; streams end as the drain has it (`gwctl.workers.asgi.event_streams`).
    """

    def __init__(self, terminate: Handler) -> None:
        self._terminate = terminate
        self.should_exit = False

    def handle_exit(self, _number: int, _frame: Any) -> None:
        self._terminate()

    def last_answered(self) -> None:
        """Nothing is served any more."""
        self.should_exit = True


class Signals:
    """Installs the table above; `install` again takes back what application code changed."""

    def __init__(
        self,
        terminate: Handler,
        quit_now: Handler,
        dump_fd: int = _STDERR,
        inspect: Handler | None = None,
    ) -> None:
        self._dump_fd = dump_fd
        self._handlers: dict[int, Callable[[int, Any], None]] = {
            number: _ignore for number in _IGNORED if number != DUMP_SIGNAL
        }
        self._masks: dict[int, set[int]] = {}
        self.termination = Termination(terminate)
        self._handlers[signal.SIGTERM] = self.termination.handle_exit
        self._handlers[signal.SIGQUIT] = lambda _number, _frame: quit_now()
        if INSPECT_SIGNAL is not None:
            tell = inspect or _nobody_asks
            self._handlers[INSPECT_SIGNAL] = lambda _number, _frame: tell()

    def explain_with(self, handler: Handler) -> None:
        """Call ``handler`` after the stacks. From the next `install` on; it makes EXPLAIN_SIGNAL interrupt
        system calls, as Python's handlers do: C code that minds may fail of it.
        """
        if self._dump_fd != _STDERR:
            self._handlers[EXPLAIN_SIGNAL] = lambda _number, _frame: handler()

    def install(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        """Set all handlers; with ``loop``, also remove those that were added to it."""
        faulthandler.unregister(EXPLAIN_SIGNAL)  # it chains to the handler that stands when it is registered
        for number, handler in self._handlers.items():
            if loop is not None:
                loop.remove_signal_handler(number)
            signal.signal(number, handler)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # as Python starts: writes say EPIPE
        faulthandler.enable(file=self._dump_fd)  # read by the master when it has died of it
        signal_stack.enlarge()
        faulthandler.register(DUMP_SIGNAL, file=_STDERR, all_threads=True, chain=False)
        if self._dump_fd != _STDERR:
            chain = EXPLAIN_SIGNAL in self._handlers
            faulthandler.register(EXPLAIN_SIGNAL, file=self._dump_fd, all_threads=True, chain=chain)

    # ---- a fork by the application, whose child starts with the default actions
    # (`gwctl.workers.app.fork_hooks`)

    def before_fork(self) -> None:
        """Have signals wait: one that came between the fork and the default action would be taken by our
        handler, or forgotten (CPython clears what is pending).
        """
        self._masks[get_ident()] = signal.pthread_sigmask(signal.SIG_BLOCK, self._handlers)

    def after_fork(self) -> None:
        """In the parent, and at the end in the child: let them in."""
        signal.pthread_sigmask(signal.SIG_SETMASK, self._masks.pop(get_ident()))

    def leave_to_child(self) -> None:
        signal.set_wakeup_fd(-1)
        faulthandler.enable(file=_STDERR)
        faulthandler.unregister(DUMP_SIGNAL)
        faulthandler.unregister(EXPLAIN_SIGNAL)
        for number, handler in self._handlers.items():
            if signal.getsignal(number) is handler:
                signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)


def unblock() -> None:
    """Take what was kept since before the fork: to be called when handlers stand."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def unblock_handled(*more: int) -> None:
    """Let in, in this thread, what is handled and ``more``. What else an application blocks is its own."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDLED.union(more))


def _nobody_asks() -> None:
    """A template is not inspected."""


def _ignore(_number: int, _frame: Any) -> None:
    """Do nothing."""
