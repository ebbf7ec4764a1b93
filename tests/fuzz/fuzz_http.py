# Whatever a client sends: no exception escapes, nothing hangs, no byte leaves that is not a response,
# and both parsers and both kinds of application, whole or cut into parts, see the same requests
# and answer with the same statuses.
"""The atheris target of the HTTP engine; `make fuzz` runs it: SECONDS=600 for ten minutes.

    python -m tests.fuzz.fuzz_http FOLDER [options of libFuzzer]

FOLDER keeps the corpus and what was found, and is filled with the conformance table first. A
file that was found is played again with: python -m tests.fuzz.fuzz_http FOLDER FILE
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["gwctl", "gunicorn.asgi.parser"]):
    from tests.fuzz.harness import Rig
    from tests.fuzz.messages import write_corpus

_rig: list[Rig] = []


def one_input(data: bytes) -> None:
    """Two bytes say where the message that follows them is cut, too."""
    if len(data) >= 2:
        _rig[0].check(data[2:], [data[0], data[1], data[0] + data[1]])


def main() -> None:
    folder = Path(sys.argv[1])
    write_corpus(folder)
    given = sys.argv[2:]
    files = [argument for argument in given if not argument.startswith("-")]
    options = [f"-dict={folder / 'words'}", f"-artifact_prefix={folder}/", "-timeout=20", "-max_len=3000"]
    _rig.append(Rig())
    atheris.Setup([sys.argv[0], *(files or [str(folder / "corpus")]), *options, *given], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
