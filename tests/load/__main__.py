"""The keep-alive load from the command line.

python -m tests.load http://127.0.0.1:8000/ --connections 32 --think-ms 5 --seconds 30
"""

from __future__ import annotations

import argparse
import select
import sys
import time
from collections.abc import Callable

import uvloop

from tests.load.plan import Part, Plan, decode_parts
from tests.load.runner import drive


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.load", description="Keep-alive load, failures classified."
    )
    parser.add_argument("url", nargs="?", help="http://HOST:PORT/path or unix:/path/to/socket:/path")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--think-ms", type=float, default=5.0, help="mean pause between requests")
    parser.add_argument("--timeout-s", type=float, default=10.0)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--parts", help=argparse.SUPPRESS)  # of a test; until the end of input
    options = parser.parse_args()
    if not options.url and not options.parts:
        parser.error("which URL?")
    return options


def input_ended() -> bool:
    return bool(select.select([sys.stdin], [], [], 0)[0])


def seconds_passed(seconds: float) -> Callable[[], bool]:
    end = time.monotonic() + seconds
    return lambda: time.monotonic() > end


def told_to_a_test(parts: list[Part]) -> None:
    """Say how it goes and what the results are, a line each.

    Not by sys.stdout: with PYTHONUNBUFFERED it is done with a line of which a full pipe took the beginning alone.
    """
    with open(1, "w", encoding="utf-8", closefd=False) as output:

        def report(requests: int, failed: int) -> None:
            output.write(f"[{requests}, {failed}]\n")
            output.flush()

        output.writelines(result.to_json() + "\n" for result in uvloop.run(drive(parts, input_ended, report)))


def main() -> None:
    options = arguments()
    if options.parts:
        told_to_a_test(decode_parts(options.parts))
        return
    part = Part(Plan(options.url, options.think_ms / 1000, options.timeout_s), options.connections)
    ended = seconds_passed(options.seconds)
    (result,) = uvloop.run(drive([part], ended, lambda _requests, _failed: None))
    sys.stdout.write((result.to_json() if options.json else str(result)) + "\n")
    sys.exit(bool(result.failed))


if __name__ == "__main__":
    main()
