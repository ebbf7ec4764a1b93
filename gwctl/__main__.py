"""``python -m gwctl``, and the ``gwctl`` command.

Where memory is limited too tightly, or somebody types Ctrl-C at once, it ends in the middle of its imports:
so all that can come within `main` does.
"""

from __future__ import annotations

import gc
import os

_INTERRUPTED = 130


def main() -> None:
    """Run the command line; ends the process with its exit status."""
    try:
        _main()
    except KeyboardInterrupt:
        os._exit(_INTERRUPTED)


def _main() -> None:
    try:
        import signal  # noqa: PLC0415 - see the module

        from gwctl import memory_limits  # noqa: PLC0415
    except ModuleNotFoundError:
        raise
    except (MemoryError, ImportError, OSError):  # so little that a module of C cannot be mapped
        os.write(2, b"gwctl: not enough memory: look at ulimit -d and ulimit -v\n")
        os._exit(1)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # At once, in whatever import: whoever has something to say about it takes the default back.
        signal.signal(signal.SIGINT, lambda _number, _frame: os._exit(_INTERRUPTED))
    try:
        from gwctl.cli import main as command  # noqa: PLC0415 - see the module

        command()
    except Exception as error:
        reason = memory_limits.reason(error)
        if not reason:
            raise
    else:
        return
    finally:
        # Or the interpreter would look for garbage in all of it at its end: a fifth of a command's time.
        gc.freeze()
    os.write(2, b"gwctl: %s\n" % reason.encode())
    os._exit(1)  # what is left to be done at an exit would meet the same


if __name__ == "__main__":
    main()
