"""ASGI lifespan: which applications run with it, which without, which not at all."""

from __future__ import annotations

import asyncio
import os

import pytest

from gwctl.log.event_log import Log
from gwctl.log.level import Level
from gwctl.workers.app.lifespan import Lifespan, LifespanError


class Lines:
    """A Log whose lines can be read."""

    def __init__(self) -> None:
        self._read, write = os.pipe()
        os.set_blocking(self._read, False)
        self.log = Log(write, Level.DEBUG, "web.0 g1")

    @property
    def text(self) -> str:
        try:
            return os.read(self._read, 65536).decode()
        except BlockingIOError:
            return ""


async def started(application, lines=None, mode="auto"):
    state: dict = {}
    lifespan = Lifespan(application, state, (lines or Lines()).log, mode)
    await lifespan.startup()
    return lifespan, state


async def answers(scope, receive, send):
    assert scope["type"] == "lifespan"
    assert (await receive())["type"] == "lifespan.startup"
    scope["state"]["db"] = "open"
    await send({"type": "lifespan.startup.complete"})
    assert (await receive())["type"] == "lifespan.shutdown"
    scope["state"]["db"] = "closed"
    await send({"type": "lifespan.shutdown.complete"})


def test_startup_and_shutdown_with_state():
    async def scenario():
        lifespan, state = await started(answers)
        assert lifespan.running
        assert state == {"db": "open"}
        await lifespan.shutdown(5)
        assert state == {"db": "closed"}

    asyncio.run(scenario())


def test_a_background_coroutine_lives_as_long_as_the_worker():
    seen = []
    enough = asyncio.Event()

    async def application(scope, receive, send):
        await receive()

        async def background():
            while True:
                seen.append("turn")
                if len(seen) == 3:
                    enough.set()
                await asyncio.sleep(0)

        task = asyncio.create_task(background())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        task.cancel()
        await send({"type": "lifespan.shutdown.complete"})

    async def scenario():
        lifespan, _ = await started(application)
        await enough.wait()
        await lifespan.shutdown(5)

    asyncio.run(scenario())


async def unknown_scope(scope, receive, send):
    raise NotImplementedError(f"Unknown scope type {scope['type']}")


async def returns(scope, receive, send):
    if scope["type"] != "http":
        return


async def answers_http(scope, receive, send):
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})


@pytest.mark.parametrize("application", [unknown_scope, returns, answers_http])
def test_an_application_without_lifespan_is_served_without(application):
    async def scenario():
        lines = Lines()
        lifespan, _ = await started(application, lines)
        assert not lifespan.running
        assert "debug web.0 g1   the application does not use lifespan" in lines.text
        await lifespan.shutdown(5)

    asyncio.run(scenario())


async def fails(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database at db:5432"})


async def raises(scope, receive, send):
    await receive()
    raise OSError("no database")


async def exits(scope, receive, send):
    await receive()
    raise SystemExit("no database")


async def fails_as_starlette_does(scope, receive, send):
    await receive()
    try:
        raise OSError("no database")
    except OSError:
        await send(
            {
                "type": "lifespan.startup.failed",
                "message": "Traceback ...\n  File ...\nOSError: no database\n",
            }
        )
        raise


async def takes_it_for_a_request(scope, receive, send):
    message = await receive()
    assert message["body"] is not None


async def asserts_its_scope(scope, receive, send):
    await receive()
    assert scope["type"] == "http"


async def cancels(scope, receive, send):
    await receive()
    raise asyncio.CancelledError


async def fails_and_raises_something_else(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed"})
    raise KeyError("cleanup")


FAILED = "lifespan startup failed"
UNUSED = 'the application does not use lifespan, and `lifespan` is "on"'


@pytest.mark.parametrize(
    ("application", "mode", "message", "frames"),
    [
        (fails, "auto", f"{FAILED}: no database at db:5432", False),
        (fails, "on", f"{FAILED}: no database at db:5432", False),
        (exits, "auto", f"{FAILED}: SystemExit: no database", True),
        (exits, "on", f"{FAILED}: SystemExit: no database", True),
        (fails_as_starlette_does, "auto", f"{FAILED}: OSError: no database", True),
        (fails_as_starlette_does, "on", f"{FAILED}: OSError: no database", True),
        (fails_and_raises_something_else, "auto", FAILED, True),
        (raises, "on", f"{FAILED}: OSError: no database", True),
        (takes_it_for_a_request, "on", f"{FAILED}: KeyError: 'body'", True),
        (unknown_scope, "on", f"{UNUSED}: NotImplementedError: Unknown scope type lifespan", False),
        (returns, "on", UNUSED, False),
        (
            answers_http,
            "on",
            f"{UNUSED}: NotLifespanError: sent http.response.start in the lifespan scope",
            False,
        ),
    ],
)
def test_a_startup_that_fails_is_never_swallowed(application, mode, message, frames):
    async def scenario():
        with pytest.raises(LifespanError) as caught:
            await started(application, mode=mode)
        assert str(caught.value) == message
        assert ("test_lifespan.py" in caught.value.traceback) == frames
        assert "gwctl" not in caught.value.traceback
        assert "uvicorn" not in caught.value.traceback

    asyncio.run(scenario())


@pytest.mark.parametrize("application", [raises, takes_it_for_a_request, asserts_its_scope, cancels])
def test_an_application_that_raises_is_served_without_lifespan_and_one_warning_says_why(application):
    async def scenario():
        lines = Lines()
        lifespan, _ = await started(application, lines)
        assert not lifespan.running
        text = lines.text
        assert text.count("warn  web.0 g1   the application raised at lifespan startup: ") == 1
        assert "test_lifespan.py" in text
        assert '"off" does not call it, "on" refuses to start' in text
        await lifespan.shutdown(5)
        assert lines.text == ""

    asyncio.run(scenario())


def test_a_lifespan_that_is_wanted_and_used_runs():
    async def scenario():
        lifespan, state = await started(answers, mode="on")
        await lifespan.shutdown(5)
        assert state == {"db": "closed"}

    asyncio.run(scenario())


def test_a_lifespan_that_ends_by_itself_is_logged():
    async def application(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await asyncio.sleep(0)
        raise ValueError("watcher broke")

    async def scenario():
        lines = Lines()
        lifespan, _ = await started(application, lines)
        text = ""
        while "watcher broke" not in text:
            await asyncio.sleep(0)
            text += lines.text
        assert "error web.0 g1   the lifespan ended by itself: ValueError: watcher broke" in text
        await lifespan.shutdown(5)

    asyncio.run(scenario())


def test_a_shutdown_that_hangs_ends_at_its_deadline():
    async def application(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await asyncio.Event().wait()

    async def scenario():
        lines = Lines()
        lifespan, _ = await started(application, lines)
        await lifespan.shutdown(0.05)
        assert "lifespan shutdown was not finished" in lines.text

    asyncio.run(scenario())


def test_a_shutdown_that_fails_is_logged_once():
    async def application(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        raise OSError("cannot flush")

    async def scenario():
        lines = Lines()
        lifespan, _ = await started(application, lines)
        await lifespan.shutdown(5)
        assert lines.text.count("lifespan shutdown failed: OSError: cannot flush") == 1

    asyncio.run(scenario())
