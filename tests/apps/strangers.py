"""An application that leaves processes without a parent: /?10 leaves ten, which end a moment later."""

from __future__ import annotations

import subprocess
from typing import Any


def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    count = int(environ["QUERY_STRING"] or 0)
    script = f"for i in $(seq {count}); do sleep 4 & done; sh -c 'kill -SEGV $$' & sleep 0.2 & exit 0"
    subprocess.run(["sh", "-c", script], check=True, stderr=subprocess.DEVNULL)
    start_response("200 OK", [])
    return [b"left alone"]
