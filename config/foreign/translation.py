"""What another server was told, as settings of ours: one line each, what has none with its reason."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct, field

from gwctl.config import addresses, schema
from gwctl.config.foreign import convert
from gwctl.config.foreign.option import COVERED, Near, NoCounterpart, Option, Server, Several
from gwctl.masking import MASK

JOINED: Final = frozenset(
    {"bind", "pythonpath", "trusted_proxies", "tls.certificate", "tls.key", "admin.bind"}
)
"""Lists: what is said twice counts twice."""

_NAMES: Final = frozenset({"gwctl", "gunicorn's", "uvicorn", "worker"})


class Given(Struct, frozen=True):
    """One option as it was found."""

    option: Option
    value: Any
    origin: str
    """Where, for a comment: ``--workers 4``, ``gunicorn.conf.py: workers``."""
    unexpanded: bool = False
    """Its value may have variables in it that are known at start only."""


class Line(Struct):
    """One setting: below the pool, or with its table in front (``master.name``)."""

    setting: str
    value: Any
    origins: list[str]
    note: str = ""


class Left(Struct, frozen=True):
    """What does not become a setting."""

    origin: str
    reason: str


class Translation(Struct):
    lines: dict[str, Line] = field(default_factory=dict)
    left: list[Left] = field(default_factory=list)
    hooks: list[Left] = field(default_factory=list)
    at_start: list[Line] = field(default_factory=list)
    """Settings whose values are known at start only."""

    def add(self, line: Line) -> None:
        """Put it beside what is there: lists and tables are joined, of anything else the later counts."""
        before = self.lines.get(line.setting)
        if before is None:
            self.lines[line.setting] = line
            return
        origins = [*dict.fromkeys([*before.origins, *line.origins])]
        note = before.note if line.note in before.note else " ".join(filter(None, (before.note, line.note)))
        self.lines[line.setting] = Line(line.setting, _joined(before, line), origins, note)


def _joined(before: Line, after: Line) -> Any:
    if isinstance(before.value, dict) and isinstance(after.value, dict):
        return {**before.value, **after.value}
    if after.setting in JOINED and before.value and after.value:
        return [*dict.fromkeys([*before.value, *after.value])]
    return after.value


def merged(*sources: Iterable[Given]) -> list[Given]:
    """Of several places that say the same option the last counts, as with all these servers."""
    found: dict[str, Given] = {}
    for source in sources:
        for given in source:
            found.pop(given.option.name, None)
            found[given.option.name] = given
    return list(found.values())


def translated(server: Server, givens: Sequence[Given], *, defaults: bool = True) -> Translation:
    """Make settings of options; with ``defaults`` also of what the server does unless told."""
    near = {given.option.name: given.value for given in givens}
    givens = [masked(given) for given in givens]
    result = Translation()
    for given in givens:
        _take(result, given, near)
    _tell_covered(result, givens)
    result.left += [Left(f"no {name}", why) for name, why in server.unless.items() if name not in near]
    told = {given.option.target for given in givens} | set(result.lines)
    told |= {line.setting for line in result.at_start}
    for setting, (value, why) in server.defaults.items() if defaults else ():
        if setting not in told:
            result.add(Line(setting, value, [], why))
    _mark_tls(result, near)
    return result


def masked(given: Given) -> Given:
    """Keep passwords out of comments."""
    if "password" not in given.option.name:
        return given
    return Given(given.option, given.value, given.origin.replace(str(given.value), MASK), given.unexpanded)


def _take(result: Translation, given: Given, near: Mapping[str, Any]) -> None:
    option = given.option
    if option.hook:
        result.hooks.append(Left(given.origin, option.told))
        return
    if not option.target and option.convert is None:
        result.left.append(Left(given.origin, option.told))
        return
    try:
        value = option.convert(given.value, near) if option.convert else given.value
    except NoCounterpart as reason:
        if given.unexpanded and option.target and convert.AT_START.search(str(given.value)):
            result.at_start.append(Line(option.target, given.value, [given.origin]))
        else:
            result.left.append(Left(given.origin, _sentence(str(reason))))
        return
    settings, note = (
        (value.settings, value.note) if isinstance(value, Several) else ({option.target: value}, "")
    )
    if value is not COVERED and not settings and note:
        result.left.append(Left(given.origin, note))
    for setting, each in settings.items():
        line = Line(setting, each, [given.origin], note)
        if given.unexpanded and setting != "env" and convert.AT_START.search(str(each)):
            result.at_start.append(line)
        else:
            result.add(line)
        note = ""


def _sentence(text: str) -> str:
    """Begin with a capital, unless it is a name."""
    return text if text.partition(" ")[0] in _NAMES else f"{text[:1].upper()}{text[1:]}"


def _tell_covered(result: Translation, givens: Sequence[Given]) -> None:
    """An option that another one's conversion took along is named with it."""
    told = {origin for line in (*result.lines.values(), *result.at_start) for origin in line.origins}
    told |= {left.origin for left in result.left}
    for given in givens:
        line = result.lines.get(given.option.target)
        if line is not None and given.origin not in told:
            line.origins.append(given.origin)


def _mark_tls(result: Translation, near: Near) -> None:
    """With a certificate all addresses speak TLS, as there."""
    if "tls.certificate" not in result.lines:
        return
    bind = result.lines.setdefault("bind", Line("bind", ["127.0.0.1:8000"], [], "with the certificate"))
    if not any(address.startswith(addresses.TLS) for address in bind.value):
        open_ones = {convert.address(each) for each in convert.many(near.get("insecure_bind") or [])}
        bind.value = [each if each in open_ones else f"{addresses.TLS}{each}" for each in bind.value]


def flag_of(setting: str) -> str:
    """Return the flag of ``gwctl start`` that says a setting; empty: it takes ``--set``."""
    pool = ("pool", "web") if pool_first(setting) else ()
    found = schema.setting_at((*pool, *setting.split(".")))
    flag: str = found.extra.get("flag", "") if found is not None else ""
    return flag if flag.startswith("-") else ""


def pool_first(setting: str) -> bool:
    """Tell whether a setting is one of a pool."""
    return setting.partition(".")[0] not in schema.TABLES
