"""A command line of another server, taken apart by its table: no more than its own parser would understand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct, field

from gwctl.config.foreign.option import Option, Server
from gwctl.config.foreign.translation import Given


class Taken(Struct):
    """What a command line says."""

    given: list[Given] = field(default_factory=list)
    rest: list[str] = field(default_factory=list)
    """What is no option: the application, for one."""
    unknown: list[str] = field(default_factory=list)
    """Options that the server's table does not have."""


def take(server: Server, words: Sequence[str], place: str = "", *, unexpanded: bool = False) -> Taken:
    """Take the words after the program's name apart.

    Args:
        server: Whose they are.
        words: As the program gets them.
        place: Where they stand, for the comments; empty: on the command line.
        unexpanded: They may have variables in them that are known at start only.
    """
    taken, flags = Taken(), server.by_flag
    queue = list(words)
    found: dict[str, tuple[Option, Any, list[str]]] = {}
    while queue:
        word = queue.pop(0)
        if word == "--":
            taken.rest += queue
            break
        if not word.startswith("-") or word == "-":
            taken.rest.append(word)
            continue
        option, value = _split(word, flags)
        if option is None:
            taken.unknown.append(word)
            if "=" not in word and queue and not queue[0].startswith("-") and ":" not in queue[0]:
                taken.unknown[-1] += f" {queue.pop(0)}"
            continue
        said = [word]
        value = _value(option, value, queue, said)
        _note(found, option, value, " ".join(said))
    where = f"{place} " if place else ""
    for option, value, said in found.values():
        taken.given.append(Given(option, value, f"{where}{' '.join(said)}", unexpanded))
    return taken


def _split(word: str, flags: dict[str, Option]) -> tuple[Option | None, str | None]:
    """The option of a word, and the value that is in it."""
    if word in flags:
        return flags[word], None
    name, equals, value = word.partition("=")
    if equals and name in flags:
        return flags[name], value
    if not word.startswith("--"):
        short = flags.get(word[:2])
        if short is not None and short.takes == "nothing" and f"-{word[2:3]}" in flags:
            return None, None
        return short, word[2:].removeprefix("=") or None
    near = {flags[flag].name: flags[flag] for flag in flags if flag.startswith(name) and len(name) > 3}
    return (next(iter(near.values())), value if equals else None) if len(near) == 1 else (None, None)


def _value(option: Option, value: str | None, queue: list[str], said: list[str]) -> Any:
    if value is not None:
        return value
    if option.takes == "nothing":
        return option.const
    if option.takes == "maybe" and (not queue or queue[0].startswith("-") or not _may_follow(queue)):
        return option.const
    if not queue:
        return option.const
    value = queue.pop(0)
    said.append(value)
    return value


def _may_follow(queue: list[str]) -> bool:
    """After an option that may have a value: not what looks like an application or an address."""
    return ":" not in queue[0] and "/" not in queue[0] and "." not in queue[0]


def _note(found: dict[str, tuple[Option, Any, list[str]]], option: Option, value: Any, said: str) -> None:
    """A later one counts; of one that may be repeated all do."""
    key = option.name
    if option.takes == "list":
        before = found.get(key, (option, [], []))
        found[key] = option, [*before[1], value], [*before[2], said]
    else:
        found.pop(key, None)
        found[key] = option, value, [said]
