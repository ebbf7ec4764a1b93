"""What fuzzing starts from: the messages of the conformance table, and the words they are made of."""

from __future__ import annotations

import re
from pathlib import Path

from tests.conformance.table import CASES

MESSAGES = sorted({case.raw for case in CASES.values() if len(case.raw) < 1500})

WORDS = sorted(
    {
        word
        for message in MESSAGES
        for word in re.findall(rb"\r\n|[A-Za-z][A-Za-z0-9\-/.]{2,30}|[^A-Za-z0-9]", message)
        if len(word) <= 30
    }
)


def write_corpus(folder: Path) -> None:
    """Write a file for each message, with two cuts before it as `fuzz_http` reads them, and a dictionary."""
    corpus = folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, message in enumerate(MESSAGES):
        (corpus / f"case-{number}").write_bytes(b"\x07\x1f" + message)
    quoted = ("".join(f"\\x{byte:02x}" for byte in word) for word in WORDS)
    (folder / "words").write_text("".join(f'"{word}"\n' for word in quoted), "ascii")
