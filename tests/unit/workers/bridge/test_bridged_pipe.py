"""What goes from the application's loop to the call in a runner's thread: once, and whole or not as whole."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from gwctl.ipc.scoreboard import EXTENDED_UNTIL
from gwctl.workers.bridge.call import BridgedCall
from gwctl.workers.bridge.request import Pipe
from tests.support.compiled import pure_only
from tests.support.engine import Engine
from tests.support.engine_apps import application


class Quiet:
    def ring(self) -> None:
        """Nobody waits."""


class Call(BridgedCall):
    """One that passes on to nobody."""

    passed_on: list[bytes]

    def _pass_on(self, pieces: list[Any]) -> None:
        self.passed_on += pieces


@pytest.fixture
def pipe() -> Pipe:
    return Pipe(SimpleNamespace(write_paused=False), Quiet())  # type: ignore[arg-type]


@pure_only
def test_nothing_is_taken_twice(pipe: Pipe) -> None:
    """Neither when it comes right after a look that found nothing."""
    found = pipe.take()
    pipe.put(b"block", 5)
    assert found == []
    assert pipe.take() == [b"block"]
    assert pipe.take() == []


@pure_only
@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
def test_a_response_that_ends_while_its_call_is_given_up_is_whole_only_if_all_of_it_is_sent(
    pipe: Pipe, late: bool
) -> None:
    """The application's last words may come right after the rest was taken: they are dropped."""
    far = SimpleNamespace(pipe=pipe, over=False, is_cut=False)

    def last_words() -> None:
        pipe.put(b"last", 5)
        far.over = True

    class Late:
        def close(self) -> list[bytes]:
            taken = pipe.close()
            last_words()
            return taken

    pipe.put(b"first", 5)
    if late:
        far.pipe = Late()
    else:
        last_words()
    call: Any = Call.__new__(Call)
    call._given, call.head_sent, call.aborted, call.passed_on = 504, True, False, []
    call.request = SimpleNamespace(status=200, sent=9)
    call._give_up(far)
    assert call.aborted == late
    assert call.passed_on == ([] if late else [b"first", b"last"])
    assert not call.keep_alive


@pure_only
def test_more_time_for_a_call_that_is_over_is_not_the_next_requests() -> None:
    """What is on the scoreboard is by then another request of the sync worker."""
    with Engine(application("asgi"), "sync+asgi", timeouts={"request_timeout_s": 5.0}) as engine:
        runner: Any = engine.server.runner
        runner._extend_call(SimpleNamespace(task="of the one before"), 100.0)
        assert engine.record.floats[EXTENDED_UNTIL] == 0.0
        runner.bridge.current = now = SimpleNamespace(task="of this one")
        runner._extend_call(now, 100.0)
        assert engine.record.floats[EXTENDED_UNTIL] > 0.0
        runner.bridge.current = None
