"""Where ``gwctl top`` has its figures from: three questions every few seconds, not waited for.

A master that goes away is waited for at the same socket; so is one that answers no more. One that is upgraded
keeps its connections and answers after that.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from gwctl.cli.top.model import History, Model, sample
from gwctl.control.client import ControlClient
from gwctl.control.protocol import NO_SUCH_METHOD, Incoming, Method, Metrics, Requests, Status
from gwctl.errors import ControlError
from gwctl.wording import age

RETRY_S: Final = 0.5
SILENT_S: Final = 5.0
"""A master that says nothing for so long is said not to answer."""
_QUESTIONS: Final[dict[str, Method]] = {"status": Status(), "metrics": Metrics(), "requests": Requests()}

OnAnswer = Callable[[bool, str, dict[str, Any]], None]
"""Whether it was done, the text, and what else there is."""


class Feed:
    """Begins with a connection, which it closes. ``model`` is the last picture of the master."""

    def __init__(self, client: ControlClient, interval_s: float) -> None:
        self.path = client.path
        self.model: Model | None = None
        self.trouble = ""
        """Why there is no newer model; empty when all is well."""
        self.news = ""
        """What is to be known of the last model: it is another master's."""
        self.pictures = 0
        """So many models there were."""
        self._client: ControlClient | None = client
        self._interval_s = interval_s
        self._history = History()
        self._due = self._retry_at = self._asked_at = self._lost_at = 0.0
        self._pending: dict[int, str] = {}
        self._answers: dict[str, dict[str, Any]] = {}
        self._others: dict[int, OnAnswer] = {}

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    @property
    def fds(self) -> list[int]:
        return [self._client.fileno()] if self._client is not None else []

    def next_in(self) -> float:
        """Seconds until `turn` has something to do that no descriptor tells of."""
        now = time.monotonic()
        if self._client is None:
            return max(0.0, self._retry_at - now)
        if self._pending:
            return max(0.5, self._asked_at + SILENT_S - now)
        return max(0.0, self._due - now)

    def ask(self, name: str, method: Method, on_answer: OnAnswer) -> None:
        """Something else than the figures."""
        if self._client is None:
            on_answer(False, "the master is away", {})
            return
        try:
            self._others[self._client.ask(name, method)] = on_answer
        except ControlError as error:
            on_answer(False, str(error), {})

    def turn(self) -> None:
        """Take what has come; ask when it is time; look for the master when it is away."""
        if self._client is None:
            self._connect()
        try:
            if self._client is not None:
                for incoming in self._client.take():
                    self._take(incoming)
                self._ask(self._client)
        except ControlError:
            self._lose()

    def _connect(self) -> None:
        now = time.monotonic()
        if now < self._retry_at:
            return
        try:
            self._client = ControlClient(self.path)
            self._due = now
        except ControlError as error:
            self._retry_at = now + RETRY_S
            since = age(now - self._lost_at)
            self.trouble = f"the master went away {since} ago; waiting for it ({error})"

    def _lose(self) -> None:
        """The connection ended: that of a silent client, or the master's."""
        self.close()
        others, self._others = self._others, {}
        for on_answer in others.values():
            on_answer(False, "the master went away before it answered", {})
        self._pending.clear()
        self._lost_at = self._retry_at = time.monotonic()
        self._connect()

    def _ask(self, client: ControlClient) -> None:
        now = time.monotonic()
        if self._pending:
            if now - self._asked_at >= SILENT_S:
                self.trouble = f"the master has not answered for {age(now - self._asked_at)}"
        elif now >= self._due:
            self._asked_at, self._due = now, max(self._due + self._interval_s, now + self._interval_s / 2)
            self._answers.clear()
            for name, question in _QUESTIONS.items():
                self._pending[client.ask(name, question)] = name

    def _take(self, incoming: Incoming) -> None:
        if incoming.method is not None or not isinstance(incoming.id, int):
            return  # news of what was asked for besides
        failure = incoming.error
        if (on_answer := self._others.pop(incoming.id, None)) is not None:
            result = incoming.result or {}
            text = failure.message if failure is not None else str(result.get("text", ""))
            on_answer(failure is None, text, result)
            return
        name = self._pending.pop(incoming.id, None)
        if name is None:
            return
        if failure is None:
            self._answers[name] = incoming.result or {}
        elif failure.code != NO_SUCH_METHOD:
            self.trouble = failure.message
        if not self._pending:
            self._show()

    def _show(self) -> None:
        if "status" not in self._answers:
            return
        before = self.model
        found = (self._answers.get(name) for name in ("metrics", "requests"))
        try:
            self.model = self._history.add(sample(self._answers["status"], *found))
        except ControlError as error:
            self.trouble = str(error)
            return
        self.pictures += 1
        self.trouble, self.news = "", _news(before, self.model)


def _news(before: Model | None, now: Model) -> str:
    if before is None:
        return ""
    if now.pid != before.pid:
        return f"another master than before: pid {now.pid}, gwctl {now.version}"
    if now.upgrades > before.upgrades:
        return f"the master was upgraded: gwctl {now.version}"
    return ""
