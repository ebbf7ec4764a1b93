"""NGINX Unit's JSON: its applications in Python, each a pool, with the listeners that lead to it."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Final

from gwctl.cli.importing.found import Found, NotImported, Source, Stated
from gwctl.config.foreign import nginx_unit
from gwctl.config.foreign.translation import Given, Left

_NAME_CHARS_MAX: Final = 32
_OF_SERVER: Final = tuple(
    f"settings.http.{name}"
    for name in ("max_body_size", "header_read_timeout", "body_read_timeout", "send_timeout", "idle_timeout")
)


def read(path: Path, shown: str, text: str) -> Source:
    """Read a configuration, with or without the ``config`` around it.

    Raises:
        NotImported: It is none, or has no application in Python.
    """
    try:
        document = json.loads(text)
    except ValueError as error:
        raise NotImported(f"{shown} is not JSON: {error}") from None
    if isinstance(document, dict) and isinstance(document.get("config"), dict):
        document = document["config"]
    applications = document.get("applications") if isinstance(document, dict) else None
    if not isinstance(applications, dict):
        raise NotImported(f"{shown} has no applications: it is no configuration of NGINX Unit")
    pools: dict[str, Found] = {}
    left: list[Left] = []
    for name, application in applications.items():
        kind = str(application.get("type", "")) if isinstance(application, dict) else ""
        if not kind.startswith("python"):
            left.append(
                Left(
                    f"{shown} applications.{name}", f"It is no application in Python but {kind or 'nothing'}"
                )
            )
            continue
        pools[_pool_name(name, pools)] = Stated(
            nginx_unit.SERVER, _given(name, application, document, shown), path.parent
        )
    if not pools:
        raise NotImported(f"{shown} has no application in Python")
    if document.get("routes"):
        left.append(Left(f"{shown} routes", nginx_unit.SERVER.by_name["routes"].told))
    return Source(shown, "nginx-unit", pools, left)


def _pool_name(name: str, taken: Collection[str]) -> str:
    """Make a name of a pool that no other application has."""
    whole = re.sub(r"[^A-Za-z0-9_-]", "-", name).strip("-_") or "web"
    made, number = whole[:_NAME_CHARS_MAX], 1
    while made in taken:
        number += 1
        made = f"{whole[: _NAME_CHARS_MAX - 1 - len(str(number))]}-{number}"
    return made


def _given(name: str, application: dict[str, Any], document: dict[str, Any], shown: str) -> list[Given]:
    known = nginx_unit.SERVER.by_name
    flat = dict(_flat(application, known))
    found = [
        Given(known[key], value, f"{shown} applications.{name}.{key}")
        for key, value in flat.items()
        if key in known
    ]
    listeners = [address for address, listener in _listeners(document) if _leads_to(name, listener, document)]
    if listeners:
        found.append(Given(known["listeners"], listeners, f"{shown} listeners {', '.join(listeners)}"))
    if any(listener.get("tls") for address, listener in _listeners(document) if address in listeners):
        found.append(Given(known["tls.certificate"], True, f"{shown} listeners: tls"))
    settings = dict(_flat({"settings": document.get("settings") or {}}, known))
    found += [Given(known[key], settings[key], f"{shown} {key}") for key in _OF_SERVER if key in settings]
    log = document.get("access_log")
    where = log.get("path") if isinstance(log, dict) else log
    if where:
        found.append(Given(known["access_log"], where, f"{shown} access_log"))
    return found


def _flat(value: dict[str, Any], known: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, each in value.items():
        key = f"{above}{name}"
        if (
            isinstance(each, dict)
            and key != "environment"
            and any(other.startswith(f"{key}.") for other in known)
        ):
            yield from _flat(each, known, f"{key}.")
        else:
            yield key, each


def _listeners(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    listeners = document.get("listeners")
    found = listeners.items() if isinstance(listeners, dict) else ()
    return [(str(address), listener) for address, listener in found if isinstance(listener, dict)]


def _leads_to(name: str, listener: dict[str, Any], document: dict[str, Any]) -> bool:
    """By itself, or by the routes that it passes to, and those that these pass to."""
    application = f"applications/{name}"
    seen: set[str] = set()
    waiting = [str(listener.get("pass", ""))]
    while waiting:
        to = waiting.pop()
        if to == application or to.startswith(f"{application}/"):
            return True
        if to.partition("/")[0] == "routes" and to not in seen:
            seen.add(to)
            routes: Any = document.get("routes")
            for part in to.split("/")[1:]:
                routes = routes.get(part) if isinstance(routes, dict) else routes
            waiting += _passes(routes)
    return False


def _passes(routes: Any) -> Iterator[str]:
    """All that they pass to."""
    if isinstance(routes, dict):
        for key, each in routes.items():
            if key == "pass" and isinstance(each, str):
                yield each
            else:
                yield from _passes(each)
    elif isinstance(routes, list):
        for each in routes:
            yield from _passes(each)
