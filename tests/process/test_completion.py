"""Tab in real shells: commands, options, words, and the pools of the master that is asked."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.apps import BARE
from tests.support.debian import need
from tests.support.wait import until

BASH = """
eval "$(gwctl completion bash)"
COMP_WORDS=({words} "{last}"); COMP_CWORD={count}
_gwctl_completion gwctl
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
ZSH = """
autoload -U compinit; compinit -u -d {folder}/dump
eval "$(gwctl completion zsh)"
compadd() {{ [[ $1 == -U && $2 == -V ]] && shift 3; print -l -- "${{(@P)${{@[-1]}}}}" }}
_describe() {{ print -l -- "${{(@)${{(@P)3}}%%:*}}" }}
words=({words} "{last}"); CURRENT={count}+1
_gwctl_completion
"""
FISH = """
gwctl completion fish | source
complete -C "{words} {last}" | string split -f1 \\t
true  # where there was nothing to split, too
"""


def completed(
    shell: str, script: str, words: str, folder: Path, environ: dict[str, str] | None = None
) -> list[str]:
    """What ``shell`` offers for the last of ``words`` when Tab is pressed."""
    *before, last = words.split(" ")
    text = script.format(words=" ".join(before), last=last, count=len(before), folder=folder)
    environ = (environ or dict(os.environ)) | {"HOME": str(folder)}
    environ["PATH"] = f"{Path(sys.executable).parent}:{environ['PATH']}"
    result = subprocess.run([shell, "-c", text], env=environ, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return result.stdout.split()


@pytest.fixture(params=["bash", "zsh", "fish"])
def complete(request, tmp_path):
    shell: str = request.param
    path = need(shell, shell)
    script = {"bash": BASH, "zsh": ZSH, "fish": FISH}[shell]
    return lambda words, environ=None: completed(path, script, words, tmp_path, environ)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("gwctl st", {"start", "status", "stop"}),
        ("gwctl completion ", {"bash", "zsh", "fish"}),
        ("gwctl events --l", {"--last", "--level"}),
        ("gwctl events --level w", {"warning"}),
        ("gwctl t", {"top"}),
        ("gwctl top --in", {"--interval"}),
        ("gwctl config d", {"diff"}),
        ("gwctl config diff --j", {"--json"}),
        ("gwctl do", {"doctor"}),
        ("gwctl doctor --ng", {"--nginx"}),
        ("gwctl config s", {"show", "schema"}),
    ],
)
def test_words(complete, words: str, expected: set[str]) -> None:
    assert set(complete(words)) == expected


def test_pools_of_the_master_that_is_named(gwctl_server, complete) -> None:
    with gwctl_server(BARE["sync"], worker="sync") as server:
        # The shell is not kept waiting for a master that a busy machine keeps from answering within a second.
        offered = until(lambda: complete(f"gwctl scale -c {server.config} ", server.environ), "an answer")
        assert offered == ["web"]
        assert complete(f"gwctl scale -c {server.config} x", server.environ) == []


def test_without_a_master_there_are_none(complete, tmp_path) -> None:
    assert complete("gwctl scale --name nobody ", dict(os.environ) | {"XDG_RUNTIME_DIR": str(tmp_path)}) == []
