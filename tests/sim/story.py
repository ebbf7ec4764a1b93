"""What went in and came out of a fleet, to be read by a person."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from gwctl.records.sentences import sentence
from gwctl.supervisor.core.actions import Action, Note, Progress
from gwctl.supervisor.core.events import Event


class Story:
    """The last turns of an episode; give `heard` to `episode` as its listener."""

    def __init__(self, last: int = 30) -> None:
        self._turns: deque[tuple[float, Sequence[Event], Sequence[Action]]] = deque(maxlen=last)

    def heard(self, now: float, events: Sequence[Event], actions: Sequence[Action]) -> None:
        if events or actions:
            self._turns.append((now, events, actions))

    def __str__(self) -> str:
        lines = []
        for now, events, actions in self._turns:
            lines.append(f"{now:10.3f}")
            lines += [f"    < {event}" for event in events]
            for action in actions:
                if isinstance(action, Note):
                    lines.append(f"      {action.record.level}: {sentence(action.record)}")
                elif not isinstance(action, Progress):
                    lines.append(f"    > {action}")
        return "\n".join(lines)
