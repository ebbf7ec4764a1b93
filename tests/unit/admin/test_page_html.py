"""The dashboard's page, read without a browser: it needs nothing from outside, and its policy fits its script.

What it does in a browser is tested in tests/browser (``make test-browser``).
"""

from __future__ import annotations

import re
from html.parser import HTMLParser

import msgspec
import pytest

from gwctl.control.status import MasterStatus, PoolStatus, WorkerStatus
from gwctl.supervisor.core.worker import State
from tests.support.page import PAGE, policy_for, policy_in, with_policy

BYTES_MAX = 64 * 1024
LINE_MAX = 120
CONTRAST_MIN = 4.5
"""Of text, by WCAG 2.2, 1.4.3."""

TEXT = PAGE.read_text("utf-8")
STYLE = re.findall(r"<style>(.*?)</style>", TEXT, re.DOTALL)[0]
SCRIPT = re.findall(r"<script>(.*?)</script>", TEXT, re.DOTALL)[0]


class Page(HTMLParser):
    """Start tags with their attributes, and what each element stands in."""

    VOID = frozenset({"meta", "link", "input"})

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.parents: list[tuple[str, ...]] = []
        self._open: list[str] = []
        self.feed(TEXT)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.parents.append(tuple(self._open))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


PARSED = Page()
IDS = [attributes["id"] for _, attributes in PARSED.tags if "id" in attributes]


def test_it_is_small() -> None:
    assert len(TEXT.encode()) <= BYTES_MAX


def test_its_lines_can_be_read() -> None:
    """All but the policy, which nobody reads."""
    lines = [line for line in TEXT.splitlines() if "Content-Security-Policy" not in line]
    assert [line for line in lines if len(line) > LINE_MAX] == []


def test_the_policy_is_that_of_script_and_style() -> None:
    """If not, ``make docs`` writes it."""
    assert policy_in(TEXT) == policy_for(TEXT)


@pytest.mark.parametrize("changed", ["color: red", "let x;"])
def test_the_policy_changes_with_them(changed: str) -> None:
    place = "</style>" if "color" in changed else "</script>"
    text = TEXT.replace(place, f"{changed}\n{place}")
    assert policy_for(text) != policy_in(text)
    assert policy_in(with_policy(text)) == policy_for(text)


def test_the_policy_comes_before_what_it_is_about() -> None:
    assert TEXT.index("Content-Security-Policy") < min(
        TEXT.index(tag) for tag in ("<link", "<style>", "<script>")
    )


def test_nothing_comes_from_outside() -> None:
    """No address but the namespace of SVG, which nobody fetches; no style that loads anything."""
    assert set(re.findall(r"(?:https?:)?//[\w.]+/[\w/]*", TEXT)) == {"http://www.w3.org/2000/svg"}
    assert "url(" not in STYLE
    assert "@import" not in STYLE
    addresses = [attributes.get(name) for _, attributes in PARSED.tags for name in ("src", "href", "action")]
    assert {address for address in addresses if address} == {"data:,"}


def test_nothing_runs_that_is_not_in_the_script() -> None:
    """The policy would refuse it; the page should not try."""
    for tag, attributes in PARSED.tags:
        assert not [name for name in attributes if name.startswith("on") or name == "style"], tag
    assert len(PARSED.all("script")) == len(PARSED.all("style")) == 1


@pytest.mark.parametrize(
    "way",
    [
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "Function(",
        "DOMParser",
        "srcdoc",
    ],
)
def test_no_text_becomes_html(way: str) -> None:
    assert way not in SCRIPT


def test_ids_are_unique_and_those_that_are_used_are_there() -> None:
    assert len(IDS) == len(set(IDS))
    used = set(re.findall(r'\$\("([\w-]+)"\)', SCRIPT))
    used |= {
        each for _, attributes in PARSED.tags for each in (attributes.get("aria-labelledby") or "").split()
    }
    assert used - {"dialog-title"} <= set(IDS)  # that one is made with each dialog
    assert {
        each
        for each in IDS
        if f'"{each}"' not in TEXT.replace(f'id="{each}"', "", 1) and f"#{each}" not in STYLE
    } == set()


def test_what_is_asked_for_has_a_label() -> None:
    for (tag, _), parents in zip(PARSED.tags, PARSED.parents, strict=True):
        if tag in {"select", "input", "textarea"}:
            assert "label" in parents
    assert 'make("input"' in SCRIPT
    for name in re.findall(r'const (\w+) = make\("input"', SCRIPT):
        assert re.search(rf'make\("label", \{{\}}, "[^"]+", {name}\)', SCRIPT) or f", {name})" in SCRIPT


def test_it_says_its_language_and_fits_a_phone() -> None:
    assert PARSED.all("html") == [{"lang": "en"}]
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in PARSED.all("meta")
    assert len(PARSED.all("h1")) == 1


def test_it_moves_nothing_for_those_who_want_no_motion() -> None:
    assert re.search(r"prefers-reduced-motion: reduce\) \{ \* \{ transition: none !important", STYLE)
    assert "animation" not in STYLE
    assert "gradient" not in STYLE


# ---- colours


def themes() -> list[dict[str, str]]:
    """The colours of each theme, by name."""
    blocks = re.findall(r'^:root(?:\[data-theme="dark"\])? \{(.*?)\}', STYLE, re.MULTILINE | re.DOTALL)
    return [dict(re.findall(r"--(\w+): (#\w{6});", block)) for block in blocks]


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", themes(), ids=["light", "dark"])
def test_text_can_be_read_in_both_themes(theme: dict[str, str]) -> None:
    pairs = [(name, "back") for name in ("text", "muted", "accent", "warning", "error")] + [
        ("text", "soft"),
        ("text", "line"),
    ]
    weak = {pair: round(contrast(theme[pair[0]], theme[pair[1]]), 2) for pair in pairs}
    assert {pair: value for pair, value in weak.items() if value < CONTRAST_MIN} == {}


def test_the_measure_of_contrast_is_right() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)


# ---- what it reads


@pytest.mark.parametrize(
    ("name", "struct"), [("worker", WorkerStatus), ("pool", PoolStatus), ("status", MasterStatus)]
)
def test_what_it_reads_of_the_status_is_there(name: str, struct: type) -> None:
    fields = {field.name for field in msgspec.structs.fields(struct)}
    read = set(re.findall(rf"(?<![\w.]){name}\.([a-z]\w*)(?!\w*\()", SCRIPT))
    sampled = {"errors_per_s", "remove", "update", "draw"} if name == "pool" else set()
    assert len(read) > 5
    assert read - fields - sampled == set()


def test_it_knows_the_states_of_workers() -> None:
    """Those that it has no look for come before a sudden end."""
    looks = re.findall(r"const LOOKS = \{(.*?)\}", SCRIPT, re.DOTALL)[0]
    known = set(re.findall(r"(\w+):", looks))
    states = {state.value for state in State}
    assert known < states
    assert states - known == {"lost", "quitting", "dumped", "killed", "dead"}
