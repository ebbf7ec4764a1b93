"""What can be wrong with a request's parties: the client that went away, the application that errs."""

from __future__ import annotations


class ClientGone(OSError):  # noqa: N818 - a fact about the client
    """The client does not take the response (any more)."""


class NotWsgiError(TypeError):
    """Not WSGI; the message says what to change."""


class NotAsgiError(RuntimeError):
    """The application broke the protocol; the message says how."""
