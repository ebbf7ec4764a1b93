"""docs/events.md, made from the records themselves: ``python -m tests.unit.records.page > docs/events.md``."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator
from inspect import cleandoc
from itertools import pairwise
from types import ModuleType
from typing import Any, Final, get_args

import msgspec

from gwctl.json_text import encode
from gwctl.records import AnyRecord, admin, base, master, reloads, report, workers
from gwctl.records.base import Record
from gwctl.records.happening import Happening, happening, kind_of
from gwctl.records.sentences import sentence
from gwctl.records.workers import WorkerReady
from tests.unit.records.examples import EXAMPLES

_INTRODUCTION = """\
# Events

Made by `make docs` from the records themselves (gwctl/records); edit those.

Whatever a master has to tell is one record, an *event*: a worker became ready or died, a reload was adopted, a
limit was reached. The log says each in a sentence; `gwctl events` shows the last thousand, and what comes.

    gwctl events                                 what happened, as the log says it
    gwctl events --since 10m --level warning     what went wrong in the last ten minutes
    gwctl events --follow --kind 'reload_*'      how reloads go, as they do
    gwctl events --json | jq -r 'select(.kind == "worker_died") | .figures.death.status'

- They are kept in the master's memory: the last 1,000, or the last MiB of them. A reload or an upgrade does not
  lose them; a restart does.
- All are kept, also those that the log leaves out by its level. `--level debug` shows them.
- Who follows may read as slowly as he likes: nothing waits for him. What is no longer kept when he gets there is
  lost to him, and counted: `(37 events were lost: ...)`, with `--json` `{"lost": 37}`.
- `--kind` takes the names below; a `*` stands for any part of one. It may be given several times.
- `--follow` begins with the last ten (`--last N`, `--since`), goes on over reloads and upgrades, and ends when
  the master has stopped, with exit status 0; with 1 if that ended without a word.
- Of one that is longer than 64 KiB the text and the figures are cut, and it says so (`cut`). The log has all of it.

What a worker itself writes to the log, and what the application does, is not among them.

## What all of them have

With `--json` each is an object on a line of its own. New fields may come; those that are here keep their names and
meanings. What does not apply is left out.
"""
_GROUPS: Final = (
    ("Workers and templates", workers),
    ("Reloads, sizes and upgrades", reloads),
    ("The master", master),
    ("The admin process", admin),
)
_LIFTED: Final = frozenset({"level", "process", "pool", "slot", "generation", "pid"})
_WORDS: Final = {
    "int": "whole number",
    "float": "number",
    "str": "text",
    "bool": "true or false",
    "dict[str, Any]": "object",
    "Level": "`debug`, `info`, `warning` or `error`",
}
_SHOWN_LINES = 12


def page() -> str:
    """Make the whole page."""
    lines = [*_INTRODUCTION.splitlines(), ""]
    lines += _fields(Happening, frozenset())
    (example,) = [each for each in EXAMPLES if isinstance(each, WorkerReady)]
    shown = happening(example, 42, 1790000000.204318, 3661.25, "shop")
    lines += ["", "For example (it is one line):", "", "```json"]
    lines += msgspec.json.format(encode(shown), indent=2).decode().splitlines()
    lines += ["```", ""]
    for title, module in _GROUPS:
        lines += [f"## {title}", ""]
        for record in EXAMPLES:
            if type(record).__module__ == module.__name__:
                lines += _kind(record)
    lines += ["## Parts of figures", ""]
    for name, part in _PARTS.items():
        lines += [f"### {name}", "", *_document(part), *_fields(part, frozenset()), ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def _kind(record: AnyRecord) -> Iterator[str]:
    kind = type(record)
    yield f"### {kind_of(kind)}"
    yield ""
    yield from _document(kind)
    lines = sentence(record).translate(_CONTROLS).splitlines()
    more = ["..."] if len(lines) > _SHOWN_LINES else []
    yield "```"
    yield f"{_LEVELS[record.level]} {record.subject:<10} {lines[0]}"
    yield from (f"  {line}".rstrip() for line in [*lines[1:_SHOWN_LINES], *more])
    yield "```"
    yield ""
    if kind.help:
        yield f"What to do: [troubleshooting](troubleshooting.md), `{kind.help}`."
        yield ""
    fields = list(_fields(kind, _LIFTED))
    if fields:
        yield from [*fields, ""]


_LEVELS: Final = {"debug": "debug", "info": "info ", "warning": "warn ", "error": "error"}
_CONTROLS: Final = {code: f"\\x{code:02x}" for code in range(0x20) if chr(code) != "\n"}


def _document(kind: type) -> Iterator[str]:
    text = kind.__dict__.get("__doc__")
    if text:
        yield cleandoc(text)
        yield ""


def _fields(kind: type[msgspec.Struct], without: frozenset[str]) -> Iterator[str]:
    described = _descriptions(kind)
    hints = inspect.get_annotations(kind)
    names = [
        each.name for each in msgspec.structs.fields(kind) if each.name in hints and each.name not in without
    ]
    for name in names:
        text = " ".join(cleandoc(described.get(name, "")).split())
        yield f"- `{name}` ({_type(hints[name])}){': ' + text if text else ''}"


def _type(hint: Any) -> str:
    text = str(hint).removesuffix(" | None").replace("dt.datetime", "time as of RFC 3339")
    if text.startswith("tuple["):
        return f"list of {_type(text.removeprefix('tuple[').removesuffix(', ...]'))}"
    if text.startswith("Literal["):
        return text.removeprefix("Literal[").removesuffix("]").replace("'", "`")
    if text in _PARTS:
        return f"[{text}](#{text.lower()})"
    return _WORDS.get(text, text)


def _descriptions(kind: type) -> dict[str, str]:
    """What stands under each field in the source."""
    (body,) = [
        node.body
        for node in ast.walk(ast.parse(inspect.getsource(sys.modules[kind.__module__])))
        if isinstance(node, ast.ClassDef) and node.name == kind.__name__
    ]
    found = {}
    for field, text in pairwise(body):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
        ):
            found[ast.unparse(field.target)] = str(text.value.value)
    return found


def _parts(module: ModuleType) -> list[type[msgspec.Struct]]:
    kinds = [
        each for each in vars(module).values() if inspect.isclass(each) and each.__module__ == module.__name__
    ]
    return [each for each in kinds if issubclass(each, msgspec.Struct) and not issubclass(each, Record)]


_PARTS: Final = {
    part.__name__: part for module in (base, workers, reloads, master, report) for part in _parts(module)
}
assert {type(each) for each in EXAMPLES} == {*get_args(AnyRecord)}

if __name__ == "__main__":
    sys.stdout.write(page())
