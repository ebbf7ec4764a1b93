"""Words: terms that docs/glossary.md explains are used, and those that were given up do not come back."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from typing import Final

from tests.tidy.checks import ROOT, Source, within

RETIRED: Final = {
    "born": "spawned",
    "buried": "reaped",
    "bury": "reap",
    "deaf": "unresponsive",
    "desk": "turn",
    "facts": "snapshot, report or metadata",
    "farewell": "exit grace",
    "forsake": "abandon",
    "forsaken": "abandoned",
    "heir": "successor",
    "inquest": "incident report",
    "look": "sample, check, poll or measure",
    "luck": "jitter",
    "parcel": "transfer header",
    "seldom": "throttled",
    "shed": "release clients",
    "spokesman": "early hints",
    "unborn": "spawn failed",
    "worn": "outgoing",
}
"""In names of the product. The right column is what the field says."""

PHRASES: Final = {
    "sent nonsense": "malformed channel message",
    "lives again": "recovered",
    "spoken here": "not supported",
    "without an audience": "no longer watched",
    "ever wore": "number never used",
    "as it shall be": "everything stays healthy",
    "deaf to signals": "ignores signals",
}
"""In sentences, messages and pages."""

_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_TERM = re.compile(r"^\*\*([\w -]+)\*\*|(?<=, )\*\*([\w -]+)\*\*", re.MULTILINE)


def names(source: Source) -> Iterator[tuple[int, str]]:
    """Line and name of all that is defined or assigned."""
    for node in source.nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.attr


def retired_words(source: Source) -> Iterator[str]:
    if not within(source.module, "gwctl"):
        return
    for line, name in names(source):
        for word in _WORD.findall(name):
            if word.lower() in RETIRED:
                yield f"{source.path}:{line}: `{name}`: say {RETIRED[word.lower()]}"


def retired_phrases(path: str, text: str) -> Iterator[str]:
    if path.startswith("tests/tidy/"):
        return
    flat = " ".join(text.split())
    for phrase, better in PHRASES.items():
        if phrase in flat:
            yield f"{path}: {phrase!r}: say {better!r}"


def terms(page: str) -> list[str]:
    """Return what the glossary explains."""
    return [first or second for first, second in _TERM.findall(page)]


def unused_terms(page: str, product: Iterable[Source]) -> Iterator[str]:
    """Yield each term that no module says: a glossary explains words that are met."""
    said = "\n".join(source.text for source in product).lower()
    for term in terms(page):
        stem = re.escape(term.lower()).replace(r"\ ", r"[\s_]+")
        if not re.search(rf"(?<![a-z]){stem}", said):
            yield f"docs/glossary.md: {term!r} is said nowhere"


def glossary() -> str:
    return (ROOT / "docs/glossary.md").read_text("utf-8")
