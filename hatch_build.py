"""The optional compiled build: the engine's hot modules as C extensions, made from the same source.

    GWCTL_COMPILE=1 pip install .            a wheel with them (a C compiler is needed)
    python hatch_build.py                    put them beside the source: make test-compiled
    python hatch_build.py --from WHEEL       put those of a wheel there instead: to test what is released
    python hatch_build.py --sources          name them: make lint checks their types as mypyc does

Without GWCTL_COMPILE=1 this changes nothing: the wheel is pure Python. mypyc compiles what the
annotations say, so both builds behave alike; docs/adr/0006-compiled-build.md has the figures
and what such modules must avoid.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).resolve().parent
MODULES = (
    "asgi/extensions",
    "asgi/request",
    "asgi/scope",
    "asgi/trailers",
    "balancing/handoff",
    "balancing/overload",
    "bridge/call",
    "bridge/request",
    "context",
    "exchange/exchange",
    "exchange/forwarded",
    "exchange/heads",
    "exchange/outbox",
    "exchange/request_rules",
    "exchange/response",
    "exchange/runner",
    "exchange/service",
    "exchange/states",
    "http1/body_framing",
    "http1/call_response",
    "http1/connection",
    "http1/connections",
    "http1/head_validator",
    "http1/protocol",
    "http1/request_rules",
    "http1/response",
    "http1/response_head",
    "http1/service",
    "http1/time_limits",
    "http2/carrier",
    "http2/connection",
    "http2/direct",
    "http2/frame_reader",
    "http2/guard",
    "http2/output",
    "http2/refusal",
    "http2/request_head",
    "http2/response_head",
    "http2/responses",
    "http2/sender",
    "http2/stream",
    "http2/stream_limits",
    "http2/tunnel",
    "http2/turns",
    "http2/wire",
    "observe/accounts",
    "observe/counters",
    "runners/asgi",
    "runners/request_queue",
    "runners/request_thread",
    "runners/sync",
    "runners/threads",
    "runners/threads_outbox",
    "runners/wake_policy",
    "runners/wsgi",
    "server",
    "transport/acceptor",
    "websocket/answers",
    "websocket/deflate",
    "websocket/encoder",
    "websocket/frames",
    "websocket/memory",
    "websocket/protocol",
    "websocket/send",
    "websocket/surroundings",
    "wsgi/body_calls",
    "wsgi/call",
    "wsgi/early_hints",
    "wsgi/environ",
)
SOURCES = tuple(f"gwctl/workers/{name}.py" for name in MODULES)
REQUIREMENTS = ["mypy[mypyc]>=1.15", "setuptools>=77"]

# Run in an empty folder with a link to the package: setuptools must not see our pyproject.toml.
_BUILD = """
import sys
from mypyc.build import mypycify
from setuptools import setup

config, into, *modules = sys.argv[1:]
extensions = mypycify(
    ["--config-file=" + config, *modules], opt_level="3", debug_level="0", group_name="gwctl"
)
setup(
    name="gwctl-compiled",
    ext_modules=extensions,
    script_args=["--quiet", "build_ext", "--build-lib=" + into, "--build-temp=objects"],
)
"""


def compile_modules(into: Path) -> list[Path]:
    """Compile `MODULES` into the folder ``into``; return the files made, relative to it.

    Raises:
        subprocess.CalledProcessError: mypyc or the C compiler failed, and said why.
    """
    with tempfile.TemporaryDirectory(prefix="gwctl-compile-") as folder:
        (Path(folder) / "gwctl").symlink_to(ROOT / "gwctl")
        modules = list(SOURCES)
        command = [sys.executable, "-c", _BUILD, str(ROOT / "pyproject.toml"), str(into), *modules]
        subprocess.run(command, cwd=folder, check=True)
    made = [*into.glob("gwctl__mypyc.*.so"), *into.glob("gwctl/workers/**/*.so")]
    return sorted(path.relative_to(into) for path in made)


def place_from(wheel: Path) -> list[Path]:
    """Put the compiled modules of ``wheel`` beside the source; return where.

    Raises:
        ValueError: It has none, or was made from other sources than these.
    """
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        compiled = [name for name in names if name.endswith(".so")]
        if not compiled:
            raise ValueError(f"{wheel} is not compiled")
        for name in names:
            if name.endswith(".py") and archive.read(name) != (ROOT / name).read_bytes():
                raise ValueError(f"{wheel} was made from another {name}")
        return [Path(archive.extract(name, ROOT)).relative_to(ROOT) for name in compiled]


class CustomBuildHook(BuildHookInterface[Any]):
    """Adds the compiled modules to a wheel when GWCTL_COMPILE=1."""

    @property
    def _wanted(self) -> bool:
        return self.target_name == "wheel" and os.environ.get("GWCTL_COMPILE") == "1"

    def dependencies(self) -> list[str]:
        if not self._wanted:
            return []
        core = self.metadata.core  # mypyc checks types first, and for that needs what the modules import
        return [*REQUIREMENTS, *core.dependencies, *core.optional_dependencies["fast"]]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, unless this is an editable install."""
        if not self._wanted or version == "editable":
            return
        self._folder = tempfile.TemporaryDirectory(prefix="gwctl-compiled-")
        into = Path(self._folder.name)
        for path in compile_modules(into):
            build_data["force_include"][str(into / path)] = str(path)
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002 - hatchling's
        if self._wanted and version != "editable":
            self._folder.cleanup()


if __name__ == "__main__":
    if "--sources" in sys.argv:
        print(*SOURCES)
        sys.exit()
    wheel = sys.argv[2] if sys.argv[1:2] == ["--from"] else ""
    for made in place_from(Path(wheel)) if wheel else compile_modules(ROOT):
        print(made)
