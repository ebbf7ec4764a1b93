"""Tell WSGI from ASGI by looking at a callable, without calling it.

An ASGI application is called with ``scope, receive, send`` and awaited, a WSGI application
is called with ``environ, start_response``. In this order:

    1. An async callable is ASGI; if it does not take three arguments it is a mistake.
    2. A first parameter called ``scope`` or ``environ`` decides.
    3. What can be called with three arguments only is ASGI, with two only WSGI, with one
       only ASGI 2 (``application(scope)(receive, send)``), with none a factory.
    4. A wrapper made with functools.wraps that takes anything is judged by what it wraps.
    5. Whoever is left (``*args``, C functions) is named by the settings (``worker``).

partial objects, bound methods, instances with ``__call__`` and classes whose construction is
the call (PEP 3333's iterable class, Starlette's endpoints) are looked at as what they are.
"""

from __future__ import annotations

import functools
import inspect
from typing import Any, Literal

from msgspec import Struct

Kind = Literal["wsgi", "asgi", "asgi2", "unknown"]

_SCOPE_NAMES = frozenset({"scope"})
_ENVIRON_NAMES = frozenset({"environ", "env"})
_INTERFACES = "WSGI is (environ, start_response), ASGI is (scope, receive, send)"


class Finding(Struct, frozen=True):
    """``kind``, or, where ``problem`` is not empty, why the object cannot be served."""

    kind: Kind
    problem: str = ""
    factory: bool = False
    """Callable without arguments: calling it may give the application."""


def inspect_application(thing: Any) -> Finding:
    """Say what ``thing`` is. ``problem`` completes the sentence "NAME ..."."""
    if inspect.ismodule(thing):
        return _problem("is a module, not an application")
    if inspect.iscoroutine(thing):
        thing.close()
        return _problem("is a coroutine: an async factory cannot be called here")
    if not callable(thing):
        return _problem(f"is not callable: it is {_article(type(thing).__name__)}")
    if inspect.isclass(thing):
        return _inspect_class(thing)
    return _inspect_callable(thing)


def looks_like_application(thing: Any) -> bool:
    """Tell whether ``thing`` is an application by its parameters' names, not just something callable."""
    if not callable(thing) or inspect.isclass(thing):
        return False
    signature = _signature(thing)
    names = _names(signature) if signature is not None else []
    if not names or names[0] not in _SCOPE_NAMES | _ENVIRON_NAMES:
        return False
    finding = inspect_application(thing)
    return not finding.problem and finding.kind in ("wsgi", "asgi")


def _problem(text: str, *, factory: bool = False) -> Finding:
    return Finding("unknown", text, factory)


def _article(noun: str) -> str:
    return f"an {noun}" if noun[:1].lower() in "aeiou" else f"a {noun}"


def _inspect_callable(thing: Any) -> Finding:
    function, owner = _function_of(thing)
    if inspect.isasyncgenfunction(function):
        return _problem(
            "is an async generator (it has a `yield`): an ASGI application sends with `await send(...)`"
        )
    signature = _signature(thing)
    if _is_async(function):
        return _inspect_async(signature)
    if signature is None:
        return Finding("unknown")
    counts = [count for count in range(5) if _takes(signature, count)]
    wrapped = getattr(function, "__wrapped__", None)
    if callable(wrapped) and {2, 3} <= set(counts):
        return inspect_application(wrapped.__get__(owner) if owner is not None else wrapped)
    return _by_arguments(_names(signature), counts)


def _inspect_async(signature: inspect.Signature | None) -> Finding:
    if signature is None or _takes(signature, 3):
        return Finding("asgi")
    if _takes(signature, 0):
        return _problem("is an async function without arguments: an async factory cannot be called here")
    return _problem(f"is an async function called as {_shown(signature)}: ASGI is (scope, receive, send)")


def _by_arguments(names: list[str], counts: list[int]) -> Finding:
    first = names[0] if names else ""
    if first in _SCOPE_NAMES and (1 in counts or 3 in counts):
        return Finding("asgi" if 3 in counts else "asgi2")
    if first in _ENVIRON_NAMES and 2 in counts:
        return Finding("wsgi")
    if 0 in counts and not ({2, 3} <= set(counts)):
        return _problem("takes no arguments: it looks like a factory", factory=True)
    if 2 in counts and 3 in counts:
        return Finding("unknown")
    if 3 in counts:
        return Finding("asgi")
    if 2 in counts:
        return Finding("wsgi")
    if 1 in counts:
        return _problem(f"takes one argument; {_INTERFACES}")
    return _problem(f"takes too many arguments; {_INTERFACES}")


def _inspect_class(cls: type) -> Finding:
    """A class is an application when constructing it is the call; else an instance is."""
    signature = _signature(cls)
    names = _names(signature) if signature is not None else []
    if signature is not None:
        if _takes(signature, 3) and hasattr(cls, "__await__"):
            return Finding("asgi")
        if _takes(signature, 2) and hasattr(cls, "__iter__") and names[:1] and names[0] in _ENVIRON_NAMES:
            return Finding("wsgi")
        if names[:1] == ["scope"] and _takes(signature, 1) and "__call__" in dir(cls):
            return Finding("asgi2")
    constructible = signature is not None and _takes(signature, 0)
    return _problem("is a class: it must be called to give an application", factory=constructible)


def _function_of(thing: Any) -> tuple[Any, Any]:
    """Find the function that runs when ``thing`` is called, and the instance it is bound to or None."""
    while isinstance(thing, functools.partial):
        thing = thing.func
    if inspect.ismethod(thing):
        return thing.__func__, thing.__self__
    if inspect.isroutine(thing) or inspect.isclass(thing):
        return thing, None
    call = type(thing).__call__
    return (call, thing) if inspect.isroutine(call) else _function_of(call)


def _is_async(function: Any) -> bool:
    # asgiref and Starlette mark sync functions that return a coroutine; inspect knows the mark from 3.12 on.
    if inspect.iscoroutinefunction(function):
        return True
    return type(getattr(function, "_is_coroutine", None)).__module__.startswith("asyncio")


def _signature(thing: Any) -> inspect.Signature | None:
    """Its own parameters (not those of what it wraps), or None where Python cannot know them."""
    try:
        return inspect.signature(thing, follow_wrapped=False)
    except (TypeError, ValueError):
        return None


def _takes(signature: inspect.Signature, count: int) -> bool:
    try:
        signature.bind(*range(count))
    except TypeError:
        return False
    return True


def _names(signature: inspect.Signature) -> list[str]:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [name for name, parameter in signature.parameters.items() if parameter.kind in kinds]


def _shown(signature: inspect.Signature) -> str:
    return "(" + ", ".join(signature.parameters) + ")"
