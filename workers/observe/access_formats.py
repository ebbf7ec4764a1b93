"""Other forms of the access log: JSON, a template, and fewer lines.

`access_log_for` makes what the settings ask for. Each is an `AccessLog`, so that one who wants the usual form
pays for nothing of this. What a line says is taken down as the response ends, when environ or scope are
still the request's; lines are made of it with the batch.

In a template whatever a client says is escaped as in the usual form, and blanks too where a field does not
stand between quotation marks: else it could make two columns of one.
"""

from __future__ import annotations

import base64
import os
import re
import time
from collections.abc import Callable, Mapping
from random import Random
from typing import TYPE_CHECKING, Any, Final

from gwctl import json_text
from gwctl.config.access_format import Field, excluded, parse
from gwctl.log.json_lines import escaped_controls, fitting
from gwctl.workers.observe.access_log import (
    ESCAPES,
    GONE,
    NONE,
    PIPE_BYTES,
    SHORT_S,
    STRANGE,
    AccessLog,
    Answer,
    Noted,
    Request,
    as_text,
    headers_of,
    is_plain,
)
from gwctl.workers.observe.request_ids import of_scope

if TYPE_CHECKING:
    from gwctl.config.model.settings import PoolSettings
    from gwctl.ipc.assignment import Assignment
    from gwctl.log.event_log import Log

_STRANGE_WORD: Final = re.compile(r'[\x00-\x20"\\\x7f-\x9f]')
_WORD_ESCAPES: Final = {**ESCAPES, ord(" "): "\\x20"}
_PIPE_CHARS: Final = PIPE_BYTES // 4
"""Fewer are never too many bytes."""
_SERVER_ERROR: Final = 500


def access_log_for(assignment: Assignment, fd: int, log: Log) -> AccessLog:
    """Make the access log of a worker, which owns ``fd`` from now on."""
    settings = assignment.settings
    worker = f"{assignment.pool}.{assignment.slot}"
    if settings.access_log_format == "combined":
        made = AccessLog(fd, worker, log)
    elif settings.access_log_format == "json":
        kind = IdentifiedJsonAccessLog if settings.request_id_header else JsonAccessLog
        made = kind(fd, worker, log, assignment)
    else:
        made = TemplateAccessLog(fd, worker, log, assignment)
    sample = settings.access_log_sample
    if settings.access_log_slow_s or settings.access_log_exclude or (sample != "auto" and sample < 1):
        return FewerLines(made, settings)
    return made


# ---- JSON

_REQUEST_ID: Final = ',"request_id":"'
_REFERER: Final = ',"referer":"'
_AGENT: Final = ',"user_agent":"'
_QUOTE: Final = '"'
_MARK: Final = "?"
_QUERY: Final = '","query":"'
_NOTHING: Final = ""
_other_size: Final = '{},"duration_s":'.format


class JsonAccessLog(AccessLog):
    """One object a line.

    Most lines need nothing escaped. Those are put together as text, in half the time that an encoder takes.
    """

    def __init__(self, fd: int, worker: str, log: Log, assignment: Assignment) -> None:
        super().__init__(fd, worker, log)
        instance, pool = _json(assignment.instance), _json(assignment.pool)
        self._who = (
            f'Z","kind":"access","instance":{instance},"pool":{pool},"slot":{assignment.slot},'
            f'"generation":{assignment.generation},"pid":{os.getpid()},"client_address":"'
        )
        self._thousandths = tuple([f"{number:03d}" for number in range(1000)])

    def _make_pieces(self) -> None:
        self._statuses = tuple([f'","status":{number},"response_bytes":' for number in range(1000)])
        self._sizes = tuple([f'{number},"duration_s":' for number in range(1000)])
        self._durations = tuple([f"0.000{number:03d}" for number in range(1000)])
        self._other_duration = "{:.6f}".format

    def _new_stamp(self, second: int) -> str:
        return time.strftime('{"time":"%Y-%m-%dT%H:%M:%S.', time.gmtime(second))

    def _lines(self, noted: list[Noted]) -> str:
        if self._blocks or not (self._in_one_second(noted) and is_plain(noted)):
            return "".join(map(self._line, noted))
        since, clock, digits, who = self._since - self._offset_s, self._stamp, self._thousandths, self._who
        statuses, sizes, durations, other_duration = (
            self._statuses,
            self._sizes,
            self._durations,
            self._other_duration,
        )
        return "".join(
            [
                f"{clock}{digits[(micros := int((at - since) * 1e6)) // 1000]}{digits[micros % 1000]}{who}"
                f'{peer[0] if type(peer) is tuple else _NOTHING}","method":"{method}","path":"'
                f"{target.replace(_MARK, _QUERY, 1) if _MARK in target else target + _QUERY}"
                f'","http_version":"{version}'
                f"{statuses[status]}{sizes[size] if size < 1000 else _other_size(size)}"
                f"{durations[int(seconds * 1e6 + 0.5)] if seconds < SHORT_S else other_duration(seconds)}"
                f"{_REQUEST_ID + more + _QUOTE if more else _NOTHING}"
                f"{_REFERER + referer + _QUOTE if referer != NONE else _NOTHING}"
                f"{_AGENT + agent + _QUOTE if agent != NONE else _NOTHING}}}\n"
                if status
                else self._line(
                    (at, peer, method, target, version, status, size, referer, agent, seconds, more)
                )
                for at, peer, method, target, version, status, size, referer, agent, seconds, more in noted
            ]
        )

    def _line(self, noted: Noted) -> str:
        at, peer, method, target, version, status, size, referer, agent, seconds, more = noted
        at += self._offset_s
        self._set_stamp(at)
        host = peer[0] if type(peer) is tuple else ""
        path, _, query = target.partition("?")
        strange = f"{host}{target}{referer}{agent}"
        if not strange.isascii() or STRANGE.search(strange):
            host, path, query = _inner(host), _inner(path), _inner(query)
            referer, agent = _inner(referer), _inner(agent)
        said = f',"user_agent":"{agent}"}}\n' if agent != NONE else "}\n"
        if referer != NONE:
            said = f',"referer":"{referer}"{said}'
        if more:
            said = f',"request_id":"{_inner(more)}"{said}'
        line = (
            f'{self._stamp}{int((at - self._since) * 1e6):06d}{self._who}{host}","method":"{method}",'
            f'"path":"{path}","query":"{query}","http_version":"{version}","status":{status or GONE},'
            f'"response_bytes":{size},"duration_s":{seconds:.6f}{said}'
        )
        if self._blocks and len(line) > _PIPE_CHARS:
            line = fitting(line.encode(), PIPE_BYTES).decode()
        return line


class IdentifiedJsonAccessLog(JsonAccessLog):
    """The same with request ids."""

    def __init__(self, fd: int, worker: str, log: Log, assignment: Assignment) -> None:
        super().__init__(fd, worker, log, assignment)
        header = assignment.settings.request_id_header
        self._variable = _variable(header)
        self._of_request = _request_header(header)
        self._more_of = self._id_of

    def _id_of(self, source: Mapping[str, Any] | None, answer: Any) -> str:
        if source is None:
            return ""
        request_id = source.get(self._variable)
        if request_id is None:  # of an ASGI request, or an application has taken it away
            request_id = of_scope(source) or _taken(self._of_request, source, answer)
        if type(request_id) is not str:
            request_id = as_text(request_id)
        return request_id if request_id != NONE else ""


def _json(text: str) -> str:
    return escaped_controls(json_text.encode(text)).decode()


def _inner(text: str) -> str:
    """The same without its quotation marks."""
    return _json(text)[1:-1]


# ---- templates

_Getter = Callable[[Noted], object]
_Source = Callable[[Mapping[str, Any], Any], str]


class TemplateAccessLog(AccessLog):
    """Lines as a template says."""

    def __init__(self, fd: int, worker: str, log: Log, assignment: Assignment) -> None:
        super().__init__(fd, worker, log)
        self._sources: list[_Source] = []
        values = {"p": str(os.getpid()), "worker": worker, "generation": str(assignment.generation)}
        header = assignment.settings.request_id_header
        if not header:
            values["request_id"] = NONE
        text, getters = [], list[_Getter]()
        for part in parse(assignment.settings.access_log_format):
            if isinstance(part, Field) and part.name not in values:
                text.append("%s")
                asked = Field(header, "i", part.quoted) if part.name == "request_id" else part
                getters.append(self._getter(asked))
            else:
                text.append((values[part.name] if isinstance(part, Field) else part).replace("%", "%%"))
        self._text = "".join(text) + "\n"
        self._getters = tuple(getters)
        self._none = (NONE,) * len(self._sources)
        self._more_of = self._more

    def _lines(self, noted: list[Noted]) -> str:
        return "".join(map(self._line, noted))

    def _line(self, noted: Noted) -> str:
        return self._text % tuple([each(noted) for each in self._getters])

    def _more(self, source: Mapping[str, Any] | None, answer: Any) -> tuple[str, ...]:
        """Never raises: environ and scope are the application's to change."""
        if source is None:
            return self._none
        return tuple([_taken(each, source, answer) for each in self._sources])

    def _getter(self, field: Field) -> _Getter:
        safe = _safe if field.quoted else _safe_word
        if field.kind or field.name == "u":
            index = len(self._sources)
            self._sources.append(_source(field))
            return lambda noted: safe(noted[10][index])
        if field.name == "t":
            return self._stamp_of
        if field.name in _OURS:
            return _OURS[field.name]
        said = _CLIENTS[field.name]
        return lambda noted: safe(said(noted))

    def _stamp_of(self, noted: Noted) -> str:
        self._set_stamp(noted[0] + self._offset_s)
        return self._stamp


_OURS: Final[dict[str, _Getter]] = {
    "h": lambda noted: noted[1][0] if type(noted[1]) is tuple else NONE,
    "l": lambda _noted: NONE,
    "r": lambda noted: f"{noted[2]} {_safe(noted[3])} HTTP/{noted[4]}" if noted[2] else NONE,
    "m": lambda noted: noted[2] or NONE,
    "H": lambda noted: f"HTTP/{noted[4]}",
    "s": lambda noted: noted[5] or GONE,
    "B": lambda noted: noted[6],
    "b": lambda noted: noted[6] or NONE,
    "T": lambda noted: int(noted[9]),
    "D": lambda noted: int(noted[9] * 1e6),
    "M": lambda noted: int(noted[9] * 1e3),
    "L": lambda noted: f"{noted[9]:.6f}",
}
"""What no client can say as it likes: a method is a token, a target has no blanks."""
_CLIENTS: Final[dict[str, Callable[[Noted], str]]] = {
    "U": lambda noted: noted[3].partition("?")[0],
    "q": lambda noted: noted[3].partition("?")[2],
    "f": lambda noted: noted[7],
    "a": lambda noted: noted[8],
}


def _safe(text: str) -> str:
    return text.translate(ESCAPES) if STRANGE.search(text) else text


def _safe_word(text: str) -> str:
    """A word that stands between blanks is one word, and never none."""
    return (text.translate(_WORD_ESCAPES) if _STRANGE_WORD.search(text) else text) or NONE


def _taken(source: _Source, given: Mapping[str, Any], answer: Any) -> str:
    try:
        return source(given, answer)
    except BaseException:  # noqa: BLE001 - of any kind: it may be the application's code
        return NONE


def _source(field: Field) -> _Source:
    name = field.name
    if field.kind == "e":
        return lambda given, _answer: as_text(given.get(name, NONE))
    if field.kind == "o":
        wanted = name.lower()
        return lambda _given, answer: _response_header(answer, wanted)
    if field.kind == "i":
        return _request_header(name)
    authorization = _request_header("authorization")
    return lambda given, answer: _user(authorization(given, answer))


def _variable(name: str) -> str:
    """Return what a request's header is called in its environ."""
    variable = name.upper().replace("-", "_")
    return variable if variable in {"CONTENT_TYPE", "CONTENT_LENGTH"} else f"HTTP_{variable}"


def _request_header(name: str) -> _Source:
    variable = _variable(name)
    encoded = name.lower().encode("latin-1", "replace")
    wanted = frozenset({encoded})

    def get(given: Mapping[str, Any], _answer: Any) -> str:
        if "REQUEST_METHOD" in given:
            return as_text(given.get(variable, NONE))
        return headers_of(given, wanted).get(encoded, NONE)

    return get


def _response_header(answer: Any, wanted: str) -> str:
    """Of the application's; what gwctl adds (Date, framing) is not among them."""
    found = [value for name, value in map(_as_pair, answer.response_headers) if name.lower() == wanted]
    return ",".join(found) or NONE


def _as_pair(header: Any) -> tuple[str, str]:
    name, value = header
    if isinstance(name, bytes):
        return name.decode("latin-1"), bytes(value).decode("latin-1")
    return name, value


def _user(authorization: str) -> str:
    scheme, _, credentials = authorization.partition(" ")
    if scheme.lower() != "basic":
        return NONE
    user = base64.b64decode(credentials.strip(), validate=True).partition(b":")[0]
    return user.decode("utf-8", "backslashreplace") or NONE


# ---- fewer lines


class FewerLines(AccessLog):
    """Passes on to another access log what the settings want to be told."""

    def __init__(self, inner: AccessLog, settings: PoolSettings) -> None:
        self._inner = inner
        self._slow_s = settings.access_log_slow_s or float("inf")
        self._exact, self._prefixes = excluded(settings.access_log_exclude)
        sample = settings.access_log_sample
        share = (0.0 if settings.access_log_slow_s else 1.0) if sample == "auto" else sample
        self._share = share
        self._random = Random().random  # not the application's, which may have seeded it

    def _wants(self, request: Request, status: int, seconds: float) -> bool:
        if self._exact or self._prefixes:
            path = request.target.partition("?")[0]
            if path in self._exact or path.startswith(self._prefixes):
                return False
        return seconds >= self._slow_s or status >= _SERVER_ERROR or self._random() < self._share

    def add_call(
        self, request: Request, environ: Mapping[str, Any], call: Answer, seconds: float, ended_at: float
    ) -> None:
        if self._wants(request, call.status, seconds):
            self._inner.add_call(request, environ, call, seconds, ended_at)

    def add_scope(
        self,
        request: Request,
        status: int,
        size: int,
        seconds: float,
        scope: Mapping[str, Any] | None,
        answer: Any,
        ended_at: float,
    ) -> None:
        if self._wants(request, status, seconds):
            self._inner.add_scope(request, status, size, seconds, scope, answer, ended_at)

    def flush(self) -> None:
        self._inner.flush()

    def reopen(self, fd: int) -> None:
        self._inner.reopen(fd)

    def close(self) -> None:
        self._inner.close()
