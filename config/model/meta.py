"""How the settings' fields are described: `gwctl.config.model.settings` says what ``extra`` may hold."""

from __future__ import annotations

from typing import Any

from msgspec import Meta


def meta(description: str, *examples: Any, **extra: Any) -> Meta:
    return Meta(description=description, examples=list(examples) or None, extra=extra or None)


def octal(pattern: str, description: str, example: str) -> Meta:
    extra = {"form": f'octal permissions, as in "{example}"'}
    return Meta(pattern=pattern, description=description, examples=[example], extra=extra)
