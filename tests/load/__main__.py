"""The keep-alive load from the command line.

python -m tests.load http://127.0.0.1:8000/ --connections 32 --think-ms 5 --seconds 30
"""

from __future__ import annotations

import argparse
import asyncio
import select
import sys
import time
from collections.abc import Callable

from tests.load.connection import Plan
from tests.load.result import Recorder
from tests.load.runner import decode_plan, drive


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
    parser.add_argument("--plan", help=argparse.SUPPRESS)
    parser.add_argument("--until-end-of-input", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.url and not options.plan:
        parser.error("which URL?")
    return options


def input_ended() -> bool:
    return bool(select.select([sys.stdin], [], [], 0)[0])


def seconds_passed(seconds: float) -> Callable[[], bool]:
    end = time.monotonic() + seconds
    return lambda: time.monotonic() > end


def report(recorder: Recorder) -> None:
    """A line for the test that started us."""
    sys.stdout.write(f"[{recorder.requests}, {recorder.failures.total()}]\n")
    sys.stdout.flush()


def main() -> None:
    options = arguments()
    if options.until_end_of_input:
        plan = decode_plan(options.plan)
        result = asyncio.run(drive(plan, options.connections, input_ended, report))
        sys.stdout.write(result.to_json() + "\n")
        return
    plan = Plan(options.url, options.think_ms / 1000, options.timeout_s)
    ended = seconds_passed(options.seconds)
    result = asyncio.run(drive(plan, options.connections, ended, lambda _recorder: None))
    sys.stdout.write((result.to_json() if options.json else str(result)) + "\n")
    sys.exit(bool(result.failed))


if __name__ == "__main__":
    main()
