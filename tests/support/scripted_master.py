"""A process that answers control requests from a script instead of having workers.

Run as ``python -m tests.support.scripted_master SOCKET SCRIPT``. The script is JSON: a status
document under ``status``, and under ``reload``, ``stop`` and ``scale`` a list of progress
(``[pool, phase, outcome, detail]``) and the last word (``{"ok": ..., "text": ..., "result": ...}``).
After a stop the process ends. It says ``ready`` on stdout when it can be asked.
"""

from __future__ import annotations

import json
import math
import os
import selectors
import sys
import time
from pathlib import Path
from typing import Any

from gwctl.control.protocol import METHODS, Method, Status, Stop
from gwctl.log.event_log import Log
from gwctl.supervisor.control.server import ControlServer
from gwctl.supervisor.core.actions import Progress
from gwctl.supervisor.history import History
from gwctl.supervisor.recorder import Recorder
from tests.support import started

_NAMES = {kind: name for name, kind in METHODS.items()}


def start(path: Path, script: dict[str, Any]) -> started.Started:
    """One that can be asked, as a process of its own."""
    process = started.start(
        [str(path), json.dumps(script)],
        module="tests.support.scripted_master",
        environ={**os.environ, "PYTHONPATH": str(started.ROOT)},
        cwd=started.ROOT,
        stdout=started.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


def main(path: Path, script: dict[str, Any]) -> None:
    """Serve until a stop was answered."""
    asked: list[tuple[int, Method]] = []

    def handle(request: int, method: Method, user: str) -> dict[str, Any] | None:
        if isinstance(method, Status):
            status: dict[str, Any] = script["status"]
            return status
        asked.append((request, method))
        return None

    selector = selectors.DefaultSelector()
    server = ControlServer(path, Recorder(Log(), History.of("scripted")), handle)
    server.open(selector)
    print("ready", flush=True)
    stopping = False
    while not stopping:
        wait_s = max(0.0, server.next_at - time.monotonic())
        for key, mask in selector.select(None if math.isinf(wait_s) else wait_s):
            key.data(mask)
        server.turn(time.monotonic())
        for request, method in asked:
            stopping = stopping or isinstance(method, Stop)
            *progress, last = script[_NAMES[type(method)]]
            for news in progress:
                server.progress(Progress(request, *news))
            result = last.get("result", {}) | {"asked": repr(method)}
            server.answer(request, ok=last["ok"], text=last["text"], result=result)
        asked.clear()
    server.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
