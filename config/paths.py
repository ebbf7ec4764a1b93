"""What is at a path, as far as this user may look: where looking is not allowed, nothing is.

pathlib's own questions raise PermissionError there (until Python 3.14). Whoever goes on to open the file
is told why it cannot be, by the error of that.
"""

from __future__ import annotations

import os
from os import PathLike


def exists(path: str | PathLike[str]) -> bool:
    return os.path.exists(path)  # noqa: PTH110 - see the module


def is_file(path: str | PathLike[str]) -> bool:
    return os.path.isfile(path)  # noqa: PTH113


def is_folder(path: str | PathLike[str]) -> bool:
    return os.path.isdir(path)  # noqa: PTH112
