"""Tab in real shells: commands, options, words, and the pools of the master that is asked."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.support.apps import BARE
from tests.support.debian import need
from tests.support.wait import until

BETWEEN = ":"
SCRIPTS = {
    "bash": """
eval "$(gwctl completion bash)"
offer() {
    COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
    _gwctl_completion gwctl
    printf '%s\\n' "${COMPREPLY[@]}"
}
""",
    "zsh": """
autoload -U compinit; compinit -u -d "$HOME/dump"
eval "$(gwctl completion zsh)"
compadd() { [[ $1 == -U && $2 == -V ]] && shift 3; print -l -- "${(@P)${@[-1]}}" }
_describe() { print -l -- "${(@)${(@P)3}%%:*}" }
offer() { words=("$@"); CURRENT=$#; _gwctl_completion }
""",
    "fish": """
gwctl completion fish | source
function offer
    complete -C (string join ' ' -- $argv) | string split -f1 \\t
    true  # where there was nothing to split, too
end
""",
}
"""For each shell: have it complete, and a function that offers what it would for the last of some words."""

EXPECTED = {
    "gwctl st": {"start", "status", "stop"},
    "gwctl completion ": {"bash", "zsh", "fish"},
    "gwctl events --l": {"--last", "--level"},
    "gwctl events --level w": {"warning"},
    "gwctl t": {"top"},
    "gwctl top --in": {"--interval"},
    "gwctl config d": {"diff"},
    "gwctl config diff --j": {"--json"},
    "gwctl do": {"doctor"},
    "gwctl doctor --ng": {"--nginx"},
    "gwctl config s": {"show", "schema"},
}


def completed(
    shell: str, script: str, lines: Iterable[str], folder: Path, environ: dict[str, str] | None = None
) -> list[set[str]]:
    """What ``shell`` offers when Tab is pressed at the end of each line."""
    asks = "".join(f"offer {' '.join(map(quoted, line.split(' ')))}\necho {BETWEEN}\n" for line in lines)
    environ = (environ or dict(os.environ)) | {"HOME": str(folder)}
    environ["PATH"] = f"{Path(sys.executable).parent}:{environ['PATH']}"
    result = subprocess.run(
        [shell, "-c", script + asks], env=environ, capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return [set(offered.split()) for offered in result.stdout.split(f"{BETWEEN}\n")[:-1]]


def quoted(word: str) -> str:
    return f"'{word}'"


@pytest.fixture(params=["bash", "zsh", "fish"])
def complete(request, tmp_path):
    shell: str = request.param
    path = need(shell, shell)
    return lambda lines, environ=None: completed(path, SCRIPTS[shell], lines, tmp_path, environ)


def test_words(complete, request) -> None:
    """All of them in one shell; what a shell is told does not depend on which it is."""
    wanted = (
        EXPECTED if request.node.callspec.params["complete"] == "bash" else dict(list(EXPECTED.items())[:4])
    )
    assert dict(zip(wanted, complete(wanted), strict=True)) == wanted


def test_pools_of_the_master_that_is_named(gwctl_server, complete) -> None:
    with gwctl_server(BARE["sync"], worker="sync") as server:
        lines = [f"gwctl scale -c {server.config} ", f"gwctl scale -c {server.config} x"]
        offered: list[set[str]] = []

        def answered() -> bool:
            """The shell is not kept waiting for a master that a busy machine keeps from answering within a second."""
            offered[:] = complete(lines, server.environ)
            return bool(offered[0])

        until(answered, "an answer")
        assert offered == [{"web"}, set()]


def test_without_a_master_there_are_none(complete, tmp_path) -> None:
    environ = dict(os.environ) | {"XDG_RUNTIME_DIR": str(tmp_path)}
    assert complete(["gwctl scale --name nobody "], environ) == [set()]
