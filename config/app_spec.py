"""The ``app`` setting: what its text means, without importing anything.

shop.wsgi                       a module with `application`, `app`, or one other application
shop.wsgi:application           an attribute; dots go deeper
shop:create_app()               a factory
shop:create_app('production')   its arguments are literals
"""

from __future__ import annotations

import ast
import keyword
from typing import Any

from msgspec import Struct, field


class AppSpec(Struct, frozen=True):
    """``path`` is empty when only a module is named; ``call``: its end is a factory to be called."""

    module: str
    path: tuple[str, ...] = ()
    call: bool = False
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)


class AppSpecError(ValueError):
    """The text names no application. ``hint`` says what to write, where that can be told."""

    def __init__(self, reason: str, hint: str = "") -> None:
        super().__init__(reason)
        self.hint = hint


def parse(text: str) -> AppSpec:
    """Understand the text.

    Raises:
        AppSpecError: With what is wrong, as a `Problem` says it.
    """
    module, colon, rest = (part.strip() for part in text.partition(":"))
    if not module and not colon:
        raise AppSpecError("names no application", 'Write "module:application"')
    if module.endswith(".toml"):
        raise AppSpecError("is a settings file, not an application", f"Give it with -c {module}")
    if "/" in module or "\\" in module or module.endswith(".py"):
        raise AppSpecError("is a file, not a module", f'Write "{_module_of(module)}{colon}{rest}"')
    if not all(part.isidentifier() and not keyword.iskeyword(part) for part in module.split(".")):
        raise AppSpecError(f"{module!r} is not the name of a module", _module_hint(module, colon, rest))
    if not colon:
        return AppSpec(module)
    if not rest:
        raise AppSpecError(
            "has nothing after the colon", f'Write "{module}:application", or "{module}" alone'
        )
    return _attribute(module, rest)


def _attribute(module: str, text: str) -> AppSpec:
    try:
        node = ast.parse(text, mode="eval").body
        if not isinstance(node, ast.Call):
            return AppSpec(module, _names(node))
        path = _names(node.func)
        args = tuple(ast.literal_eval(argument) for argument in node.args)
        kwargs = {pair.arg or "": ast.literal_eval(pair.value) for pair in node.keywords}
        if "" not in kwargs:
            return AppSpec(module, path, call=True, args=args, kwargs=kwargs)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        pass  # said below, once for all forms
    raise AppSpecError(
        f"{text!r} is neither an attribute (application, api.app) nor a factory "
        "with literals as arguments (create_app(), create_app('production'))"
    )


def _names(node: ast.expr) -> tuple[str, ...]:
    """Turn ``a.b.c`` into its names; ValueError for anything else."""
    if isinstance(node, ast.Name):
        return (node.id,)
    if isinstance(node, ast.Attribute):
        return (*_names(node.value), node.attr)
    raise ValueError("not a dotted name")


def _module_of(path: str) -> str:
    """Write a file's path the way Python imports it: ``shop/wsgi.py`` is ``shop.wsgi``."""
    parts = [part for part in path.removesuffix(".py").replace("\\", "/").split("/") if part not in {"", "."}]
    return ".".join(parts)


def _module_hint(module: str, colon: str, rest: str) -> str:
    better = module.replace("-", "_")
    fits = all(part.isidentifier() and not keyword.iskeyword(part) for part in better.split("."))
    return f'Did you mean "{better}{colon}{rest}"?' if fits else 'Write "module:application"'
