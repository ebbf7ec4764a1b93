"""What a worker serves: the application of the settings, imported and looked at."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Interface = Literal["wsgi", "asgi"]
WorkerClass = Literal["sync", "threads", "asgi"]


@dataclass(slots=True)
class LoadedApplication:
    """``call`` is what the runner calls, after any a2wsgi wrapping; ``interface`` says how."""

    call: Any
    interface: Interface
    worker_class: WorkerClass
    spec: str
    state: dict[str, Any] = field(default_factory=dict)
    """Filled by lifespan startup; copied into the scope of each request."""
