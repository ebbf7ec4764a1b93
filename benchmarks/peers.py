"""The peers' environment: a virtual environment of their own, build/bench/peers.

Rules:
- gwctl's own environment gets nothing for the sake of a comparison.
- The same interpreter makes both; frameworks are installed in the versions that stand beside gwctl.
- What is there already stays as it is (so that a second run needs no network); to get newer
  versions, remove the folder.
- What cannot be installed is no error but a reason, which the tables print.
"""

from __future__ import annotations

import functools
import importlib.metadata
import json
import platform
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from benchmarks.tools import RESULTS, apt_install, may_install

PEERS = RESULTS / "peers"
PLOT = RESULTS / "plot"
FRAMEWORKS = ("Flask", "Django", "fastapi")

# Distribution -> what pip is asked for. The C parser makes gunicorn's asgi worker faster; as an extra of
# gunicorn it would hold gunicorn back where only an older version of the parser can be had.
REQUIREMENTS = {
    "gunicorn": "gunicorn>=27",
    "gunicorn_h1c": "gunicorn_h1c",
    "uvicorn": "uvicorn[standard]",
    "granian": "granian",
    "hypercorn": "hypercorn[uvloop]",
    "waitress": "waitress",
    "uwsgi": "uwsgi",
    "fastpysgi": "fastpysgi",
    "bjoern": "bjoern",
    "wsproto": "wsproto",
}
LIBEV_HEADERS = ("/usr/include/ev.h", "/usr/local/include/ev.h", "/opt/homebrew/include/ev.h")
VERSIONS = """
import importlib.metadata, json
print(json.dumps({d.name.lower().replace("-", "_"): d.version for d in importlib.metadata.distributions()}))
"""


def key(distribution: str) -> str:
    return distribution.lower().replace("-", "_")


def installed(environment: Path) -> dict[str, str]:
    """Version of each distribution in a virtual environment, by its name in lower case."""
    python = environment / "bin" / "python"
    if not python.exists():
        return {}
    run = subprocess.run([str(python), "-c", VERSIONS], check=True, capture_output=True, text=True)
    versions: dict[str, str] = json.loads(run.stdout)
    return versions


@functools.cache
def own_versions() -> dict[str, str]:
    """The same of the environment that gwctl runs in."""
    return {key(d.name): d.version for d in importlib.metadata.distributions()}


def framework_requirement(name: str) -> str:
    version = own_versions().get(key(name))
    return f"{name}=={version}" if version else name


def make(environment: Path) -> None:
    """Make it, also afresh when gwctl runs on another Python by now."""
    if not made_with(environment, platform.python_version()):
        print(f"making the environment {environment.name}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(environment)], check=True)


def made_with(environment: Path, version: str) -> bool:
    settings = environment / "pyvenv.cfg"
    text = settings.read_text("utf-8") if settings.exists() else ""
    return f"version = {version}" in text.splitlines() and (environment / "bin" / "python").exists()


def pip_install(environment: Path, requirement: str) -> str:
    """Install; return why it failed, or nothing."""
    print(f"installing {requirement} for {environment.name}", flush=True)
    pip = [
        str(environment / "bin" / "python"),
        "-m",
        "pip",
        "--disable-pip-version-check",
        "install",
        "--quiet",
    ]
    run = subprocess.run([*pip, requirement], check=False, capture_output=True, text=True)
    return reason(run.stderr) if run.returncode else ""


def reason(stderr: str) -> str:
    """The line of pip's complaint that says most: a compiler's error, else pip's first one."""
    lines = [line.strip() for line in stderr.splitlines()]
    errors = [line for line in lines if "fatal error:" in line] or [
        line.removeprefix("ERROR: ") for line in lines if line.startswith(("ERROR:", "error:"))
    ]
    return (errors or lines or ["pip failed"])[0].partition(" (from versions")[0][:120]


def install(packages: Iterable[str], frameworks: Iterable[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Put what is asked for into the peers' environment; return versions, and why the rest is missing.

    Frameworks are for the packages: with none of those nothing is made.
    """
    wanted = {name: REQUIREMENTS[name] for name in packages}
    if not wanted:
        return {}, {}
    wanted |= {name: framework_requirement(name) for name in frameworks}
    make(PEERS)
    versions, missing = installed(PEERS), {}
    for name, requirement in wanted.items():
        exact = requirement.partition("==")[2]
        if key(name) in versions and exact in {"", versions[key(name)]}:
            continue
        if name == "bjoern" and may_install() and not any(Path(path).exists() for path in LIBEV_HEADERS):
            apt_install("libev-dev")
        failed = pip_install(PEERS, requirement)
        if failed:
            print(f"  {name} could not be installed: {failed}", flush=True)
            missing[name] = failed
    versions = installed(PEERS)
    found = {name: versions[key(name)] for name in wanted if key(name) in versions}
    return found, {name: missing.get(name, "not installed") for name in wanted if name not in found}


def install_beside(python: Path, frameworks: Iterable[str]) -> None:
    """Put frameworks beside another build of ours, in the versions that stand beside this one."""
    environment = python.parent.parent
    there = installed(environment)
    for name in frameworks:
        requirement = framework_requirement(name)
        if there.get(key(name)) != requirement.partition("==")[2]:
            failed = pip_install(environment, requirement)
            if failed:
                print(f"  {name} could not be installed: {failed}", flush=True)


def plot_python() -> Path | None:
    """The interpreter of an environment with matplotlib; None where it cannot be had."""
    make(PLOT)
    if "matplotlib" not in installed(PLOT):
        failed = pip_install(PLOT, "matplotlib")
        if failed:
            print(f"  no plot: {failed}")
            return None
    return PLOT / "bin" / "python"
