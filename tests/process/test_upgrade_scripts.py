"""Upgrades of a master that was started by a script as pip writes it, which names its interpreter itself."""

from __future__ import annotations

import os
import signal
import sys
import sysconfig
from pathlib import Path

import pytest

from gwctl import __version__
from tests.support.installation import Installation
from tests.support.server import GwctlServer
from tests.support.status import printed_status

SHORT = "#!{python}\nimport sys\nfrom gwctl.cli import main\nsys.exit(main())\n"
BY_SH = (
    "#!/bin/sh\n'''exec' \"{python}\" \"$0\" \"$@\"\n' '''\n"
    "import sys\nfrom gwctl.cli import main\nsys.exit(main())\n"
)


def environment(folder: Path, script: str, version: str) -> Path:
    """A virtual environment of its own with a gwctl of ``version``; pip is not needed for it."""
    installed = Installation(folder)
    if version != __version__:
        installed.becomes(version)
    home = Path(sys._base_executable)  # type: ignore[attr-defined]
    (folder / "pyvenv.cfg").write_text(f"home = {home.parent}\n", "utf-8")
    python = folder / "bin" / "python"
    python.parent.mkdir()
    python.symlink_to(home)
    packages = folder / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    packages.mkdir(parents=True)
    (packages / "all.pth").write_text(f"{installed.folder}\n{sysconfig.get_path('purelib')}\n", "utf-8")
    command = folder / "bin" / "gwctl"
    command.write_text(script.format(python=python), "utf-8")
    command.chmod(0o755)
    return folder


def version(server: GwctlServer) -> str:
    found: str = printed_status(server)["version"]
    return found


@pytest.mark.parametrize("script", [SHORT, BY_SH], ids=["short", "by-sh"])
def test_the_link_to_the_environment_points_to_another_one(gwctl_server, tmp_path: Path, script: str) -> None:
    """The command is that of the link; the interpreter is named by the script that is there now."""
    folders = [tmp_path / name for name in ("one", "two")]
    for folder, number in zip(folders, (__version__, "9.9.9"), strict=True):
        folder.mkdir()
        environment(folder, script, number)
    link = tmp_path / "current"
    link.symlink_to(folders[0])
    command = (os.fspath(link / "bin" / "gwctl"),)
    options = {"command": command, "environ": {"PYTHONPATH": ""}, "reload": {"settle_s": 0.05}}
    with gwctl_server("wsgi_bare:application", worker="sync", **options) as server:
        assert version(server) == __version__
        for generation, folder, number in ((2, folders[1], "9.9.9"), (3, folders[0], __version__)):
            link.unlink()
            link.symlink_to(folder)
            server.signal(signal.SIGUSR2)
            server.wait_for_log(rf"adopted generation {generation}\b", timeout_s=60)
            assert version(server) == number
