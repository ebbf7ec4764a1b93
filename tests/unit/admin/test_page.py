"""The page: whole in itself, and under a policy that lets nothing else run."""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser

from gwctl.admin import page
from tests.support.admin_client import Client, serving
from tests.support.admin_master import FakeMaster, asynchronous

TEXT = page.load().body.decode()


def hash_of(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


def test_scripts_and_styles_are_allowed_by_their_hash() -> None:
    found = page.policy(
        "<style>a > b {}\n</style><STYLE media=x>c</STYLE><script>if (a < b && '</p>') x = '&amp;';</script>"
        "<p style='x'>text</p><script src=x></script>"
    )
    rules = dict(rule.split(" ", 1) for rule in found.split("; "))
    styles = [hash_of("a > b {}\n"), hash_of("c")]
    scripts = [hash_of("if (a < b && '</p>') x = '&amp;';"), hash_of("")]
    assert rules["style-src"].split() == styles
    assert rules["script-src"].split() == scripts


def test_without_any_nothing_is_allowed() -> None:
    rules = page.policy("<p>hello</p>").split("; ")
    assert {"script-src 'none'", "style-src 'none'", "default-src 'none'", "frame-ancestors 'none'"} <= {
        *rules
    }


class Attributes(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names |= {name for name, _ in attrs}
        self.links += [value or "" for name, value in attrs if name in {"src", "href", "action"}]


def test_the_page_does_what_its_policy_allows() -> None:
    """No handlers or styles in attributes, nothing from elsewhere."""
    found = Attributes()
    found.feed(TEXT)
    assert {name for name in found.names if name == "style" or name.startswith("on")} == set()
    assert [link for link in found.links if not re.match(r"/|#|data:", link) or link.startswith("//")] == []
    assert not re.search(r"@import|url\((?!data:)", TEXT)


def test_its_lines_end_as_its_hashes_say() -> None:
    """A browser hashes a line's end as LF, whatever it was."""
    assert "\r" not in TEXT


@asynchronous
async def test_it_is_served_with_its_policy() -> None:
    async with serving(FakeMaster()) as admin:
        reply = await Client(admin).get("/")
        assert (reply.status, reply.text) == (200, TEXT)
        assert reply.fields["content-type"] == "text/html; charset=utf-8"
        assert reply.fields["content-security-policy"] == page.policy(TEXT)
        assert reply.fields["referrer-policy"] == "no-referrer"
        assert reply.fields["cache-control"] == "no-store"
        head = await Client(admin).ask("HEAD", "/")
        assert (head.status, head.body, head.fields) == (200, b"", reply.fields)
