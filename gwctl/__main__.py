"""``python -m gwctl``, and the ``gwctl`` command.

Where memory is limited too tightly it ends in the middle of its imports: so all others come within `main`.
"""

from __future__ import annotations

import os


def main() -> None:
    """Run the command line; ends the process with its exit status."""
    try:
        from gwctl import memory_limits  # noqa: PLC0415 - see the module
    except MemoryError:
        os.write(2, b"gwctl: not enough memory: look at ulimit -d and ulimit -v\n")
        os._exit(1)
    try:
        from gwctl.cli import main as command  # noqa: PLC0415 - see the module

        command()
    except Exception as error:
        reason = memory_limits.reason(error)
        if not reason:
            raise
    else:
        return
    os.write(2, b"gwctl: %s\n" % reason.encode())
    os._exit(1)  # what is left to be done at an exit would meet the same


if __name__ == "__main__":
    main()
