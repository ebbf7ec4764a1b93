"""Prints what a process is, as JSON: ``python -m tests.support.what_am_i ARGUMENTS``."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading

from tests.support.processes import descriptors, signals

if __name__ == "__main__":
    pid = os.getpid()
    kinds = {
        fd: "socket" if what.startswith("socket:") else what
        for fd, what in descriptors(pid).items()
        if what != f"/proc/{pid}/fd"
    }
    document = {
        "arguments": sys.argv[1:],
        "orig_argv": sys.orig_argv,
        "environ": dict(os.environ),
        "cwd": os.getcwd(),  # noqa: PTH109 - as the process has it
        "path": sys.path,
        "leads_session": os.getsid(0) == pid,
        "descriptors": {fd: what for fd, what in sorted(kinds.items()) if not what.startswith("pipe:")},
        "pipes": sorted(fd for fd, what in kinds.items() if what.startswith("pipe:")),
        "blocked": sorted(signals(pid, "SigBlk")),
        "ignored": sorted(signals(pid, "SigIgn")),
        "interrupted_by": str(signal.getsignal(signal.SIGINT)),
        "threads": threading.active_count(),
        "main": __name__,
    }
    sys.stdout.write(json.dumps(document))
    sys.stderr.write("and on stderr")
    sys.exit(7)
