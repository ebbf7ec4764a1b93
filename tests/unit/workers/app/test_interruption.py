"""A quick stop takes the main thread out of the application, also where Python drops exceptions."""

from __future__ import annotations

import _thread
import gc
import os
import signal
import sys
import threading
import weakref
from collections.abc import Callable

import pytest

from gwctl.workers.app.interruption import (
    Interrupted,
    Interruption,
    comes_of_interruption,
    resend_dropped,
)
from tests.support import child

AT_ONCE = """
def begin(*what):
    _thread.start_new_thread = start
    raise_signal(SIGQUIT)
    return 1
"""
"""In the place of a thread that sends a signal."""


def listen(interruption: Interruption) -> None:
    """Have SIGQUIT heard by a handler that is no code of an application, as that of a worker."""
    machinery = {"interruption": interruption}
    exec(compile("heard = lambda *_: interruption.raise_in_application()", os.__file__, "exec"), machinery)
    signal.signal(signal.SIGQUIT, machinery["heard"])


def waits() -> None:
    """Code of an application."""
    threading.Event().wait(30.0)


class Thing:
    """Something to refer to."""


class Finalized:
    def __del__(self) -> None:
        be_told_to_end()


def be_told_to_end() -> None:
    os.kill(os.getpid(), signal.SIGQUIT)
    for _ in range(10_000):  # the handler runs between two of these
        pass


def finalizer() -> None:
    Finalized()


def weak_reference() -> None:
    thing = Thing()
    weakref.finalize(thing, lambda: None)
    reference = weakref.ref(thing, lambda _gone: be_told_to_end())
    del thing
    assert reference() is None


def collection() -> None:
    def collects(phase: str, _info: dict[str, int]) -> None:
        if phase == "stop":
            gc.callbacks.remove(collects)
            be_told_to_end()

    gc.callbacks.append(collects)
    gc.collect()


def nothing() -> None:
    os.kill(os.getpid(), signal.SIGQUIT)


@pytest.mark.parametrize("drops", [nothing, finalizer, weak_reference, collection])
@pytest.mark.parametrize("own_hook", [False, True])
def test_what_is_dropped_comes_again(drops: Callable[[], None], own_hook: bool) -> None:
    def serve() -> str:
        told: list[str] = []
        listen(Interruption())
        resend_dropped()
        if own_hook:
            sys.unraisablehook = lambda args: told.append(args.exc_type.__name__)
        resend_dropped()
        try:
            drops()
            waits()
        except Interrupted:
            return f"interrupted {told}"
        return f"not interrupted {told}"

    assert child.result(*child.start(serve)) == "interrupted []"


def test_one_that_comes_while_python_tells_what_it_dropped_comes_again() -> None:
    """What a hook raises is told to nobody."""

    def serve() -> str:
        machinery = {**vars(signal), "_thread": _thread, "start": _thread.start_new_thread}
        exec(compile(AT_ONCE, os.__file__, "exec"), machinery)
        listen(Interruption())
        resend_dropped()
        _thread.start_new_thread = machinery["begin"]  # in this child
        try:
            finalizer()
            waits()
        except Interrupted:
            return "interrupted"
        return "not interrupted"

    assert child.result(*child.start(serve)) == "interrupted"


def test_other_exceptions_are_told_as_ever() -> None:
    def serve() -> str:
        told: list[str] = []
        sys.unraisablehook = lambda args: told.append(args.exc_type.__name__)
        resend_dropped()

        class Broken:
            def __del__(self) -> None:
                raise KeyError("x")

        Broken()
        return str(told)

    assert child.result(*child.start(serve)) == "['KeyError']"


def test_what_python_makes_of_it_comes_of_it() -> None:
    """It is raised wherever it comes: in __set_name__, say, for which CPython up to 3.11 raises another error."""

    class Named:
        def __set_name__(self, _owner: type, _name: str) -> None:
            raise Interrupted

    with pytest.raises(BaseException) as raised:
        type("Owner", (), {"named": Named()})
    assert comes_of_interruption(raised.value)


def test_what_comes_of_something_else_does_not() -> None:
    error, other = ValueError(1), ValueError(2)
    error.__cause__, other.__cause__ = other, error  # a library may do so
    assert not comes_of_interruption(error)
