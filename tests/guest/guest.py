"""A kernel of its own with version 2 of control groups: user-mode Linux on the files of this machine.

It is for what a machine with version 1, or with controllers that belong to somebody else, cannot show: quotas, limits of
memory, OOM kills. The files are this machine's, read-only but for one folder; a script runs there as root, and then it
ends. It needs root and Debian's package ``user-mode-linux``, which ``make test-cgroups`` installs.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.support.debian import need
from tests.support.server import ROOT

BOOTS: Final = "TEST_BOOTS_GUEST" in os.environ
"""A minute for each test: ``make test-cgroups`` does it, ``make test`` does not."""
MEMORY: Final = "768M"
TIMEOUT_S: Final = 240

_INIT: Final = """\
#!/bin/bash
mount -t proc proc /proc && mount -t sysfs sys /sys && mount -t tmpfs tmpfs /run
mount -t cgroup2 cgroup /sys/fs/cgroup
mount -t hostfs none {folder} -o {folder}
ip link set lo up
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
export RUNTIME_DIRECTORY=/run/gwctl TMPDIR=/run PYTHONPATH={root}
mkdir /run/gwctl
bash {folder}/script > {folder}/out 2>&1 < /dev/null
sync
poweroff -f
"""
_PRELUDE: Final = """\
cd {folder}
GROUPS_=/sys/fs/cgroup
echo "+cpu +memory" > $GROUPS_/cgroup.subtree_control
gwctl() {{ {python} -m gwctl "$@"; }}
start() {{ # GROUP CONFIG: start a master in the group, wait until it serves
    ( echo $BASHPID > $GROUPS_/$1/cgroup.procs; exec {python} -m gwctl start -c $2 > log 2>&1 ) & PID=$!
    serves
}}
serves() {{ for _ in $(seq 200); do grep -qs serving: log && return; sleep 0.2; done; cat log; exit 1; }}
logged() {{ for _ in $(seq 200); do grep -sE "$1" log && return; sleep 0.2; done; cat log; exit 1; }}
ask() {{ curl -s -m 60 "http://127.0.0.1:8000/?$1"; echo " curl $?"; }}
mib() {{ echo $(($1 << 20)); }}
"""
_APP: Final = """\
import os
kept = []
def application(environ, start_response):
    kept.append(b"x" * (int(environ["QUERY_STRING"] or 0) << 20))
    start_response("200 OK", [])
    return [str(os.getpid()).encode()]
"""
_CONFIG: Final = """\
[master]
name = "guest"
{master}
[pool.web]
app = "keeps:application"
worker = "sync"
bind = ["127.0.0.1:8000"]
{web}
"""


class Guest:
    """One script in one kernel."""

    def __init__(self, folder: Path) -> None:
        if not BOOTS:
            pytest.skip("make test-cgroups boots a kernel for it")
        if os.geteuid() != 0:
            pytest.skip("it takes root to use this machine's files in a kernel of its own")
        self._kernel = need("linux.uml", "user-mode-linux")
        need("curl", "curl")
        self._folder = folder
        (folder / "keeps.py").write_text(_APP, "utf-8")

    def config(self, web: str, master: str = "") -> str:
        path = self._folder / "gw.toml"
        path.write_text(_CONFIG.format(web=web, master=master), "utf-8")
        return path.name

    def run(self, script: str) -> str:
        """What the script printed."""
        folder = self._folder
        fields = {"folder": folder, "root": ROOT, "python": sys.executable}
        init = folder / "init"
        init.write_text(_INIT.format(**fields), "utf-8")
        init.chmod(0o755)
        (folder / "script").write_text(_PRELUDE.format(**fields) + script, "utf-8")
        command = [
            *(self._kernel, f"mem={MEMORY}", "rootfstype=hostfs", "rootflags=/", "ro", "quiet"),
            *(f"init={init}", "con=null", "con0=null,fd:1", "con1=null", "ssl=null", f"uml_dir={folder}"),
        ]
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
            env={**os.environ, "TMPDIR": str(folder), "HOME": str(folder)},
        )
        out = folder / "out"
        assert out.exists(), done.stdout
        return out.read_text("utf-8", "replace")
