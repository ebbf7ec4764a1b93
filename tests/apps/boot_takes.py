"""An application whose import takes BOOT_TAKES_S seconds (drawn below that), or for ever, in C, if that is "c"."""

from __future__ import annotations

import ctypes
import os
import random
import time

import wsgi_bare
from hangs import wait_in_c

_takes = os.environ["BOOT_TAKES_S"]
if _takes == "c":
    wait_in_c(ctypes.CDLL(None))
time.sleep(random.random() * float(_takes))

application = wsgi_bare.application
