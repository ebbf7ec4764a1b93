"""`gwctl scale` waits for the workers that it has asked for, and not for those that nobody starts."""

from __future__ import annotations

import time
from typing import Any, cast

import pytest

from gwctl.cli import control_commands
from gwctl.control.client import ControlClient


class Answers:
    """Says the same of one pool each time, but for ``later``, from the third time on."""

    def __init__(self, *states: str, phase: str = "serving", later: tuple[str, ...] = ()) -> None:
        self._states = states
        self._later = later or states
        self._phase = phase
        self.asked = 0

    def call(self, *_: object, **__: object) -> dict[str, Any]:
        self.asked += 1
        states = self._states if self.asked < 3 else self._later
        ready = states.count("ready")
        pool = {"name": "web", "size": 3, "ready": ready, "workers": [{"state": state} for state in states]}
        phase = self._phase if self.asked < 3 else "serving"
        return {"phase": phase, "degraded": "disk differs from what runs", "pools": [pool]}


def until_ready(answers: Answers) -> str:
    return control_commands._until_ready(cast("ControlClient", answers), "web", 3, 0)


def test_nobody_waits_for_workers_that_no_one_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked in the middle of a rollback, it finds that places stay vacant: their code is not on disk."""
    monkeypatch.setattr(control_commands, "_NOBODY_COMES_S", 0.15)
    answers = Answers("ready", "ready", phase="reloading")
    began = time.monotonic()
    said = until_ready(answers)
    assert said == (
        "2 of 3 are ready, and no other is started before the next reload (disk differs from what runs)"
    )
    assert answers.asked >= 3, "while a reload goes on it is waited for"
    assert time.monotonic() - began < 30


@pytest.mark.parametrize(
    "answers",
    [
        Answers("ready", "ready", "starting", later=("ready", "ready", "ready")),
        Answers("ready", "ready", phase="reloading", later=("ready", "ready", "ready")),
    ],
)
def test_a_worker_that_boots_is_waited_for(answers: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_commands, "_NOBODY_COMES_S", 0.0)
    assert until_ready(answers) == ""
