"""From a message of the application to the frame that it leaves in.

A broadcast sends the same text to many: the frame that was made last is kept, and sent again as it is.
"""

from __future__ import annotations

from typing import Any, Final

from gwctl.workers.observe.errors import NotAsgiError
from gwctl.workers.websocket.frames import BINARY, TEXT, frame

KEPT_BYTES_MAX: Final = 65536
"""A frame larger than this is made again for each."""


class Encoder:
    """Of one worker. Compression is not its business: each connection does that with a history of its own."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last: tuple[str | None, bytes] = (None, b"")

    def frame(self, message: Any) -> bytes:
        """Return the frame of a websocket.send.

        Raises:
            NotAsgiError: It has not just one content, or of a wrong type.
        """
        text = message.get("text")
        if type(text) is str and message.get("bytes") is None:  # a subclass may compare as it likes
            last, data = self._last
            if text == last:
                return data
            data = frame(TEXT, text.encode())
            if len(data) <= KEPT_BYTES_MAX:
                self._last = (text, data)
            return data
        return frame(*content(message))


def content(message: Any) -> tuple[int, bytes]:
    """Return opcode and content of a websocket.send."""
    data, text = message.get("bytes"), message.get("text")
    if (data is None) == (text is None):
        raise NotAsgiError("websocket.send needs either bytes or text")
    if text is not None:
        if not isinstance(text, str):
            raise NotAsgiError(f"text of websocket.send must be str, not {type(text).__name__}")
        return TEXT, text.encode()
    if not isinstance(data, bytes | bytearray | memoryview):
        raise NotAsgiError(f"bytes of websocket.send must be bytes, not {type(data).__name__}")
    return BINARY, bytes(data)


ENCODER: Final = Encoder()
"""That of this process."""
