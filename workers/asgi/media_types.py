"""What a response's headers say of its content, as far as the server goes by that."""

from __future__ import annotations

from typing import Any, Final

_EVENTS: Final = b"text/event-stream"


def is_event_stream(headers: Any) -> bool:
    """Tell whether a response's parts are events that clients take one by one, and come again for more.

    Never raises: nobody has judged ``headers`` yet, and who asks looks after all requests.
    """
    try:
        for header in headers:
            if isinstance(header, tuple | list) and header[0].lower() == b"content-type":
                return bool(header[1].lower().lstrip().startswith(_EVENTS))
    except Exception:  # noqa: BLE001, S110 - of any kind: the first block says what is wrong
        pass
    return False
