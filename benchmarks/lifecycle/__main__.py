"""How servers are reloaded, broken, killed and hung, beside each other.

    python -m benchmarks.lifecycle [--only NAME,NAME] [--cases reload,hang] [--output FOLDER]

What is done is in cases.py, how each server is started and reloaded in contenders.py.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from pathlib import Path

from benchmarks import peers
from benchmarks.lifecycle import cases
from benchmarks.lifecycle.contenders import CONTENDERS
from benchmarks.lifecycle.table import row, table
from benchmarks.selection import split
from benchmarks.servers import ServerFailed, compile_ours
from benchmarks.tools import RESULTS, write_results


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.lifecycle",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", type=split, default=[], help="servers, by name or a part of it")
    parser.add_argument("--cases", type=split, default=list(cases.CASES), help=", ".join(cases.CASES))
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    if unknown := set(options.cases) - set(cases.CASES):
        parser.error(f"no such case: {', '.join(sorted(unknown))}")
    return options


def main() -> None:
    options = arguments()
    chosen = [c for c in CONTENDERS if not options.only or any(part in c.name for part in options.only)]
    packages = list(dict.fromkeys(package for c in chosen for package in c.packages))
    if "gunicorn" in packages:
        packages.append("gunicorn_h1c")
    versions, absent = peers.install(packages, ())
    versions["gwctl"] = peers.own_versions().get("gwctl", "?")
    missing = {c.name: absent[package] for c in chosen for package in c.packages if package in absent}
    compile_ours()
    reports = []
    for case in options.cases:
        print(f"{case}", flush=True)
        for contender in chosen:
            if contender.name in missing:
                continue
            try:
                report = cases.run(contender, case)
            except (ServerFailed, OSError, AssertionError) as failed:  # the last: of the load
                print(f"  {contender.name:<20} FAILING: {failed}", flush=True)
                missing[contender.name] = str(failed)
                continue
            reports.append(report)
            print(row(report), flush=True)
    print(table(reports, missing))
    document = {
        "at": time.strftime("%Y-%m-%d %H:%M", time.gmtime()),
        "versions": versions,
        "reports": [dataclasses.asdict(report) for report in reports],
        "missing": missing,
    }
    write_results("lifecycle", document, options.output)


if __name__ == "__main__":
    main()
