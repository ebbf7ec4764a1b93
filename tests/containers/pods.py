"""Podman with a store of its own, bases made of Debian's packages, and what images are built from.

Registries need not be reachable: the bases are a Debian tree under the names that the examples have, and packages of Python come from a
folder. All of it is made once, in `CACHE`, where it is to be (`MAKE`): a few minutes. Needs root, for the tree and for podman.
"""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.debian import need
from tests.support.server import ROOT

EXAMPLE: Final = ROOT / "examples/containers"
CACHE: Final = Path(os.environ.get("GWCTL_TEST_CACHE", "/var/tmp/gwctl-tests"))
MAKE: Final = "CONTAINER_IMAGES" in os.environ
"""It takes minutes, most of them to compile: ``make test-containers`` says so, with ``COMPILED=0`` without that."""
COMPILED: Final = os.environ.get("CONTAINER_IMAGES") == "compiled"
SLIM: Final = "docker.io/library/python:3.13-slim"
_STORE: Final = "pods-1"
_DEBIAN: Final = "docker.io/library/debian:trixie-slim"
_PYTHON: Final = "docker.io/library/python:3.13"
_DISTROLESS: Final = "gcr.io/distroless/python3-debian13:nonroot"
_MIRROR: Final = "http://deb.debian.org/debian"
_TREE_S: Final = 600
_BUILD_S: Final = 1500
_RUN_S: Final = 60
_SETTINGS: Final = '[containers]\ndefault_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]\n'
"""Without CAP_SYS_RESOURCE nobody gets the usual ones."""
HOW_TO_BUILD: Final = (
    "--quiet",
    "--pull=never",
    "--format=docker",
    "--network=host",
    "--isolation=chroot",
)
_BASES: Final = {
    SLIM: f"FROM {_DEBIAN}\nRUN ln -s /usr/bin/python3 /usr/local/bin/python3\n",
    _PYTHON: (
        f"FROM {_DEBIAN}\nRUN apt-get update && apt-get install --yes --no-install-recommends "
        "gcc libc6-dev python3-dev python3-pip python3-venv\n"
    ),
    # Python, what it needs, and nothing else: no shell, as there.
    _DISTROLESS: (
        f"FROM {_DEBIAN} AS whole\nRUN mkdir /base && cd / && cp -a --parents "
        "etc/passwd etc/group etc/ssl etc/ld.so.cache usr/bin/python3 usr/bin/python3.13 usr/lib/python3* "
        "usr/share/zoneinfo usr/lib/x86_64-linux-gnu usr/lib64 lib lib64 bin /base/ && mkdir -m 1777 /base/tmp\n"
        "FROM scratch\nCOPY --from=whole /base /\n"
    ),
}


class Podman:
    """Its commands, on the store in `CACHE`."""

    def __init__(self, store: Path) -> None:
        places = [
            "--root",
            str(store / "root"),
            "--runroot",
            str(store / "run"),
            "--tmpdir",
            str(store / "tmp"),
        ]
        manager = ["--cgroup-manager=cgroupfs", "--events-backend=file"]
        old = [] if Path("/sys/fs/cgroup/cgroup.controllers").exists() else ["--runtime=runc"]
        self._settings = str(store / "containers.conf")
        self._command = ["podman", *places, *manager, *old]

    def run(self, *arguments: str, timeout_s: float = _RUN_S, check: bool = True) -> str:
        done = self.result(*arguments, timeout_s=timeout_s)
        assert not check or done.returncode == 0, f"podman {' '.join(arguments)}\n{done.stdout}{done.stderr}"
        return done.stdout.strip()

    def result(self, *arguments: str, timeout_s: float = _RUN_S) -> subprocess.CompletedProcess[str]:
        command = [*self._command, *arguments]
        environ = {**os.environ, "CONTAINERS_CONF": self._settings}
        return subprocess.run(
            command, env=environ, capture_output=True, text=True, timeout=timeout_s, check=False
        )

    def script(self, path: Path) -> Path:
        """A program that is podman on this store, for those who call it themselves."""
        line = f'CONTAINERS_CONF={shlex.quote(self._settings)} exec {shlex.join(self._command)} "$@"'
        path.write_text(f"#!/bin/sh\n{line}\n", "utf-8")
        path.chmod(0o755)
        return path

    def has(self, image: str) -> bool:
        return self.result("image", "exists", image).returncode == 0

    def build(self, name: str, folder: Path, file: str, *options: str) -> None:
        self.run(
            "build",
            *HOW_TO_BUILD,
            *options,
            "-t",
            name,
            "-f",
            str(folder / file),
            str(folder),
            timeout_s=_BUILD_S,
        )

    @contextmanager
    def container(self, image: str, *options: str, command: Sequence[str] = ()) -> Iterator[Container]:
        """One that runs, on the network of this machine; it is gone in the end."""
        how = ["--detach", "--network=host", *options]
        made = Container(self, self.run("run", *how, image, *command))
        try:
            yield made
        finally:
            self.run("rm", "--force", "--time", "1", made.id)

    def describe(self, what: str) -> Any:
        return json.loads(self.run("inspect", what))[0]


class Container:
    def __init__(self, podman: Podman, identity: str) -> None:
        self._podman = podman
        self.id = identity

    def execute(self, *command: str) -> subprocess.CompletedProcess[str]:
        return self._podman.result("exec", self.id, *command)

    def logs(self) -> str:
        done = self._podman.result("logs", self.id)
        return done.stdout + done.stderr

    def stop(self) -> int:
        """As `podman stop` does it by default: ten seconds, then it is killed. Its exit status."""
        self._podman.run("stop", self.id)
        return int(self._podman.describe(self.id)["State"]["ExitCode"])


def podman() -> Podman:
    """On a store that has the bases; skips where that cannot be."""
    store = CACHE / _STORE
    if not MAKE:
        pytest.skip("images are built by make test-containers")
    if os.geteuid() != 0:
        pytest.skip("containers from nothing need root")
    need("podman", "podman")
    need("runc", "runc")
    need("catatonit", "catatonit")  # for --init
    CACHE.mkdir(mode=0o700, exist_ok=True)
    if CACHE.lstat().st_uid != 0:
        pytest.skip(f"{CACHE} is not root's")
    with (CACHE / "pods.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        store.mkdir(exist_ok=True)
        (store / "containers.conf").write_text(_SETTINGS, "utf-8")
        found = Podman(store)
        if not (store / "made").exists():
            _make_bases(found, store)
            (store / "made").touch()
    return found


def _make_bases(podman: Podman, store: Path) -> None:
    if not podman.has(_DEBIAN):
        mmdebstrap = need("mmdebstrap", "mmdebstrap")
        tree = store / "debian.tar"
        what = ["--variant=minbase", "--include=ca-certificates,python3-minimal,libpython3-stdlib,tzdata"]
        command = ["unshare", "--mount", "--propagation=private", mmdebstrap, "--quiet", "--mode=root", *what]
        done = subprocess.run(
            [*command, "trixie", str(tree), _MIRROR],
            capture_output=True,
            text=True,
            timeout=_TREE_S,
            check=False,
        )
        if done.returncode != 0:
            pytest.skip(f"Debian cannot be had here: {(done.stderr or done.stdout).strip()[-300:]}")
        podman.run("import", str(tree), _DEBIAN, timeout_s=_TREE_S)
        tree.unlink()
    folder = store / "base"
    folder.mkdir(exist_ok=True)
    for name, text in _BASES.items():
        (folder / "Containerfile").write_text(text, "utf-8")
        podman.build(name, folder, "Containerfile")


def context(folder: Path) -> Path:
    """The example's folder with all packages that it needs in ``wheels``, gwctl's source among them."""
    shutil.copytree(EXAMPLE, folder, dirs_exist_ok=True)
    wheels = folder / "wheels"
    _python("-m", "hatchling", "build", "-t", "sdist", "-d", str(wheels))
    download = ["-m", "pip", "download", "--disable-pip-version-check", "--quiet", "--dest", str(wheels)]
    _python(*download, "--no-deps", "--no-binary=:all:", "gunicorn_h1c>=0.6.9")
    others = ["hatchling>=1.27", "mypy[mypyc]>=1.15", "setuptools>=77", "wheel", *_dependencies()]
    _python(*download, "--python-version=3.13", "--only-binary=:all:", *others)
    return folder


def packages() -> list[str]:
    """Options of a build: packages come from the folder of `context`, and gwctl is compiled or not."""
    return [
        "--build-arg=PIP_NO_INDEX=1",
        "--build-arg=PIP_FIND_LINKS=/src/wheels",
        f"--build-arg=COMPILE={int(COMPILED)}",
    ]


def _dependencies() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return list(project["dependencies"])


def _python(*arguments: str) -> None:
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=_BUILD_S, check=False)
    if done.returncode != 0:
        pytest.skip(f"packages cannot be had here: {(done.stdout + done.stderr).strip()[-300:]}")
