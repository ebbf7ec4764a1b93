"""What the dashboard does when its connection is lost or the master ends, and how it takes events out of a stream."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support import admin_scenes
from tests.support.browser import SQUARE, become, text, wait_for


def test_a_lost_connection_is_said_and_goes_on_where_it_was(serve, show) -> None:
    """What happened meanwhile is there once, and nothing is asked for twice."""
    stand_in = serve()
    page = show(stand_in, allow=("ERR_", "Failed to load"))
    numbers = page.locator("#list > li").count()
    stand_in.drop()
    wait_for(page, "#word", "connection lost")
    wait_for(page, "#reason", "Trying again")
    assert page.locator("body.stale").count() == 1
    assert page.locator(SQUARE).count() == 6
    assert page.title() == "connection lost · shop"
    stand_in.do(lambda world: world.play(admin_scenes.recycle(world, world.pools["web"], 1)))
    stand_in.turn(10)
    stand_in.come_back()
    become(page, "page.link.state === 'live'")
    stand_in.turn()
    wait_for(page, "#word", "healthy")
    assert page.locator("body.stale").count() == 0
    newest = stand_in.do(lambda world: world.events[-1]["number"])
    assert stand_in.resumed_at[-1] == str(newest)
    become(page, "newest => page.lastNumber === newest", newest)
    assert page.locator("#list > li").count() == numbers + 4


def test_a_stream_that_breaks_resumes_after_the_last_event(serve, show) -> None:
    stand_in = serve()
    page = show(stand_in, allow=("ERR_", "Failed to load"))
    first = stand_in.resumed_at[0]
    stand_in.do(lambda world: world.play(admin_scenes.recycle(world, world.pools["web"], 1)))
    stand_in.turn(10)
    become(page, "first => page.lastNumber > first", int(first))
    stand_in.drop(for_good=False)
    become(page, "page.link.state === 'lost'")
    become(page, "page.link.state === 'live'")
    assert int(stand_in.resumed_at[-1]) > int(first)


def test_the_end_of_the_master_is_said(serve, show) -> None:
    stand_in = serve()
    page = show(stand_in, allow=("ERR_", "Failed to load"))
    stand_in.play("stop")
    stand_in.turn(2)
    wait_for(page, "#word", "stopping")
    stand_in.turn(12)
    wait_for(page, "#word", "stopped")
    assert "The master is gone" in text(page, "#reason")
    become(page, "connection.failures > 1")
    assert text(page, "#word") == "stopped"


def test_another_master_is_told_from_the_one_before(serve, show) -> None:
    """Its events are counted from 1 again."""
    stand_in = serve()
    page = show(stand_in, allow=("ERR_", "Failed to load"))
    stand_in.drop()
    become(page, "page.link.state === 'lost'")

    def restart(world: Any) -> None:
        world.pid, world.up_s = 9001, 1.0
        events = [event | {"number": number} for number, event in enumerate(list(world.events)[-3:], 1)]
        world.events.clear()
        world.events.extend(events)

    stand_in.do(restart)
    stand_in.come_back()
    become(page, "page.link.state === 'live'")
    wait_for(page, "#list .lost", "Another master: pid 9001")
    assert page.evaluate("page.lastNumber") == 3


CHUNKS = [
    ["event: a\ndata: 1\n\nevent: b\ndata: 2\n\n"],
    ["event: a\r\ndata: 1\r\n\r\nevent: b\r\ndata: 2\r\n\r\n"],
    ["event: a\rdata: 1\r\revent: b\rdata: 2\r\r"],
    ["event: a\r", "\ndata: 1\r", "\n\r", "\nevent: b\ndata:2\n", "\n"],
    list(
        ": a comment\n\nevent: a\nid: 7\nretry: 3\ndata: 1\n\nevent: b\ndata: 2\n\nevent: c\ndata: never ended"
    ),
]


@pytest.mark.parametrize("chunks", CHUNKS, ids=["lf", "crlf", "cr", "split", "bytes"])
def test_events_are_taken_out_of_the_stream(serve, show, chunks) -> None:
    """However it comes in pieces, and however its lines end."""
    page = show(serve())
    taken = page.evaluate(
        """chunks => {
            const taken = [], lines = new EventLines((name, data) => taken.push([name, data]));
            chunks.forEach(chunk => lines.feed(chunk));
            return taken;
        }""",
        chunks,
    )
    assert taken == [["a", "1"], ["b", "2"]]


def test_lines_of_data_are_joined_and_an_event_may_have_none(serve, show) -> None:
    page = show(serve())
    taken = page.evaluate(
        """() => {
            const taken = [], lines = new EventLines((name, data) => taken.push([name, data]));
            lines.feed("data: 1\\ndata\\ndata: 2\\n\\nevent: end\\n\\n");
            return taken;
        }"""
    )
    assert taken == [["", "1\n\n2"], ["end", ""]]
