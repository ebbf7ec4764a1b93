"""Templates of the access log: read when the settings are, so that a mistake is told with what was meant.

    %(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"

The fields are gunicorn's, as far as they mean anything here, and some words of our own. `parse` makes parts
of a template; `gwctl.workers.observe.access_formats` makes lines of those.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gwctl.config import foreign_names, hints
from gwctl.errors import GwctlError

WORDS: Final = ("combined", "json")
FIELDS: Final = {
    "h": "the client's address",
    "l": "`-`",
    "u": "the user of Basic authentication",
    "t": "when, as in `[21/Nov/2026:10:02:11 +0000]`",
    "r": "the request line",
    "m": "method",
    "U": "path, as it came",
    "q": "query",
    "H": "protocol",
    "s": "status",
    "B": "bytes of the body",
    "b": "the same, `-` for none",
    "f": "Referer",
    "a": "User-Agent",
    "T": "seconds, whole",
    "D": "microseconds",
    "M": "milliseconds",
    "L": "seconds, with six decimals",
    "p": "pid of the worker",
    "worker": "pool and slot: `web.0`",
    "generation": "its generation",
    "request_id": "as of `request_id_header`",
}
_TEXTS: Final = {
    **{word: word for word in WORDS},
    "common": '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s',
}
KINDS: Final = {"i": "request header", "o": "response header", "e": "variable of the environ"}
_FIELD: Final = re.compile(r"%\((?:\{(?P<name>[^{}()]*)\}(?P<kind>\w)|(?P<field>[^(){}]*))\)(?P<end>.?)")
_APACHE: Final = re.compile(r"%[<>]?(?:\{(?P<name>[^}]+)\}(?P<kind>\w)|(?P<field>[A-Za-z]))")
_NGINX: Final = re.compile(r"\$(?P<name>[a-z_]+)")


class FormatError(GwctlError):
    """Not a template; ``hint`` says what might be meant."""

    def __init__(self, reason: str, hint: str = "") -> None:
        super().__init__(reason)
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Field:
    """Something to be filled in."""

    name: str
    """One of `FIELDS`, or whichever name for a ``kind``."""
    kind: str = ""
    """One of `KINDS`."""
    quoted: bool = False
    """It stands between quotation marks: blanks in it do not make two of it."""


Part = str | Field


def parse(template: str) -> list[Part]:
    """Return the text and the fields of a template, in their order.

    Raises:
        FormatError: It is none.
    """
    if "%" not in template:
        near = hints.nearest(template.strip().lower(), _TEXTS)
        hint = _nginx(template) or _did_you_mean(f"'{_TEXTS[near]}'" if near else "")
        raise FormatError('expected "combined", "json" or a template', hint)
    if not template.isprintable():
        raise FormatError("a line cannot have ends of lines or other controls in it")
    parts: list[Part] = []
    at, quoted = 0, False
    while at < len(template):
        mark = template.find("%", at)
        text = template[at:] if mark < 0 else template[at:mark]
        quoted ^= text.count('"') % 2 == 1
        parts.append(text)
        if mark < 0:
            break
        if template.startswith("%%", mark):
            parts.append("%")
            at = mark + 2
            continue
        found = _FIELD.match(template, mark)
        if found is None:
            raise _no_field(template, mark)
        parts.append(_field(found, quoted=quoted))
        at = found.end()
    return [part for part in parts if part != ""]


def _field(found: re.Match[str], *, quoted: bool) -> Field:
    whole = found[0]
    if found["end"] != "s":
        raise FormatError(f"{whole!r} does not end in )s", f"Write {whole.rstrip(found['end'])}s")
    if found["kind"] is None:
        name = found["field"]
        if name not in FIELDS:
            raise FormatError(f"there is no field {whole}", _did_you_mean(_near(name)))
        return Field(name, quoted=quoted)
    if found["kind"] not in KINDS:
        known = ", ".join(f"%({{name}}{kind})s: {what}" for kind, what in KINDS.items())
        raise FormatError(f"there is no kind {found['kind']!r} as in {whole}", f"There are {known}")
    if not found["name"].strip():
        raise FormatError(f"{whole} has no name in its braces")
    return Field(found["name"].strip(), found["kind"], quoted=quoted)


def _no_field(template: str, at: int) -> FormatError:
    """Say what a % is that begins no field: mostly it is how Apache writes them."""
    apache = _APACHE.match(template, at)
    if apache is None:
        return FormatError(f"nothing follows the % in {template[at : at + 12]!r}", "Write %% for a % itself")
    field, name, kind = apache["field"], apache["name"], apache["kind"]
    ours = f"%({{{name}}}{kind})s" if name else f"%({field})s"
    known = kind in KINDS if name else field in FIELDS
    hint = f"Write {ours}" if known else "Write %% for a % itself"
    return FormatError(f"{apache[0]!r} is no field", hint)


def _near(name: str) -> str:
    """The field that was meant by a word for it, or by a letter in the other case."""
    plain = name.strip().lower()
    field = foreign_names.ACCESS_FIELDS.get(plain, "")
    if not field and name.swapcase() in FIELDS:
        field = name.swapcase()
    if not field:
        near = hints.nearest(
            plain, [*foreign_names.ACCESS_FIELDS, *(each for each in FIELDS if len(each) > 1)]
        )
        field = foreign_names.ACCESS_FIELDS.get(near or "", near or "")
    return f"%({field})s" if field else ""


def _nginx(template: str) -> str:
    found = _NGINX.search(template)
    return _did_you_mean(_near(found["name"])) if found else ""


def _did_you_mean(what: str) -> str:
    if what:
        return f"Did you mean {what}?"
    return f"There are {_listed(list(FIELDS))}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + f" and {names[-1]}"


# ---- paths that are left out


def excluded(patterns: Sequence[str]) -> tuple[frozenset[str], tuple[str, ...]]:
    """Sort ``access_log_exclude`` into whole paths and beginnings."""
    exact = frozenset(each for each in patterns if not each.endswith("*"))
    return exact, tuple(each.removesuffix("*") for each in patterns if each.endswith("*"))
