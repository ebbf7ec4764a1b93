"""Which servers a command line means, and whether they can be had."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchmarks import peers
from benchmarks.contenders import CONTENDERS, Contender, everybody


def split(text: str) -> list[str]:
    """By commas; a name may have one that is followed by a space."""
    return [part.replace("\0", ", ") for part in text.replace(", ", "\0").split(",") if part]


def named(name: str, only: Sequence[str]) -> bool:
    """A whole name means this one only; a part of names, all of them."""
    return any(name == text or (text not in everybody() and text in name) for text in only)


def packages(contenders: Iterable[Contender]) -> list[str]:
    """What the peers' environment needs for them."""
    found = dict.fromkeys(package for contender in contenders for package in contender.packages)
    return [*found, *(["gunicorn_h1c"] if "gunicorn" in found else [])]


def servers(only: Sequence[str]) -> tuple[list[Contender], dict[str, str], dict[str, str]]:
    """Application servers that are there, why the others are not (by name), and versions."""
    chosen = [c for c in CONTENDERS if c.kind != "limit" and (not only or named(c.name, only))]
    versions, missing = peers.install(packages(chosen), ())
    absent = {c.name: missing[package] for c in chosen for package in c.packages if package in missing}
    versions["gwctl"] = peers.own_versions().get("gwctl", "?")
    return [c for c in chosen if c.name not in absent], absent, versions
