"""A folder for large bodies that cannot be written is told of at the start and by ``gwctl check``."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from gwctl.config import temporary_folder
from gwctl.config.model.settings import PoolSettings, Settings
from tests.support.command import runner

SHOP = 12345
ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="asks for another user, as root")


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="gwctl-test-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def warned(pool: PoolSettings, **environ: str) -> list[str]:
    return list(temporary_folder.warnings(Settings(pool={"web": pool}), environ))


def pool(**settings: object) -> PoolSettings:
    return msgspec.structs.replace(PoolSettings(app="x:y"), **settings)


def test_nothing_is_said_where_all_is_well(folder: Path) -> None:
    assert warned(pool()) == []
    assert warned(pool(), TMPDIR=str(folder)) == []
    assert warned(pool(chdir=str(folder.parent)), TMPDIR=folder.name) == []
    assert warned(pool(user="no such user"), TMPDIR="/nowhere") == []


@pytest.mark.parametrize("variable", ["TMPDIR", "TEMP", "TMP"])
@pytest.mark.parametrize("source", ["environ", "env", "env_file"])
def test_a_folder_that_is_not_there(variable: str, source: str, folder: Path) -> None:
    """From whichever source; what wins counts, as for the workers."""
    (folder / "variables").write_text(f"{variable}=/nowhere\n")
    given = {
        "environ": (pool(), {variable: "/nowhere"}),
        "env": (pool(env={variable: "/nowhere"}), {variable: str(folder)}),
        "env_file": (pool(env_file=str(folder / "variables")), {variable: str(folder)}),
    }
    settings, environ = given[source]
    (text,) = warned(settings, **environ)
    assert text == (
        f"pool.web: {variable}=/nowhere cannot be used: No such file or directory. "
        "Request bodies over body_memory_bytes (1048576) are kept in /tmp instead"
    )


def test_the_next_variable_is_tried_as_python_does(folder: Path) -> None:
    (text,) = warned(pool(), TMPDIR="/nowhere", TEMP=str(folder))
    assert text.endswith(f"are kept in {folder} instead")


def test_a_file_is_no_folder(folder: Path) -> None:
    (folder / "file").write_text("")
    assert "it is not a folder" in warned(pool(), TMPDIR=str(folder / "file"))[0]


def test_a_read_only_file_system() -> None:
    read_only = [path for path in ("/sys", "/proc/sys") if os.statvfs(path).f_flag & os.ST_RDONLY]
    if not read_only:
        pytest.skip("no file system is read-only here")
    assert "it is on a read-only file system" in warned(pool(), TMPDIR=read_only[0])[0]


@ROOT_ONLY
@pytest.mark.parametrize(
    ("mode", "owner", "group", "well"),
    [
        (0o700, SHOP, 0, True),
        (0o700, 0, 0, False),
        (0o770, 0, SHOP, True),
        (0o750, 0, SHOP, False),
        (0o1777, 0, 0, True),
        (0o776, 0, 0, False),
        (0o077, SHOP, 0, False),
    ],
)
def test_permissions_of_another_user(mode: int, owner: int, group: int, well: bool, folder: Path) -> None:
    """Python itself is asked, as that user: what is said is what it will do."""
    inner = folder / "tmp"
    inner.mkdir()
    os.chown(inner, owner, group)
    inner.chmod(mode)
    said = warned(pool(user=str(SHOP), group=str(SHOP)), TMPDIR=str(inner))
    pid = os.fork()
    if not pid:
        os.setgroups([SHOP])
        os.setresgid(SHOP, SHOP, SHOP)
        os.setresuid(SHOP, SHOP, SHOP)
        try:
            tempfile.TemporaryFile(dir=inner).close()
            os._exit(0)
        except OSError:
            os._exit(1)
    could = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert could == well
    assert bool(said) == (not well)
    if said:
        assert f"uid {SHOP} may not write there" in said[0]


@ROOT_ONLY
def test_a_folder_that_the_user_may_not_enter(folder: Path) -> None:
    folder.chmod(0o700)
    inner = folder / "tmp"
    inner.mkdir(mode=0o777)
    inner.chmod(0o777)
    assert warned(pool(user=str(SHOP), group=str(SHOP)), TMPDIR=str(inner))


def test_no_folder_at_all(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(temporary_folder, "_USUAL", ("/nowhere", "/nor-there"))
    (text,) = warned(pool(chdir=str(folder)))
    assert text.endswith(
        f"may not write in /nowhere, /nor-there. Request bodies over body_memory_bytes (1048576) are "
        f"kept in {folder} instead"
    )
    (text,) = warned(pool(chdir="/neither"), TMPDIR="/no")
    assert "which will be answered with an error. Set env.TMPDIR to a folder" in text


def test_check_says_so_and_is_content(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gwctl.cli import cli

    monkeypatch.chdir(folder)
    (folder / "gw.toml").write_text('[pool.web]\napp = "x:y"\nenv.TMPDIR = "/nowhere"\n')
    result = runner().invoke(cli, ["check"], env={}, prog_name="gwctl")
    assert result.exit_code == 0
    assert "warning: pool.web: TMPDIR=/nowhere cannot be used: No such file" in result.output
