"""A box with a real systemd as its pid 1: a Debian tree, booted by systemd-nspawn on a layer that is thrown away.

It needs root, Debian's mmdebstrap and systemd-container (installed where that is possible), and a mounted cgroup2.
The tree is made once, in `CACHE`, and used by all; what a service of a test needs is bound into the box.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.support.debian import need
from tests.support.server import ROOT
from tests.support.wait import until

SUITE: Final = "trixie"
"""Debian 13, with systemd 257 and Python 3.13."""
PYTHON: Final = "3.13"
CACHE: Final = Path(os.environ.get("GWCTL_TEST_CACHE", "/var/tmp/gwctl-tests"))
MAKE: Final = "TEST_MAKES_BOX" in os.environ
"""It takes a minute, half of it of both cores: ``make test-systemd`` says so, ``make test`` uses what is there."""
_TREE: Final = f"{SUITE}-1"
_MAKE_S: Final = 360
_PACKAGES: Final = "systemd,systemd-sysv,dbus,python3-minimal,libpython3-stdlib"
_MIRROR: Final = "http://deb.debian.org/debian"
_NOT_WANTED: Final = ("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer")
_ENVIRON: Final = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "SYSTEMD_PAGER": "",
    "SYSTEMD_COLORS": "0",
    "LANG": "C.UTF-8",
    "HOME": "/root",
    "TERM": "dumb",
}
_NSPAWN: Final = """
echo $$ > "$1/cgroup.procs" && shift && exec systemd-nspawn "$@"
"""
_POWER_OFF: Final = signal.SIGRTMIN + 4


def tree(name: str = _TREE, *packages: str) -> Path:
    """A Debian tree, with more ``packages``, made if it is not there and is to be (`MAKE`); skips where it cannot be had."""
    if not MAKE and not (CACHE / name).is_dir():
        pytest.skip(f"no box with systemd in {CACHE}: make test-systemd makes one")
    if os.geteuid() != 0:
        pytest.skip("a box with systemd needs root")
    if cgroup2() is None:
        pytest.skip("a box with systemd needs a mounted cgroup2")
    mmdebstrap = need("mmdebstrap", "mmdebstrap")
    need("systemd-nspawn", "systemd-container")
    CACHE.mkdir(mode=0o700, exist_ok=True)
    if CACHE.lstat().st_uid != 0:
        pytest.skip(f"{CACHE} is not root's")
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (CACHE / name).is_dir():
            _make(mmdebstrap, CACHE / name, ",".join([_PACKAGES, *packages]))
    return CACHE / name


def _make(mmdebstrap: str, path: Path, packages: str) -> None:
    """Of the packages of Debian's mirror. What is mounted meanwhile is so in a namespace, which ends with it."""
    draft = path.with_suffix(".draft")
    shutil.rmtree(draft, ignore_errors=True)
    made = ["--variant=essential", "--mode=root", f"--include={packages}", SUITE, str(draft), _MIRROR]
    command = ["unshare", "--mount", "--propagation=private", mmdebstrap, "--quiet", *made]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_MAKE_S, check=False)
    if done.returncode != 0:
        pytest.skip(f"Debian {SUITE} cannot be had here: {(done.stderr or done.stdout).strip()[-300:]}")
    for step in (["systemd-machine-id-setup"], ["systemctl", "mask", *_NOT_WANTED]):
        subprocess.run(["chroot", str(draft), *step], capture_output=True, timeout=60, check=True)
    (draft / "etc/resolv.conf").unlink(missing_ok=True)
    draft.rename(path)


def cgroup2() -> Path | None:
    """Where it is mounted."""
    for line in Path("/proc/mounts").read_text("utf-8").splitlines():
        _, point, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(point)
    return None


def install(folder: Path) -> None:
    """Install a wheel of gwctl and what it needs for the box's Python, as a virtual environment of it."""
    wheels = folder / "wheels"
    _run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(wheels)], ROOT)
    (wheel,) = wheels.glob("gwctl-*.whl")
    venv = folder / "venv"
    packages = venv / f"lib/python{PYTHON}/site-packages"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "install", "--no-compile"]
    picky = ["--python-version", PYTHON, "--only-binary=:all:", "--target", str(packages)]
    _run([*pip, *picky, str(wheel)], ROOT)
    (venv / "bin").mkdir(parents=True)
    (venv / "bin/python3").symlink_to("/usr/bin/python3")
    (venv / "pyvenv.cfg").write_text(f"home = /usr/bin\nversion = {PYTHON}\n", "utf-8")
    script = venv / "bin/gwctl"
    script.write_text("#!/srv/gwctl/venv/bin/python3\nfrom gwctl.__main__ import main\nmain()\n", "utf-8")
    script.chmod(0o755)


def _run(command: Sequence[str], cwd: Path) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=_MAKE_S, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"


class Box:
    """One that is up."""

    def __init__(self, leader: int) -> None:
        self._leader = leader

    def command(self, *arguments: str) -> list[str]:
        """What runs ``arguments`` in the box."""
        enter = [
            "nsenter",
            "-t",
            str(self._leader),
            "-m",
            "-u",
            "-i",
            "-n",
            "-p",
            "-C",
            "-r",
            "-w",
            "env",
            "-i",
        ]
        return [*enter, *(f"{key}={value}" for key, value in _ENVIRON.items()), *arguments]

    def run(self, *arguments: str, timeout_s: float = 90.0) -> subprocess.CompletedProcess[str]:
        """Run a command in the box to its end."""
        return subprocess.run(
            self.command(*arguments), capture_output=True, text=True, timeout=timeout_s, check=False
        )

    def says(self, *arguments: str) -> str:
        """What a command prints, which must not fail."""
        done = self.run(*arguments)
        assert done.returncode == 0, f"{' '.join(arguments)}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout.strip()

    def show(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self.says("systemctl", "show", "-P", name, unit)


@contextmanager
def booted(root: Path, folder: Path, binds: Sequence[str], more: Sequence[str] = ()) -> Iterator[Box]:
    """Boot a box with a network of its own; at the end it is powered off and nothing is left of it.

    Args:
        root: The tree; nothing is written there.
        folder: For what belongs to the box.
        binds: What of this machine is in it, as ``--bind=`` has it.
        more: Options of systemd-nspawn.
    """
    top = cgroup2()
    assert top is not None
    group, console = top / f"gwctl-box-{os.getpid()}", folder / "console"
    group.mkdir(exist_ok=True)
    options = ["-q", "-D", str(root), "--volatile=overlay", "--boot", "--register=no", "--keep-unit", *more]
    options += [
        "--console=read-only",
        f"--machine=gwctl-{os.getpid()}",
        "--link-journal=no",
        "--private-network",
    ]
    with console.open("wb") as output:
        nspawn = subprocess.Popen(
            ["bash", "-c", _NSPAWN, "_", str(group), *options, *(f"--bind={each}" for each in binds)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=os.environ | {"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
            start_new_session=True,
        )
    try:
        leader = until(
            lambda: _leader(nspawn), lambda: f"a pid 1 in the box:\n{console.read_text('utf-8', 'replace')}"
        )
        box = Box(leader)
        up = {"running", "degraded"}
        until(
            lambda: box.run("systemctl", "is-system-running").stdout.strip() in up,
            lambda: f"the box to be up:\n{console.read_text('utf-8', 'replace')}",
        )
        yield box
        os.kill(leader, _POWER_OFF)
        nspawn.wait(60)
    finally:
        if nspawn.poll() is None:
            nspawn.kill()
            nspawn.wait()
        _remove(group)
        _remove(Path("/sys/fs/cgroup/systemd") / group.name)


def _leader(nspawn: subprocess.Popen[bytes]) -> int:
    """The process that is pid 1 in there; 0: there is none yet."""
    assert nspawn.poll() is None, "systemd-nspawn has ended"
    for task in Path(f"/proc/{nspawn.pid}/task").iterdir():
        for child in (task / "children").read_text("utf-8").split():
            status = Path(f"/proc/{child}/status").read_text("utf-8")
            numbers = next(line for line in status.splitlines() if line.startswith("NSpid:")).split()
            if numbers[-1] == "1" and len(numbers) > 2:
                return int(child)
    return 0


def _remove(group: Path) -> None:
    """A control group and those in it, when the last process is gone."""
    deadline = time.monotonic() + 10
    while group.is_dir():
        for folder in sorted(group.glob("**/"), reverse=True):
            try:
                folder.rmdir()
            except OSError:
                if time.monotonic() > deadline:
                    raise
