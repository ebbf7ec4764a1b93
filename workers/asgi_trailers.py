"""Requests whose application announced trailers in http.response.start.

A request becomes one of these classes by assignment (`Extensions._announce`).
"""

from __future__ import annotations

from typing import Any

from gwctl.workers.asgi import AsgiRequest
from gwctl.workers.faults import NotAsgiError
from gwctl.workers.response import CHUNKED

_TRAILERS = -2
"""In ``_left``, which chunks do not use: the body is over, trailers follow."""


class ForgottenTrailers(AsgiRequest):
    """The client did not ask for trailers or cannot take them: what is sent is checked and dropped."""

    __slots__ = ()

    def _trailers(self, message: dict[str, Any]) -> None:
        if not self.finished:
            raise NotAsgiError("http.response.trailers was sent before the body was complete")
        self._trailer_lines(message)


class SentTrailers(AsgiRequest):
    """The body is chunked even if it is known at once, and the response ends with its trailers."""

    __slots__ = ()

    def _head(self, known: int) -> bytes:  # noqa: ARG002 - a length would leave no place for trailers
        return super()._head(-1)

    def _last(self, body: bytes) -> None:
        if self._framing != CHUNKED:
            super()._last(body)
            return
        out = self._framed(body) if body else b""
        self._check_body_open()
        self._left = _TRAILERS
        self._connection.transport.write(out + b"0\r\n")

    def _framed(self, body: bytes) -> bytes:
        self._check_body_open()
        return super()._framed(body)

    def _check_body_open(self) -> None:
        if self._left == _TRAILERS:
            raise NotAsgiError("http.response.body was sent after the body was complete")

    def _trailers(self, message: dict[str, Any]) -> None:
        lines = self._trailer_lines(message)
        if self.finished and self._framing != CHUNKED:
            return  # a response of one block, or to HEAD: there was no place for them
        if self.finished:
            raise NotAsgiError("http.response.trailers was sent after the response was complete")
        if not self.started or self._left != _TRAILERS:
            raise NotAsgiError("http.response.trailers was sent before the body was complete")
        if message.get("more_trailers", False):
            self._connection.transport.write(lines)
        else:
            self._connection.transport.write(lines + b"\r\n")
            self._finish()
