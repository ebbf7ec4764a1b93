"""Starts the servers that have no command line for what is measured.

    python serve.py bjoern|fastpysgi APP PORT WORKERS

Run by the peers' interpreter, in the folder of the applications.
"""

from __future__ import annotations

import importlib
import sys


def main() -> None:
    server, app, port, workers = sys.argv[1:]
    sys.path.insert(0, "")
    module, _, attribute = app.partition(":")
    application = getattr(importlib.import_module(module), attribute)
    if server == "bjoern":
        importlib.import_module("bjoern").run(application, "127.0.0.1", int(port))
    else:
        fastpysgi = importlib.import_module("fastpysgi")
        fastpysgi.run(application, host="127.0.0.1", port=int(port), workers=int(workers))


if __name__ == "__main__":
    main()
