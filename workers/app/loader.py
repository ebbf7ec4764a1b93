"""What a worker serves: the application of the settings, imported, found and looked at.

What the ``app`` setting may say stands in `gwctl.config.app_spec`. A module alone means its
``application``, its ``app``, the only thing in it that is an application by its parameters,
or the factory ``create_app()`` or ``make_app()``.

Everything that goes wrong here is an `AppLoadError` that a person can act on: the module
that was asked for is missing (a near name is offered), or its own code failed (then with
its frames, without ours).
"""

from __future__ import annotations

import importlib
import inspect
import types
from collections.abc import Callable
from typing import Any, Final

from msgspec import Struct, field

from gwctl import memory_limits
from gwctl.config import app_spec
from gwctl.config.app_spec import AppSpec, AppSpecError
from gwctl.config.model.worker_class import ASGI, SYNC, THREADS, WORKER_CLASSES, Interface, WorkerClass
from gwctl.errors import AppLoadError
from gwctl.workers.app import monkey_patches, suggestions
from gwctl.workers.app.inspection import Finding, inspect_application, looks_like_application
from gwctl.workers.observe.tracebacks import application_traceback, has_application_frames, summary

_NAMES: Final = ("application", "app")
_FACTORIES: Final = ("create_app", "make_app")

_FAILURES: Final = (Exception, SystemExit, KeyboardInterrupt)
"""What application code may raise at import: sys.exit() there is a failed import, not our exit."""


class LoadedApplication(Struct):
    """``call`` is what the runner calls, after any wrapping; ``interface`` says how."""

    call: Any
    interface: Interface
    worker_class: WorkerClass
    spec: str
    state: dict[str, Any] = field(default_factory=dict)
    """Filled by lifespan startup; copied into the scope of each request."""
    lifespan: Any = None
    """The ASGI callable whose lifespan is to be run, or None: WSGI has none."""

    @property
    def shares_loop(self) -> bool:
        """Tell whether it runs in the loop that serves."""
        return self.worker_class.shares_loop(self.interface)


class Asgi2Application:
    """ASGI 2, ``application(scope)(receive, send)``, called as ASGI 3."""

    def __init__(self, application: Callable[..., Any]) -> None:
        self._application = application

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self._application(scope)(receive, send)


def load(spec: str, worker: str, threads_given: bool) -> LoadedApplication:
    """Import ``spec`` and make it callable by the runner of ``worker``.

    Args:
        spec: The ``app`` setting.
        worker: ``auto``, ``sync``, ``threads`` or ``asgi``.
        threads_given: ``auto`` makes a WSGI application's worker ``threads`` when the
            settings name a number of threads, else ``sync``.

    Raises:
        AppLoadError: It cannot be imported, or is not an application.
    """
    parsed = _parse(spec)
    module = _import(parsed.module)
    thing, shown = _find(module, parsed) if parsed.path else _search(module)
    finding = inspect_application(thing)
    if finding.problem:
        raise AppLoadError(f"{shown} {finding.problem}{_advice(finding, thing, shown)}")
    kind = finding.kind
    if kind == "unknown":
        if worker == "auto":
            raise AppLoadError(
                f"{shown} takes any arguments, so it does not show whether it is WSGI or ASGI: "
                "set `worker` to sync, threads or asgi"
            )
        kind = WORKER_CLASSES[worker].interface
    if kind == "asgi2":
        thing, kind = Asgi2Application(thing), "asgi"
    if kind == "asgi":
        loaded = _for_asgi(thing, worker, shown)
    else:
        loaded = _for_wsgi(thing, worker, threads_given, shown)
    why = monkey_patches.refusal(loaded.worker_class, loaded.interface)
    if why:
        raise AppLoadError(f"cannot serve {shown}: {why}")
    return loaded


def _for_asgi(thing: Any, worker: str, shown: str) -> LoadedApplication:
    worker_class = ASGI if worker == "auto" else WORKER_CLASSES[worker]
    return LoadedApplication(thing, "asgi", worker_class, shown, lifespan=thing)


def _for_wsgi(thing: Any, worker: str, threads_given: bool, shown: str) -> LoadedApplication:
    usual = THREADS if threads_given else SYNC
    return LoadedApplication(thing, "wsgi", usual if worker == "auto" else WORKER_CLASSES[worker], shown)


def _parse(spec: str) -> AppSpec:
    try:
        return app_spec.parse(spec)
    except AppSpecError as error:
        raise AppLoadError(f'"{spec}" {error}' + (f". {error.hint}" if error.hint else "")) from None


# ---- import


def _import(name: str) -> types.ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if (name == missing or name.startswith(f"{missing}.")) and not has_application_frames(error):
            raise AppLoadError(
                f"cannot import {name}: no module named {missing!r}.{suggestions.for_module(name, missing)}"
            ) from None
        raise _failed(f"cannot import {name}", error) from error
    except _FAILURES as error:
        raise _failed(f"cannot import {name}", error) from error


def _failed(what: str, error: BaseException) -> AppLoadError:
    if isinstance(error, SystemExit):
        reason = f"it called sys.exit({error.code!r})"
    elif isinstance(error, SyntaxError):
        where = f" ({error.filename}, line {error.lineno})" if error.filename else ""
        reason = f"{type(error).__name__}: {error.msg}{where}"
    else:
        reason = summary(error)
        if "uvloop" in reason:
            reason += '. With loop = "asyncio" the pool gets an event loop of asyncio'
    return AppLoadError(f"{what}: {reason}{memory_limits.hint(error)}", application_traceback(error))


# ---- finding it in the module


def _find(module: types.ModuleType, spec: AppSpec) -> tuple[Any, str]:
    """Follow ``spec.path`` and call the factory where that is what it says."""
    thing: Any = module
    reached = f"{spec.module}:"
    for name in spec.path:
        try:
            thing = getattr(thing, name)
        except AttributeError as error:
            if has_application_frames(error):
                raise _failed(f"cannot get {name} from {reached.rstrip(':.')}", error) from error
            near = suggestions.for_attribute(thing, name, reached)
            raise AppLoadError(f"{reached.rstrip(':.')} has no attribute {name!r}{near}") from None
        except _FAILURES as error:
            raise _failed(f"cannot get {name} from {reached.rstrip(':.')}", error) from error
        reached += f"{name}."
    shown = reached.rstrip(".")
    if spec.call:
        return _call_factory(thing, shown, spec.args, spec.kwargs)
    return thing, shown


def _call_factory(
    factory: Callable[..., Any], shown: str, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
) -> tuple[Any, str]:
    if not callable(factory):
        raise AppLoadError(f"{shown} is not callable, so it is no factory: write {shown} without ()")
    if inspect.iscoroutinefunction(factory):
        raise AppLoadError(f"{shown}() is async: a factory is called before any event loop runs")
    try:
        application = factory(*args, **(kwargs or {}))
    except _FAILURES as error:
        if isinstance(error, TypeError) and not has_application_frames(error):
            raise AppLoadError(
                f"cannot call {shown}: {error}. "
                f"A factory's arguments are written as literals: {shown}('production')"
            ) from None
        raise _failed(f"cannot make the application: {shown}() failed", error) from error
    if application is None:
        raise AppLoadError(f"{shown}() returned None: does it lack a `return`?")
    return application, f"{shown}()"


def _search(module: types.ModuleType) -> tuple[Any, str]:
    """Find what a module that is named alone means."""
    name = module.__name__
    for attribute in _NAMES:
        thing = getattr(module, attribute, None)
        if thing is not None and not inspect.ismodule(thing):
            return thing, f"{name}:{attribute}"
    found = _applications_of(module)
    if len(found) == 1:
        attribute, thing = found[0]
        return thing, f"{name}:{attribute}"
    if found:
        choices = " or ".join(f"{name}:{attribute}" for attribute, _ in found)
        raise AppLoadError(f"{name} holds several applications: say which, {choices}")
    for attribute in _FACTORIES:
        factory = getattr(module, attribute, None)
        if inspect.isfunction(factory):
            return _call_factory(factory, f"{name}:{attribute}")
    raise AppLoadError(
        f"{name} has no application: no `application`, `app`, `create_app()` or `make_app()`, and "
        f"nothing else that looks like one. Name it: {name}:NAME{suggestions.place_of(module)}"
    )


def _applications_of(module: types.ModuleType) -> list[tuple[str, Any]]:
    """List the module's applications: instances wherever they come from, functions defined in it."""
    found: dict[int, tuple[str, Any]] = {}
    for name, thing in list(vars(module).items()):
        if name.startswith("_") or inspect.ismodule(thing):
            continue
        if inspect.isroutine(thing) and getattr(thing, "__module__", None) != module.__name__:
            continue
        if looks_like_application(thing):
            found.setdefault(id(thing), (name, thing))
    return list(found.values())


def _advice(finding: Finding, thing: Any, shown: str) -> str:
    if finding.factory:
        return f". Did you mean {shown}()?"
    if inspect.ismodule(thing):
        return f". Did you mean {thing.__name__}?"
    return ""
