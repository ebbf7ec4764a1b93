"""uWSGI's ini, YAML and JSON: which option has which value, with placeholders filled in.

They are read as uWSGI reads them: an ini and a YAML line by line, an option as often as it stands there.
``%(name)`` and ``$(NAME)`` are filled in, and of the letters behind % those that are known without running
anything.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from gwctl.cli.importing.found import NotImported
from gwctl.config.foreign import uwsgi
from gwctl.config.foreign.translation import Given, Left

Said = tuple[int, str, str]
"""Line (0: not known), key and value."""
_SECTION: Final = "uwsgi"
_PLACEHOLDER: Final = re.compile(r"%\(([^)]*)\)")
_VARIABLE: Final = re.compile(r"\$\(([^)]*)\)")
_LETTER: Final = re.compile(r"%(.)")
_INLINE: Final = re.compile(r"\s[;#].*$")
_SETS: Final = frozenset({"set", "set-ph", "set-placeholder", "setph"})
_DEPTH_MAX: Final = 8
_VALUE_CHARS_MAX: Final = 32_768


def read(
    path: Path, shown: str, environ: Mapping[str, str], section: str = ""
) -> tuple[list[Given], list[Left]]:
    """Read a file: what it says, and what of it is not understood.

    Raises:
        NotImported: It cannot be read, or has no section ``uwsgi``.
    """
    try:
        text = path.read_text("utf-8", "replace")
    except OSError as error:
        raise NotImported(f"cannot read {shown}: {error.strerror}") from None
    if path.suffix in {".json", ".js"}:
        said = list(_json(text, shown))
    elif path.suffix in {".yaml", ".yml"}:
        said = list(_yaml(text))
    else:
        said = list(_ini(text, section or _SECTION))
    if not said:
        raise NotImported(f"{shown} has no section {section or _SECTION}: it says nothing to uWSGI")
    return given(said, shown, path, environ)


def given(
    said: list[Said], shown: str, path: Path, environ: Mapping[str, str]
) -> tuple[list[Given], list[Left]]:
    """Make options of keys and values."""
    values: dict[str, str] = {}
    options: dict[str, tuple[Any, list[str]]] = {}
    left: list[Left] = []
    known = uwsgi.SERVER.by_name
    for number, key, raw in said:
        value = _filled(raw, values, path, environ)
        place = f"{shown}:{number}" if number else shown
        origin = f"{place} {key} = {raw}" if raw else f"{place} {key}"
        if key in _SETS:
            name, _, value = value.partition("=")
            values[name.strip()] = value.strip()
            continue
        values[key] = value
        name = key.strip().lower().replace("-", "_")
        name = uwsgi.ALIASES.get(name, name)
        option = known.get(name)
        if option is None:
            if not _is_used(key, said):
                left.append(Left(origin, "Nothing is known of it here: docs/migrating.md has what is"))
            continue
        before, origins = options.get(name, ([], []))
        options[name] = [*before, value], [*origins, origin]
    found = [
        Given(known[name], several if known[name].takes == "list" else several[-1], "; ".join(origins))
        for name, (several, origins) in options.items()
    ]
    return found, left


def _is_used(key: str, said: list[Said]) -> bool:
    """A key that others refer to as %(key) is a placeholder of its own."""
    return any(f"%({key})" in value for _number, _key, value in said)


def _filled(text: str, values: Mapping[str, str], path: Path, environ: Mapping[str, str]) -> str:
    for _ in range(_DEPTH_MAX):
        before = text
        text = _PLACEHOLDER.sub(lambda found: values.get(found[1], found[0]), text)
        if text == before:
            break
    if len(text) > _VALUE_CHARS_MAX:
        raise NotImported(f"{path.name}: a value has more than {_VALUE_CHARS_MAX} characters")
    text = _VARIABLE.sub(lambda found: environ.get(found[1], f"${{{found[1]}}}"), text)
    whole = path.absolute()
    letters = {
        "d": f"{whole.parent}/",
        "n": whole.stem,
        "s": whole.name,
        "p": str(whole),
        "c": whole.parent.name,
        "%": "%",
        "e": whole.suffix.removeprefix("."),
        "o": str(whole),
        "k": str(os.cpu_count() or 1),
    }
    return _LETTER.sub(lambda found: letters.get(found[1], found[0]), text)


def _ini(text: str, section: str) -> Iterator[Said]:
    inside = False
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if line.startswith("["):
            inside = line.partition("]")[0][1:].strip() == section
        elif inside and line and line[0] not in "#;":
            key, equals, value = line.partition("=")
            yield number, key.strip(), _INLINE.sub("", value).strip() if equals else "true"


def _yaml(text: str) -> Iterator[Said]:
    """``key: value`` under ``uwsgi:``; a list is the key as often as it has members."""
    inside, key = False, ""
    for number, raw in enumerate(text.splitlines(), 1):
        line = re.sub(r"(^|\s)#.*$", "", raw).rstrip()
        if not line.strip() or line.strip() == "---":
            continue
        if line[0] not in " \t-":
            inside = line.partition(":")[0].strip() == _SECTION
        elif inside and line.strip().startswith("- "):
            yield number, key, _unquoted(line.strip()[2:])
        elif inside:
            key, _, value = (part.strip() for part in line.partition(":"))
            if value:
                yield number, key, _unquoted(value)


def _unquoted(value: str) -> str:
    value = value.strip()
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'" else value


def _json(text: str, shown: str) -> Iterator[Said]:
    try:
        document = json.loads(text)
    except ValueError as error:
        raise NotImported(f"{shown} is not JSON: {error}") from None
    section = document.get(_SECTION) if isinstance(document, dict) else None
    for key, value in section.items() if isinstance(section, dict) else ():
        for each in value if isinstance(value, list) else [value]:
            yield (
                0,
                str(key),
                {True: "true", False: "false"}.get(each, "") if isinstance(each, bool) else str(each),
            )
