"""/api: from HTTP to what is asked of the master, and back. The master decides, as it does for ``gwctl``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

from gwctl import __version__
from gwctl.admin.access import Guard
from gwctl.admin.figures.sampler import KEPT_EVERY_S, Sampler
from gwctl.admin.http import Answer, RefusedError, Request, json_answer, malformed
from gwctl.admin.link.errors import AnsweredNoError, CrowdedError, OddAnswerError, SilentError
from gwctl.admin.link.master import CHANGE_S, READ_S, Document, Master
from gwctl.control import protocol
from gwctl.errors import ControlError

PROGRESS_MAX: Final = 500
EVENTS_MAX: Final = 5000
"""The master keeps fewer."""
_LONG: Final = (protocol.Reload, protocol.Rollback, protocol.Restart)
"""The master bounds these itself: workers boot and drain meanwhile."""
_AGAIN: Final = (("retry-after", "1"),)

Handler = Callable[[Request], Awaitable[Answer]]


class Api:
    """The routes below /api."""

    def __init__(self, name: str, guard: Guard, master: Master, sampler: Sampler) -> None:
        self._name = name
        self._guard = guard
        self._master = master
        self._sampler = sampler

    # ---- reading

    async def session(self, request: Request) -> Answer:
        return json_answer(
            {
                "name": self._name,
                "version": __version__,
                "token_accepted": self._guard.accepts(request),
                "changes": self._guard.has_token,
            }
        )

    async def status(self, request: Request) -> Answer:
        request.query()
        return json_answer(await answered(self._master.status.get(READ_S)))

    async def metrics(self, request: Request) -> Answer:
        request.query()
        return json_answer(await answered(self._master.metrics.get(READ_S)))

    async def history(self, request: Request) -> Answer:
        request.query()
        return json_answer({"seconds": KEPT_EVERY_S, "samples": list(self._sampler.kept)})

    async def requests(self, request: Request) -> Answer:
        """What all serve is asked once for all who ask; the worker that serves longest comes first."""
        (worker, *others) = request.query("worker").get("worker", [""])
        if others:
            malformed("one worker, or all: leave `worker` out")
        if worker:
            wish = convert({"worker": worker}, protocol.Requests)
            document = await answered(self._master.ask(wish, READ_S), refused=400)
        else:
            document = await answered(self._master.requests.get(READ_S))
        return json_answer({"ok": True} | document | {"workers": _longest_first(document)})

    async def events(self, request: Request) -> Answer:
        """What is kept of what happened, the oldest first."""
        query = request.query("last", "kind", "level", "since_s")
        wanted: dict[str, Any] = {"kinds": tuple(query.pop("kind", ()))}
        for name, (value, *others) in query.items():
            if others:
                malformed(f"`{name}` is given twice")
            wanted[name] = value
        events: list[dict[str, Any]] = []
        lost = 0

        def hear(news: protocol.News) -> None:
            nonlocal lost
            if isinstance(news, protocol.Happened) and len(events) < EVENTS_MAX:
                events.append(news.event)
            else:
                lost += news.count if isinstance(news, protocol.Lost) else 1

        wish = convert(wanted, protocol.Events, strict=False)
        await answered(self._master.ask(wish, READ_S, hear), refused=400)
        return json_answer({"events": events} | ({"lost": lost} if lost else {}))

    # ---- changing

    def change(self, kind: type[protocol.Method]) -> Handler:
        """A handler that has the master do what the body says."""

        async def handle(request: Request) -> Answer:
            wish = convert(decoded(await request.body()), kind)
            return await request.unless_gone(self._change(wish))

        return handle

    async def _change(self, wish: protocol.Method) -> Answer:
        progress: list[dict[str, str]] = []

        def hear(news: protocol.News) -> None:
            if isinstance(news, protocol.Progress) and len(progress) < PROGRESS_MAX:
                step = {
                    "pool": news.pool,
                    "phase": news.phase,
                    "outcome": news.outcome,
                    "detail": news.detail,
                }
                progress.append(step)

        long = isinstance(wish, _LONG)
        try:
            result = await answered(self._master.ask(wish, None if long else CHANGE_S, hear))
        except RefusedError as error:
            if long:
                error.more["progress"] = progress
            raise
        return json_answer({"ok": True} | result | ({"progress": progress} if long else {}))


def _longest_first(document: Document) -> list[Any]:
    def age_s(worker: Any) -> float:
        try:
            return max((float(each["age_s"]) for each in worker["requests"]), default=-1.0)
        except (TypeError, KeyError, ValueError):
            return -1.0

    workers = document.get("workers")
    return sorted(workers, key=age_s, reverse=True) if isinstance(workers, list) else []


async def answered(answer: Awaitable[Any], refused: int = 409) -> Any:
    """Await ``answer``.

    Raises:
        RefusedError: There is none; with the status ``refused`` if it is no.
    """
    try:
        return await answer
    except AnsweredNoError as error:
        status, code = _STATUS.get(error.failure.code, (502, "odd_answer"))
        if code == "refused":
            status = refused
        more = {"data": error.failure.data} if error.failure.data else {}
        raise RefusedError(status, code, str(error), _AGAIN if status == 503 else (), more) from None
    except SilentError as error:
        raise RefusedError(504, "silent", str(error)) from None
    except CrowdedError as error:
        raise RefusedError(503, "busy", str(error), _AGAIN) from None
    except OddAnswerError as error:
        raise RefusedError(502, "odd_answer", str(error)) from None
    except ControlError as error:
        raise RefusedError(503, "gone", str(error)) from None


_STATUS: Final = {
    protocol.REFUSED: (409, "refused"),
    protocol.UNAVAILABLE: (503, "busy"),
    protocol.WRONG_PARAMETERS: (400, "malformed"),
    protocol.NO_SUCH_METHOD: (501, "unknown"),
}


def decoded(body: bytes) -> dict[str, Any]:
    """The object in a body; an empty body is an empty one.

    Raises:
        RefusedError: It is no object.
    """
    if not body.strip():
        return {}
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except RecursionError:
        malformed("the body is nested too deeply")
    except ValueError as error:  # a DecodeError, or bytes that are no text
        malformed(f"the body is not understood: {error}")


def convert(params: dict[str, Any], kind: type[protocol.Method], *, strict: bool = True) -> protocol.Method:
    """``strict``: numbers are numbers, and not texts that say one.

    Raises:
        RefusedError: They are not what is asked with. A field that is not known might mean a lot.
    """
    known = kind.__struct_fields__
    for name in params:
        if name not in known:
            malformed(f"no field {name!r}: there is {', '.join(known)}" if known else f"no field {name!r}")
    try:
        return msgspec.convert(params, kind, strict=strict)
    except msgspec.ValidationError as error:
        malformed(str(error))
