"""One client's stream of server-sent events (the text/event-stream of HTML).

A stream holds places, not messages: the number of the last record that it was sent, of the last sample,
status, list of requests. When its client has taken what was sent it gets what there is then. What is not kept
any more is lost to it, and of records it is told how many; of status and requests only the latest counts.
"""

from __future__ import annotations

import asyncio
from typing import Final

from gwctl.admin.following.feed import Feed
from gwctl.admin.following.poll import Poll
from gwctl.admin.http import Request, Response
from gwctl.json_text import encode

KINDS: Final = ("status", "samples", "requests")
BEAT_S: Final = 15.0
"""A line that says nothing keeps what is between from taking the stream for dead."""
BLOCK_BYTES: Final = 1 << 16
"""Of one message to the client, and one event more."""
AGAIN_MS: Final = 2000
"""After so long a browser comes again."""
_FIELDS: Final = (("x-accel-buffering", "no"),)


class Stream:
    """``kinds`` are of `KINDS`, beside the records after the one with the number ``place``."""

    def __init__(self, feed: Feed, kinds: frozenset[str], place: int) -> None:
        self._feed = feed
        self._place = place
        self._polls: dict[str, tuple[Poll, int]] = {}
        if "status" in kinds:
            self._polls["status"] = feed.status, 0
        if "requests" in kinds:
            self._polls["requests"] = feed.requests, 0
        self._samples: int | None = feed.sampler.follow() if "samples" in kinds else None
        self._woken = asyncio.Event()
        for poll, _ in self._polls.values():
            poll.follow()
        feed.join(self)

    def wake(self) -> None:
        self._woken.set()

    async def run(self, request: Request, response: Response) -> None:
        """Send until the client goes, the master goes, or this process ends."""
        gone = asyncio.ensure_future(request.left())
        gone.add_done_callback(lambda _: self.wake())
        try:
            await response.begin(200, "text/event-stream", _FIELDS)
            await response.block(b"retry: %d\n\n" % AGAIN_MS, more=True)
            while not gone.done():
                self._woken.clear()
                block = self._take()
                if block:
                    await response.block(block, more=True)
                elif self._feed.ends:
                    reason = self._feed.master_gone
                    await response.block(
                        event("end", encode({"reason": reason})) if reason else b"", more=False
                    )
                    return
                else:
                    await self._wait(response)
        finally:
            gone.cancel()
            self._leave()

    async def _wait(self, response: Response) -> None:
        try:
            async with asyncio.timeout(BEAT_S):
                await self._woken.wait()
        except TimeoutError:
            await response.block(b":\n\n", more=True)

    def _leave(self) -> None:
        self._feed.leave(self)
        for poll, _ in self._polls.values():
            poll.unfollow()
        if self._samples is not None:
            self._feed.sampler.unfollow()

    def _take(self) -> bytes:
        """What there is for the client now, or a part of it; empty: nothing."""
        parts = [*self._take_polled(), *self._take_samples()]
        size = sum(map(len, parts))
        for record in self._feed.records.after(self._place):
            if size > BLOCK_BYTES:
                break
            lost = record.number - self._place - 1
            if lost:
                parts.append(event("lost", encode({"count": lost})))
            parts.append(event("record", record.data, record.number))
            size += len(parts[-1])
            self._place = record.number
        return b"".join(parts)

    def _take_polled(self) -> list[bytes]:
        found = []
        for name, (poll, seen) in self._polls.items():
            if poll.number != seen and poll.latest:
                self._polls[name] = poll, poll.number
                found.append(event(name, poll.latest))
        return found

    def _take_samples(self) -> list[bytes]:
        if self._samples is None:
            return []
        new = self._feed.sampler.since(self._samples)
        self._samples = self._feed.sampler.number
        return [event("sample", encode(each)) for each in new]


def event(name: str, data: bytes, number: int | None = None) -> bytes:
    """One event; ``data`` is one line."""
    known = b"" if number is None else b"id: %d\n" % number
    return b"event: %s\n%sdata: %s\n\n" % (name.encode(), known, data)
