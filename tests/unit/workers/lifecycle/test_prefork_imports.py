"""What a master imports for its workers: what its pools ask for, and nothing that others have made."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
from gwctl.config.model.settings import PoolSettings
from gwctl.workers.lifecycle.prefork_imports import import_for

for bind, http in (("127.0.0.1:0", ()), ("tls:127.0.0.1:0", ("h1",)), ("tls:127.0.0.1:0", ())):
    import_for([PoolSettings(app="shop:app", worker="sync", bind=(bind,), http=http)])
    print(*(name for name in ("gwctl.workers.http2.stream", "hpack", "uvloop") if name in sys.modules))
"""


def test_the_engine_of_http_2_where_it_is_spoken() -> None:
    """It is in memory once then, but for hpack, which is not ours."""
    told = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert told.stdout == "\n\ngwctl.workers.http2.stream\n", told.stderr
