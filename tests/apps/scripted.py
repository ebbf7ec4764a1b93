"""An application that a test breaks (the file BROKEN exists when it is imported) and hangs (/loop)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

if Path(os.environ["BROKEN"]).exists():
    raise RuntimeError("broken on purpose")


def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    while environ["PATH_INFO"] == "/loop":
        pass
    start_response("200 OK", [])
    return [str(os.getpid()).encode()]
