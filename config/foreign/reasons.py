"""Why several servers' options have no counterpart, and what to do instead: no full stop, as of `Option.told`."""

from __future__ import annotations

from typing import Any, Final, NoReturn

from gwctl.config.foreign.option import Near, NoCounterpart

ANOTHER_PYTHON: Final = "gwctl runs the Python that it is installed for: install it there"
ENGINE: Final = "gwctl's engine has nothing like it to set"
FOREGROUND: Final = "gwctl stays in the foreground: let systemd keep it running (gwctl unit)"
HTTP2: Final = 'HTTP/2 is spoken with TLS, without it on request: http = ["h2", "h1"]; its limits are in [pool.web.http2]'
KEY_PASSWORD: Final = "Write it into a file that only root reads, and name that: `tls.password_file`"  # noqa: S105 - none
LOGGING: Final = (
    "The master does not configure Python's logging: do so in the application; what it logs goes to the event log "
    "(`log_application`, `log.format`)"
)
NOT_WATCHED: Final = "Files are not watched: run gwctl reload after a change"
STATIC: Final = "Files are for the proxy in front, or middleware of the application (WhiteNoise)"


def another_python(value: Any, near: Near) -> NoReturn:
    """Take the folder of a virtual environment."""
    del near
    raise NoCounterpart(
        f"gwctl runs the Python that it is installed for: {value}/bin/pip install gwctl, and start that"
    )
