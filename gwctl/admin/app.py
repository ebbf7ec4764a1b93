"""The ASGI application of the admin process: a table of routes, and what happens to a request on its way.

A request is looked up by path and method, let in or not (`access`), takes a place (`limits`) and keeps it
until its answer is taken, and is answered: by probes, figures, API, page or a stream of events. An error of
whatever kind is a `RefusedError`: JSON below /api, a line of text elsewhere.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, NamedTuple

from gwctl.admin import page
from gwctl.admin.access import Access, Guard, client_of
from gwctl.admin.api import Api, answered
from gwctl.admin.figures.exposition import chosen
from gwctl.admin.following.feed import Feed
from gwctl.admin.following.records import KEPT_MAX
from gwctl.admin.following.stream import KINDS, Stream
from gwctl.admin.http import (
    Answer,
    ClientGoneError,
    Receive,
    RefusedError,
    Request,
    Response,
    Scope,
    Send,
    malformed,
    refusal,
)
from gwctl.admin.limits import Places
from gwctl.admin.link.connection import Link
from gwctl.admin.link.master import PROBE_S, READ_S, Master
from gwctl.admin.probes import Probes
from gwctl.admin.profiling import Profiling
from gwctl.admin.scrape import Scrape
from gwctl.admin.statsd.reporter import Reporter
from gwctl.config.model.statsd import StatsdSettings
from gwctl.control import protocol

PROBES_MAX: Final = 64
SCRAPES_MAX: Final = 16
API_MAX: Final = 32
STREAMS_MAX: Final = 32
PAGES_MAX: Final = 32
_READS: Final = ("GET", "HEAD")
_VARIABLE: Final = "POOL"

Handler = Callable[[Request, Response], Awaitable[None]]


class Route(NamedTuple):
    """One path. ``POOL`` in it stands for any name."""

    path: str
    methods: tuple[str, ...]
    access: Access
    places: Places
    handler: Handler

    def matches(self, path: tuple[str, ...]) -> bool:
        parts = self.path.removeprefix("/").split("/")
        return len(parts) == len(path) and all(
            part == given or (part == _VARIABLE and given) for part, given in zip(parts, path, strict=True)
        )


def _say_nothing(_text: str) -> None:
    """Where there is no event log."""


class Besides(NamedTuple):
    """What else the process does. ``warn`` writes to the event log, in any thread."""

    metrics_folder: str = ""
    """Where the applications' own metrics are; empty: there are none to be told."""
    statsd: StatsdSettings = StatsdSettings()
    """Where figures are sent."""
    warn: Callable[[str], None] = _say_nothing


NOTHING: Final = Besides()


class Admin:
    """The application. Its life is that of an ASGI lifespan: the link is made at the startup."""

    def __init__(
        self,
        sock: socket.socket,
        token: str,
        name: str,
        on_master_gone: Callable[[str], None] | None = None,
        besides: Besides = NOTHING,
    ) -> None:
        """Take over ``sock``, which is connected to the master's control server.

        Args:
            sock: A Unix stream socket.
            token: What changes need; empty: there are none.
            name: `master.name`.
            on_master_gone: Called once, in the loop, with the reason, when the master has closed the
                connection. `master_gone` is set then, too. There is nothing left to do for this process.
            besides: What it does besides answering for the master.
        """
        self.master_gone = asyncio.Event()
        self._on_master_gone = on_master_gone
        self._link = Link(sock, self._gone)
        self._master = Master(self._link)
        self._feed = Feed(self._master)
        self._guard = Guard(token)
        self._page = page.load()
        self._reporter: Reporter | None = None
        if besides.statsd.to:
            ask, records = partial(self._master.metrics.get, READ_S), self._feed.records
            self._reporter = Reporter(
                besides.statsd, ask, records.levels, records.complete.wait, besides.warn
            )
        sender = self._reporter.sender if self._reporter is not None else None
        self._scrape = Scrape(self._master, besides.metrics_folder, sender, besides.warn)
        self._routes = self._table(Api(name, self._guard, self._master, self._feed.sampler))

    def _table(self, api: Api) -> tuple[Route, ...]:
        probes = Probes(lambda: self._master.health.get(PROBE_S))
        probed, scraped, paged = (
            Places(PROBES_MAX, "probes"),
            Places(SCRAPES_MAX, "scrapes"),
            Places(PAGES_MAX, "pages"),
        )
        profiling = Profiling(self._master)
        called, followed = Places(API_MAX, "requests of the API"), Places(STREAMS_MAX, "streams of events")

        def read(path: str, handler: Callable[[Request], Awaitable[Answer]]) -> Route:
            return Route(path, _READS, Access.READ, called, _whole(handler))

        def change(path: str, kind: type[protocol.Method]) -> Route:
            return Route(path, ("POST",), Access.CHANGE, called, _whole(api.change(kind)))

        return (
            Route("/livez", _READS, Access.OPEN, probed, _whole(probes.livez)),
            Route("/readyz", _READS, Access.OPEN, probed, _whole(probes.readyz)),
            Route(f"/readyz/{_VARIABLE}", _READS, Access.OPEN, probed, _whole(probes.pool_readyz)),
            Route("/startupz", _READS, Access.OPEN, probed, _whole(probes.startupz)),
            Route("/metrics", _READS, Access.OPEN, scraped, _whole(self._metrics)),
            read("/api/status", api.status),
            read("/api/metrics", api.metrics),
            read("/api/requests", api.requests),
            read("/api/history", api.history),
            read("/api/events", api.events),
            Route("/api/session", _READS, Access.PAGE, called, _whole(api.session)),
            change("/api/reload", protocol.Reload),
            change("/api/rollback", protocol.Rollback),
            change("/api/restart", protocol.Restart),
            change("/api/recycle", protocol.Recycle),
            change("/api/scale", protocol.Scale),
            change("/api/log_level", protocol.LogLevel),
            change("/api/dump", protocol.Dump),
            Route("/api/profile", ("POST",), Access.CHANGE, called, _whole(profiling.profile)),
            Route(f"/profile/{_VARIABLE}", _READS, Access.PAGE, paged, _whole(profiling.picture)),
            Route("/events", ("GET",), Access.READ, followed, self._follow),
            Route("/", _READS, Access.PAGE, paged, _whole(self._show_page)),
        )

    # ---- ASGI

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        match scope["type"]:
            case "http":
                await self._serve(Request(scope, receive), send)
            case "lifespan":
                await self._live(receive, send)
            case "websocket":
                await receive()
                await send({"type": "websocket.close"})
            case kind:
                raise ValueError(f"nothing is known of {kind!r}")

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await self._link.open()
        except OSError as error:
            await send({"type": "lifespan.startup.failed", "message": f"cannot speak to the master: {error}"})
            return
        self._feed.begin()
        self._scrape.begin()
        if self._reporter is not None:
            self._reporter.begin()
        try:
            await send({"type": "lifespan.startup.complete"})
            await receive()
        finally:
            if self._reporter is not None:
                await self._reporter.end()
            await self._feed.end()
            await self._master.close()
            await self._scrape.end()
        await send({"type": "lifespan.shutdown.complete"})

    def _gone(self, why: str) -> None:
        self.master_gone.set()
        self._feed.tell_gone()
        if self._on_master_gone is not None:
            self._on_master_gone(why)

    async def _serve(self, request: Request, send: Send) -> None:
        response = Response(send, head_only=request.method == "HEAD")
        try:
            route = self._route(request)
            self._guard.check(request, route.access)
            with route.places.one(client_of(request)):
                await route.handler(request, response)
        except RefusedError as error:
            await response.whole(refusal(error, as_json=request.is_api))
        except ClientGoneError:
            pass

    def _route(self, request: Request) -> Route:
        """Raises RefusedError: There is none for this path, or not for this method."""
        for route in self._routes:
            if route.matches(request.path):
                if request.method not in route.methods:
                    allowed = ", ".join(route.methods)
                    text = f"{request.method} is not for {route.path}: it takes {allowed}"
                    raise RefusedError(405, "method", text, (("allow", allowed),))
                return route
        raise self._unknown(request)

    def _unknown(self, request: Request) -> RefusedError:
        paths = [each.path for each in self._routes if each.path.startswith("/api/") or not request.is_api]
        path = "/" + "/".join(request.path)
        return RefusedError(404, "not_found", f"no {path!r} here: there is {', '.join(paths)}")

    # ---- what is no part of the API

    async def _show_page(self, _request: Request) -> Answer:
        return self._page

    async def _metrics(self, request: Request) -> Answer:
        form = chosen(request.field("accept") or "")
        body = await answered(self._scrape.get(form))
        return Answer(200, body, form.content_type, (("vary", "accept"),))

    async def _follow(self, request: Request, response: Response) -> None:
        query = request.query("with", "last")
        kinds = {kind for each in query.get("with", ()) for kind in each.split(",") if kind}
        if strange := kinds.difference(KINDS):
            malformed(f"with={min(strange)}: there is {', '.join(KINDS)}")
        last = _number(query.get("last", ["0"])[-1])
        if last is None:
            malformed(f"last: a number of events, {KEPT_MAX} at most")
        records = self._feed.records
        await records.known()
        place = records.place(_number(request.field("last-event-id") or ""), last)
        await Stream(self._feed, frozenset(kinds), place).run(request, response)


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def _whole(handler: Callable[[Request], Awaitable[Answer]]) -> Handler:
    """A handler whose answer is sent as a whole."""

    async def handle(request: Request, response: Response) -> None:
        await response.whole(await handler(request))

    return handle
