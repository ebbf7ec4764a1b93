"""The dashboard: one page of the package, read once, with a policy under which a browser runs nothing else.

Scripts and styles stand in the page, in elements of their own: they are allowed by the hash of their text.
What stands in attributes (``style``, ``onclick``) is not, and nothing is loaded from elsewhere.
"""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser
from importlib.resources import files
from typing import Final

from gwctl.admin.http import Answer

_HTML: Final = "text/html; charset=utf-8"
_PLACES: Final = {"script": "script-src", "style": "style-src"}


class _Inline(HTMLParser):
    """Collects what stands in script and style elements."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=False)
        self.texts: dict[str, list[str]] = {tag: [] for tag in _PLACES}
        self._open = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        if tag in _PLACES:
            self._open = tag
            self.texts[tag].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == self._open:
            self._open = ""

    def handle_data(self, data: str) -> None:
        if self._open:
            self.texts[self._open][-1] += data


def policy(page: str) -> str:
    """The Content-Security-Policy of ``page``."""
    inline = _Inline()
    inline.feed(page)
    inline.close()
    rules = ["default-src 'none'", "connect-src 'self'", "img-src data:"]
    for tag, place in _PLACES.items():
        allowed = " ".join(map(_hash, inline.texts[tag])) or "'none'"
        rules.append(f"{place} {allowed}")
    rules += ["base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"]
    return "; ".join(rules)


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


def load() -> Answer:
    """Read the page."""
    text = files("gwctl.admin").joinpath("page.html").read_text("utf-8")
    fields = (("content-security-policy", policy(text)), ("referrer-policy", "no-referrer"))
    return Answer(200, text.encode(), _HTML, fields)
